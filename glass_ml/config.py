"""Mappings (YAML, JSON) to frozen dataclasses and back; an unknown key is an error, never ignored."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from glass_ml.errors import InputError

T = TypeVar("T")


class StrictLoader(yaml.SafeLoader):
    """Safe YAML in which a key is a word or a number, and stands only once."""


def _mapping(loader: StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: list[Any] = []
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":  # what is merged gives way to what stands here
            continue
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, list | dict):
            raise yaml.constructor.ConstructorError(None, None, "a key that is no word", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key '{key}' stands twice", key_node.start_mark)
        seen.append(key)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path | str) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        InputError: no such file, not YAML, or not a mapping.
    """
    path = Path(path)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), StrictLoader)
    except FileNotFoundError:
        raise InputError("no such file", str(path), "check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", str(path)) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date that is none; thousands of brackets
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        line = f":{mark.line + 1}" if mark else ""
        what = f"not valid YAML: {problem}" if problem else "not valid YAML"
        raise InputError(what, f"{path}{line}", "check indentation, colons and brackets") from None
    if not isinstance(content, dict):
        raise InputError("not a mapping of keys to values", str(path), "write 'key: value' lines")
    return content


def reject_unknown(mapping: Mapping[str, Any], known: typing.Iterable[str], where: str) -> None:
    """Raise InputError for the first key that is not known, naming the closest one that is."""
    known = list(known)
    for key in mapping:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, 1)
            mend = f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(known)}"
            raise InputError(f"unknown key '{key}'", where, mend)


def build(cls: type[T], mapping: Mapping[str, Any] | None, where: str, inside: str = ".") -> T:
    """A dataclass out of a mapping; nested dataclasses come from nested mappings.

    Args:
        cls: the dataclass; fields without a default are required.
        mapping: field name -> value; None stands for an empty mapping.
        where: the place to name in an error, such as "params.yaml: prior".
        inside: what stands between that place and a key in it; ": " where the place is a file.

    Raises:
        InputError: an unknown or missing key, or a value of the wrong type.
    """
    mapping = {} if mapping is None else mapping
    if not isinstance(mapping, Mapping):
        raise InputError(f"'{mapping}' is not a mapping", where, "write 'key: value' lines")
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    reject_unknown(mapping, fields, where)
    hints = typing.get_type_hints(cls)
    values = {}
    for name, field in fields.items():
        if name in mapping:
            values[name] = _convert(hints[name], mapping[name], f"{where}{inside}{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise InputError(f"missing key '{name}'", where, "add it")
    return cls(**values)


def _convert(hint: Any, value: Any, where: str) -> Any:
    if hint is Any or (dataclasses.is_dataclass(value) and not isinstance(value, type)):  # built already
        return value
    if dataclasses.is_dataclass(hint):
        return build(hint, value, where)  # type: ignore[arg-type]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _convert(next(a for a in arguments if a is not type(None)), value, where)
    if origin is tuple and isinstance(value, list | tuple):
        inner = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(inner) == len(value):
            return tuple(_convert(h, v, f"{where}[{k}]") for k, (h, v) in enumerate(zip(inner, value, strict=True)))
    if origin is typing.Literal and value in arguments:
        return value
    if origin is dict and isinstance(value, Mapping):
        return {k: _convert(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint in (int, str, bool) and type(value) is hint:
        return value
    expected = " or ".join(map(str, arguments)) if origin is typing.Literal else getattr(hint, "__name__", str(hint))
    raise InputError(f"'{value}' is not of the type {expected}", where, "see the documentation of this key")


def as_mapping(config: Any) -> dict[str, Any]:
    """A dataclass as plain nested dicts, lists and scalars, ready for YAML or JSON."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [plain(v) for v in value]
        return value

    return plain(dataclasses.asdict(config))
