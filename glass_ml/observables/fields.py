"""The fields of a kind of measurement: what each means, and how what a user gives for it is checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, Field, dataclass
from pathlib import Path
from typing import Any

from glass_ml.errors import InputError

SAME = object()


@dataclass(frozen=True)
class Setting:
    """How a field is checked and shown; see `setting`."""

    help: str
    unit: str
    above: float | None
    least: float | None
    fixed: bool
    choices: tuple[str, ...]
    parse: Callable[[Any, str], Any] | None
    elements: Callable[[str], Sequence[str]] | None
    file: str
    fitted: bool
    alone: Any


def setting(
    default: Any = MISSING,
    *,
    help: str,
    unit: str = "",
    above: float | None = None,
    least: float | None = None,
    fixed: bool = False,
    choices: Sequence[str] = (),
    parse: Callable[[Any, str], Any] | None = None,
    elements: Callable[[str], Sequence[str]] | None = None,
    file: str = "",
    fitted: bool = False,
    alone: Any = SAME,
) -> Any:
    """A field of a kind: a dataclass field that knows its unit, its bounds and what it means.

    What a user gives is checked by the annotation: a number (`float`, `int`), an interval (`tuple`) or a text.

    Args:
        default: value where none is given; without it the field is needed.
        help: what it means, in a few words.
        unit: of the value.
        above, least: bounds of a number, the first one exclusive.
        fixed: an interval may be one number, which fixes the value.
        choices: the texts that are allowed.
        parse: makes the value of what a user gave and the place to name in an error; for anything else.
        elements: the element symbols that a text names; they must be in the composition.
        file: role in the lineage of the file (or folder) that a text names, such as 'scattering table'.
        fitted: it acts on the comparison with data and not on the forward model.
        alone: default where a spectrum is computed from structures and compared with nothing.
    """
    own = Setting(help, unit, above, least, fixed, tuple(choices), parse, elements, file, fitted, alone)
    return dataclasses.field(default=default, metadata={"setting": own})


@dataclass(frozen=True)
class Context:
    """Where fields stand, and what they may refer to.

    Attributes:
        where: the place to name in an error, such as 'target.yaml: measurements[1]'; '--' on a command line.
        composition: element symbol -> amount; None: not known yet.
        folder: files are relative to it, or to the current one.
        beside: look for files by their bare names in that folder.
    """

    where: str = ""
    composition: Mapping[str, float] | None = None
    folder: Path = Path()
    beside: bool = False

    def at(self, key: str) -> str:
        """The place of one field."""
        if self.where == "--":
            return f"--{key.replace('_', '-')}"
        return f"{self.where}.{key}" if self.where else key

    def locate(self, value: Any) -> Path:
        """The file or folder that a text names."""
        given = Path(str(value)).expanduser()
        near = self.folder / (given.name if self.beside else given)
        return given if given.exists() and not near.exists() else near


def described(field: Field) -> Setting:
    """What a field of a kind says of itself."""
    return field.metadata["setting"]


def checked(field: Field, value: Any, where: str) -> Any:
    """The value of a field out of what a user gave."""
    own, annotation = described(field), str(field.type)
    if own.parse:
        return own.parse(value, where)
    if own.choices:
        return choice(value, where, own.choices)
    if "tuple" in annotation:
        return interval(value, where, fixed=own.fixed)
    if "float" in annotation or "int" in annotation:
        found = number(value, where, above=own.above, least=own.least)
        if "int" in annotation and found != int(found):
            raise InputError(f"{value} is not a whole number", where)
        return int(found) if "int" in annotation else found
    return str(value)


def number(value: Any, where: str, *, above: float | None = None, least: float | None = None) -> float:
    """A finite number, above or at least a bound; else InputError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
        raise InputError(f"'{value}' is not a number", where)
    if above is not None and not value > above:
        raise InputError(f"{value} is not above {above:g}", where)
    if least is not None and value < least:
        raise InputError(f"{value} is below {least:g}", where)
    return float(value)


def interval(value: Any, where: str, *, fixed: bool) -> tuple[float, float]:
    """Two ascending numbers; with `fixed` also one number (or two equal ones), which fixes the value."""
    if fixed and not isinstance(value, list):
        value = [value, value]
    if not isinstance(value, list) or len(value) != 2:
        raise InputError(f"'{value}' is not an interval", where, "write [low, high]")
    low, high = number(value[0], where), number(value[1], where)
    if low > high or (low == high and not fixed):
        raise InputError(f"[{low:g}, {high:g}] does not ascend", where, "write [low, high]")
    return low, high


def choice(value: Any, where: str, choices: Sequence[str]) -> str:
    """One of some texts; else InputError."""
    if value not in choices:
        raise InputError(
            f"unknown {where.rsplit('.', 1)[-1].strip('-')} '{value}'", where, f"one of {', '.join(choices)}"
        )
    return str(value)


def plain(value: Any) -> Any:
    """A value as YAML would have it: lists, mappings, texts and numbers of Python out of arrays, tuples and paths."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def from_text(text: str | None) -> Any:
    """The value that a text of a command line stands for: 2.1; 0,2.6; Si-O=2.1,Si-Si=2.7; anything else is itself."""
    if text is None:
        return None
    with suppress(ValueError):
        return float(text)
    parts = text.split(",")
    if all("=" in part for part in parts):
        return {key: from_text(value) for key, value in (part.split("=", 1) for part in parts)}
    values = [from_text(part) for part in parts] if len(parts) > 1 else [text]
    return values if all(isinstance(value, float) for value in values) else text
