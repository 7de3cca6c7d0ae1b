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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import glass_ml.observables
from glass_ml.errors import InputError
from glass_ml.observables.fields import SAME, Context, checked, described, plain

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
        named = ((described(f).file, getattr(self, f.name)) for f in dataclasses.fields(self))
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
                if alone and described(own[key]).fitted:
                    raise InputError(f"'{key}' acts on a comparison with data alone", context.at(key), "leave it out")
                values[key] = checked(own[key], plain(value), context.at(key))
        for key in self.needed:
            if key not in values:
                mend = f"add '{key}:'" if context.where != "--" else f"add {context.at(key)}"
                raise InputError(f"kind {self.name} needs '{key}'", context.where.strip("-"), mend)
        if alone:
            values = {k: described(f).alone for k, f in own.items() if described(f).alone is not SAME} | values
        return self.settings(**values)

    def check(self, settings: Settings, context: Context) -> Settings:
        """The settings with files found and what follows from the composition filled in.

        Raises:
            InputError: an element that the composition lacks; as `Settings.check`.
        """
        for key, field in self.fields.items():
            value, own = getattr(settings, key), described(field)
            if value is not None and own.elements:
                for symbol in own.elements(value):
                    if symbol not in (context.composition or {}):
                        mend = f"it holds {', '.join(context.composition or {})}"
                        raise InputError(f"{symbol} is not in the composition", context.at(key), mend)
            if value is not None and own.file:
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


def register(*registered: Kind) -> Callable[[type[S]], type[S]]:
    """Class decorator: these kinds have the decorated settings.

    Files of `glass_ml.observables` are found without being named; a kind that lives elsewhere is known once its module
    is imported.

    Raises:
        ValueError: the name of another kind.
    """

    def decorate(settings: type[S]) -> type[S]:
        for kind in registered:
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
    if isinstance(name, str) and name in _registered:
        return _registered[name]
    known = kinds()
    if not isinstance(name, str) or name not in known:
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


def fields_of_kinds(*, fitted: bool = True) -> dict[str, list[tuple[str, str, str, str]]]:
    """Every field that some kinds have for themselves: (those kinds, meaning, unit, default) for each meaning.

    Args:
        fitted: with the fields that act on a comparison with data alone.
    """
    found: dict[str, dict[tuple[str, str, str], list[str]]] = {}
    for kind in kinds().values():
        for name, field in kind.fields.items():
            own = described(field)
            if fitted or not own.fitted:
                default = field.default if fitted or own.alone is SAME else own.alone
                found.setdefault(name, {}).setdefault((own.help, own.unit, _shown(default)), []).append(kind.name)
    return {
        name: [(owners_text(owners), *meaning) for meaning, owners in meanings.items()]
        for name, meanings in found.items()
    }


def _shown(default: Any) -> str:
    """A default as users write it; '' where there is none."""
    if default is MISSING or default is None:
        return ""
    if isinstance(default, tuple):
        return _shown(default[0]) if default[0] == default[1] else f"[{default[0]:g}, {default[1]:g}]"
    return f"{default:g}" if isinstance(default, float) else str(default)
