"""What a kind of measurement is, and which there are: every kind describes itself, in one file of this package.

That file holds a frozen dataclass of the kind's own fields, each a `setting`, beside the forward model:

    @register(Kind("gr", "g(r)", x="r (Å)", y="g(r)", formula="g(r), 1 at large r", role="r"))
    @dataclass(frozen=True, kw_only=True)
    class RadialSettings(Settings):
        pair: str | None = setting(None, help="one partial, such as O-O", parse=pair_text, elements=pair_elements)

        def observable(self, kind, grid, cells=None):
            return RadialDistribution(grid, pair=self.pair)

Target files, `glass-ml spectrum`, the study, reports and the documentation take what they need from there.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, Field, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import glass_ml.observables
from glass_ml.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from glass_ml.observables.base import Observable
    from glass_ml.structures.state import Structures

S = TypeVar("S", bound="Settings")

Role = Literal["r", "q", "curve", "count"]
ROLES: dict[str, str] = {
    "r": "functions of r",
    "q": "functions of Q",
    "curve": "other curves",
    "count": "numbers",
}
"""What x is: a distance, Q, anything else; or y is a number (or a few) and no curve at all."""

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
    described = Setting(help, unit, above, least, fixed, tuple(choices), parse, elements, file, fitted, alone)
    return dataclasses.field(default=default, metadata={"setting": described})


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


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The fields that a kind has for itself; every kind extends this by its own frozen, keyword-only dataclass."""

    def observable(self, kind: str, grid: Tensor, cells: Structures | None = None) -> Observable:
        """The forward model on a grid (n,), for structures in cells such as these (positions do not matter)."""
        raise NotImplementedError

    def check(self, context: Context) -> Settings:
        """These settings with what follows from the composition filled in.

        Raises:
            InputError: fields that contradict each other, or the composition.
        """
        return self

    def exact(self) -> Settings:
        """The settings by which data are simulated: without what only makes model and data comparable."""
        return self

    def grid(self, low: float, high: float, points: int) -> Tensor:
        """The points from low to high at which a spectrum is computed by default.

        Raises:
            InputError: they do not ascend from above 0.
        """
        import torch

        if not 0 < low < high or points < 2:
            what = f"{points} points from {low:g} to {high:g}"
            raise InputError(what, "--x-min, --x-max", "ascend from above 0")
        return torch.linspace(low, high, points, dtype=torch.float64)

    def files(self) -> tuple[tuple[str, str], ...]:
        """Role and path of every file that the fields name."""
        named = ((_of(f).file, getattr(self, f.name)) for f in dataclasses.fields(self))
        return tuple((role, str(file)) for role, file in named if role and file)


@dataclass(frozen=True)
class Kind:
    """A kind of measurement.

    Attributes:
        name: as in TARGET.yaml.
        title: as a person calls it.
        x, y: labels of the axes, with units.
        formula: what y is.
        role: a key of `ROLES`.
        compared: the function that the R-factor compares.
        rates_fit: R rates the fit with its scale, which no theory gives, and not the model alone.
        fixes: the descriptor of structures that a fit of this kind puts in, such as 'angles'.
        span: range of x of a computed spectrum; its end None: half the cell.
        settings: the class of its own fields; set by `register`.
    """

    name: str
    title: str
    x: str
    y: str
    formula: str
    role: Role = "curve"
    compared: Literal["y", "xy", "x(y-1)"] = "y"
    rates_fit: bool = False
    fixes: str = ""
    span: tuple[float, float | None] = (0.5, None)
    settings: type[Settings] = Settings

    @property
    def fields(self) -> dict[str, Field]:
        """Its own fields by name."""
        return {f.name: f for f in dataclasses.fields(self.settings)}

    @property
    def needed(self) -> tuple[str, ...]:
        """The fields that have no default."""
        return tuple(name for name, f in self.fields.items() if f.default is MISSING)

    def build(self, given: Mapping[str, Any], context: Context, *, alone: bool = False) -> Settings:
        """Settings out of what a user gave; None stands for a field that is not given.

        Args:
            given: name of a field -> value.
            context: where the fields stand.
            alone: a spectrum is computed and compared with nothing: see `setting`.

        Raises:
            InputError: a field that the kind does not have or lacks, or a value that cannot be used.
        """
        values, own = {}, self.fields
        for key, value in given.items():
            if value is not None:
                if key not in own:
                    raise self._foreign(key, context)
                values[key] = _checked(own[key], plain(value), context.at(key))
        for key in self.needed:
            if key not in values:
                mend = f"add '{key}:'" if context.where != "--" else f"add {context.at(key)}"
                raise InputError(f"kind {self.name} needs '{key}'", context.where.strip("-"), mend)
        if alone:
            values = {k: _of(f).alone for k, f in own.items() if _of(f).alone is not SAME} | values
        return self.settings(**values)

    def check(self, settings: Settings, context: Context) -> Settings:
        """The settings with files found and what follows from the composition filled in.

        Raises:
            InputError: an element that the composition lacks; as `Settings.check`.
        """
        for key, field in self.fields.items():
            value, described = getattr(settings, key), _of(field)
            if value is not None and described.elements:
                for symbol in described.elements(value):
                    if symbol not in (context.composition or {}):
                        mend = f"it holds {', '.join(context.composition or {})}"
                        raise InputError(f"{symbol} is not in the composition", context.at(key), mend)
            if value is not None and described.file:
                settings = replace(settings, **{key: str(context.locate(value))})
        return settings.check(context)

    def points(self, settings: Settings, low: float | None, high: float | None, n: int, half_width: float) -> Tensor:
        """The points of a computed spectrum, by default over `span`; `half_width` is that of the cell, Å."""
        first, last = self.span
        last = half_width if last is None else last
        return settings.grid(first if low is None else low, last if high is None else high, n)

    def _foreign(self, key: str, context: Context) -> InputError:
        owners = [k.name for k in kinds().values() if key in k.fields]
        if owners:
            what, mend = f"'{key}' has no meaning for kind {self.name}", f"it belongs to {owners_text(owners, 'kind ')}"
            return InputError(what, context.at(key), mend)
        close = difflib.get_close_matches(key, self.fields, 1)
        mend = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(self.fields)}"
        return InputError(f"unknown key '{key}'", context.where.strip("-"), mend)


_registered: dict[str, Kind] = {}


def register(*described: Kind) -> Callable[[type[S]], type[S]]:
    """Class decorator: these kinds have the decorated settings.

    Files of `glass_ml.observables` are found without being named; a kind that lives elsewhere is known once its module
    is imported.

    Raises:
        ValueError: the name of another kind.
    """

    def decorate(settings: type[S]) -> type[S]:
        for kind in described:
            other = _registered.get(kind.name)
            if other and (other.settings.__module__, other.settings.__name__) != (
                settings.__module__,
                settings.__name__,
            ):
                raise ValueError(f"kind '{kind.name}' is one of {other.settings.__module__} already")
            _registered[kind.name] = replace(kind, settings=settings)
        return settings

    return decorate


def kinds() -> dict[str, Kind]:
    """Every kind by its name: functions of r, of Q, other curves, numbers."""
    for module in pkgutil.iter_modules(glass_ml.observables.__path__):
        importlib.import_module(f"{glass_ml.observables.__name__}.{module.name}")
    roles = list(ROLES)
    ordered = sorted(_registered.values(), key=lambda kind: (roles.index(kind.role), kind.settings.__module__))
    return {kind.name: kind for kind in ordered}


def find_kind(name: str, where: str = "kind") -> Kind:
    """The kind of a name.

    Raises:
        InputError: there is none; the message names the closest one.
    """
    if name in _registered:
        return _registered[name]
    known = kinds()
    if name not in known:
        close = difflib.get_close_matches(str(name), known, 1)
        mend = f"did you mean '{close[0]}'? " if close else ""
        raise InputError(f"unknown kind '{name}'", where, f"{mend}known: {', '.join(known)}")
    return known[name]


def has_role(name: str | None, role: Role) -> bool:
    """Whether this is the name of a kind that plays a role; False for any other text."""
    found = _registered.get(name or "") or kinds().get(name or "")
    return found is not None and found.role == role


def make_observable(kind: str, grid: Tensor, cells: Structures | None = None, **fields: Any) -> Observable:
    """The forward model of a kind on a grid, compared with nothing: no window, whole cell, unless fields say otherwise.

    Args:
        kind: a key of `kinds()`.
        grid: the points, (n,), ascending, in the unit of the kind.
        cells: structures in the cells that it is for; they say which elements there are.
        fields: the kind's own.

    Raises:
        InputError: unknown kind; as `Kind.build` and `Kind.check`.
    """
    found, context = find_kind(kind), Context()
    settings = found.build(fields, context, alone=True)
    if cells is not None:
        settings = found.check(settings, replace(context, composition=elements_of(cells)))
    return settings.observable(kind, grid, cells)


def elements_of(structures: Structures) -> dict[str, float]:
    """Composition of a batch: element symbol -> number of atoms."""
    from ase.data import chemical_symbols

    numbers, counts = structures.numbers.unique(return_counts=True)
    return {chemical_symbols[z]: float(n) for z, n in zip(numbers.tolist(), counts.tolist(), strict=True)}


def owners_text(names: Iterable[str], before: str = "") -> str:
    """Names of kinds, those that are all functions of Q by this word."""
    names, known = list(names), kinds()
    together = [k for k, kind in known.items() if kind.role == "q"]
    if not set(together) <= set(names):
        return before + ", ".join(names)
    return ", ".join([ROLES["q"], *(name for name in names if name not in together)])


def fields_of_kinds(*, fitted: bool = True) -> dict[str, list[tuple[str, str, str]]]:
    """Every field that some kinds have for themselves: (those kinds, meaning with unit, default) for each meaning.

    Args:
        fitted: with the fields that act on a comparison with data alone.
    """
    found: dict[str, dict[tuple[str, str], list[str]]] = {}
    for kind in kinds().values():
        for name, field in kind.fields.items():
            described = _of(field)
            if fitted or not described.fitted:
                text = described.help + (f", {described.unit}" if described.unit else "")
                default = field.default if fitted or described.alone is SAME else described.alone
                found.setdefault(name, {}).setdefault((text, _shown(default)), []).append(kind.name)
    return {
        name: [(owners_text(owners), text, default) for (text, default), owners in meanings.items()]
        for name, meanings in found.items()
    }


def _shown(default: Any) -> str:
    """A default as users write it; '' where there is none."""
    if default is MISSING or default is None:
        return ""
    if isinstance(default, tuple):
        return _shown(default[0]) if default[0] == default[1] else f"[{default[0]:g}, {default[1]:g}]"
    return f"{default:g}" if isinstance(default, float) else str(default)


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


def _of(field: Field) -> Setting:
    return field.metadata["setting"]


def _checked(field: Field, value: Any, where: str) -> Any:
    """The value of a field out of what a user gave."""
    described, annotation = _of(field), str(field.type)
    if described.parse:
        return described.parse(value, where)
    if described.choices:
        return choice(value, where, described.choices)
    if "tuple" in annotation:
        return interval(value, where, fixed=described.fixed)
    if "float" in annotation or "int" in annotation:
        found = number(value, where, above=described.above, least=described.least)
        if "int" in annotation and found != int(found):
            raise InputError(f"{value} is not a whole number", where)
        return int(found) if "int" in annotation else found
    return str(value)
