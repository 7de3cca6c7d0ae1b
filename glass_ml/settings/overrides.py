"""Settings by dotted keys: found, read and replaced in nested dataclasses."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from glass_ml.config import as_mapping, build
from glass_ml.errors import InputError

T = TypeVar("T")


def leaves(cls: type, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> type of every setting of a dataclass, nested ones as "outer.inner"."""
    found: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(cls).items():
        if dataclasses.is_dataclass(hint):
            found |= leaves(typing.cast(type, hint), f"{prefix}{name}.")
        else:
            found[prefix + name] = hint
    return found


def require_key(config: Any, key: str, where: str) -> None:
    """Raise InputError, naming the closest, where a dotted key is no setting of a dataclass."""
    known = leaves(type(config))
    if key not in known:
        close = difflib.get_close_matches(key, known, 1)
        mend = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
        raise InputError(f"no setting '{key}'", where, mend)


def value_of(config: Any, key: str) -> Any:
    """The setting that a dotted key names."""
    for name in key.split("."):
        config = getattr(config, name)
    return config


def with_settings(config: T, settings: Mapping[str, Any], where: str) -> T:
    """A dataclass with some of its settings replaced.

    Args:
        config: nested dataclasses.
        settings: dotted key -> value.
        where: the place to name in an error.

    Raises:
        InputError: a key that is not known, or a value that the setting cannot have.
    """
    content = as_mapping(config)
    for key, value in settings.items():
        require_key(config, key, where)
        _put(content, key, value)
    return build(type(config), content, where)


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted keys, as params.yaml has them: mappings in mappings."""
    content: dict[str, Any] = {}
    for key, value in settings.items():
        _put(content, key, value)
    return content


def dotted(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Mappings in mappings, as settings by dotted keys; keys that are dotted already stay so."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _put(content: dict[str, Any], key: str, value: Any) -> None:
    *outer, name = key.split(".")
    for part in outer:
        content = content.setdefault(part, {})
    content[name] = value
