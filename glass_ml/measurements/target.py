"""The one file a user writes: TARGET.yaml, read strictly."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml
from ase.data import atomic_numbers

from glass_ml.errors import InputError
from glass_ml.files import sha256_file
from glass_ml.measurements.readers import read_spectrum
from glass_ml.measurements.spectrum import Instrument, Spectrum
from glass_ml.observables.base import RECIPROCAL_KINDS
from glass_ml.observables.realspace import parse_pair
from glass_ml.observables.registry import METHODS, check_kind
from glass_ml.observables.windows import WINDOWS
from glass_ml.units import parse_density

USES = ("fit", "validate")
RADIATIONS = ("xray", "neutron", "number")


@dataclass(frozen=True)
class Measurement:
    """One entry of `measurements` in TARGET.yaml.

    Attributes:
        file: the data; relative to the folder of TARGET.yaml.
        kind: a key of `KINDS`, always stated.
        use: 'fit', or 'validate': compared with, never fitted.
        name: short and unique; by default the file's name without its ending.
        x_range: part of the data that is compared, (low, high) in the unit of x; all of it by default.
        sigma: standard deviation of every point; wins over the file's.
        weight: factor of this measurement's chi-square.
        scale: bounds of the factor between model and data; equal bounds fix it.
        offset: bounds of the constant added to the scaled model.
        columns: columns of x, y and optionally sigma, from 1.
        window: 'lorch' or 'none'; 'lorch' by default for functions of Q, where data and model are seen through it.
        method: for functions of Q, 'sine' (transform of the pair histograms to half the cell) or 'reciprocal' (exact
            sum over the cell's reciprocal vectors, no window: for low Q).
        limit: for functions of Q, largest upper limit of the sine transform, Å: half the cell where that is smaller.
            Pairs up to it are summed, so that a large cell costs no more per atom than a small one.
        qmin, qmax, qdamp, qbroad: as `Instrument`.
        broadening: standard deviation (Å) added to the distances of the model, for motion that structures do not carry.
        radiation: weights of the elements in 'gr' and 'pdf'.
        pair: one partial, such as O-O ('gr').
    """

    file: str
    kind: str
    use: str = "fit"
    name: str = ""
    x_range: tuple[float, float] | None = None
    sigma: float | None = None
    weight: float = 1.0
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)
    columns: tuple[int, ...] | None = None
    window: str | None = None
    method: str = "sine"
    limit: float = 13.0
    qmin: float = 0.0
    qmax: float | None = None
    qdamp: float = 0.0
    qbroad: float = 0.0
    broadening: float = 0.0
    radiation: str | None = None
    pair: str | None = None

    @property
    def instrument(self) -> Instrument:
        """Range, window and resolution, the default window of the kind filled in."""
        default = "lorch" if self.kind in RECIPROCAL_KINDS and self.method == "sine" else "none"
        return Instrument(self.qmin, self.qmax, self.qdamp, self.qbroad, self.window or default)


@dataclass(frozen=True)
class Target:
    """What an inversion aims at.

    Attributes:
        system: picks the prior.
        composition: element symbol -> amount.
        density: number density, atoms/Å^3.
        measurements: at least one.
        path: the YAML file.
        sha256: checksum of its bytes.
        note: what the report shall say of the data, such as where they come from.
    """

    system: str
    composition: dict[str, float]
    density: float
    measurements: tuple[Measurement, ...]
    path: Path = field(default_factory=Path)
    sha256: str = ""
    note: str = ""

    def load_spectra(self) -> list[Spectrum]:
        """The measured spectra in the order of `measurements`; raises InputError as `read_spectrum` does."""
        return [
            read_spectrum(m.file, m.kind, columns=m.columns, sigma=m.sigma, instrument=m.instrument, name=m.name)
            for m in self.measurements
        ]


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key may stand only once."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key '{key}' stands twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def load_target(path: Path | str, *, beside: bool = False) -> Target:
    """Read and check TARGET.yaml and everything that it names.

    Args:
        path: the YAML file.
        beside: look for every data file by its bare name in the folder of `path`, as in an inversion's folder.

    Raises:
        InputError: anything that is missing, unknown, misspelt or impossible, in the file or in the data it names.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("no such file", str(path), "check the path")
    try:
        content = yaml.load(path.read_bytes(), _Loader)
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}: line {mark.line + 1}" if mark else str(path)
        raise InputError(f"not YAML: {getattr(error, 'problem', None) or error}", where) from None
    keys = ("system", "composition", "density", "measurements")
    content = _checked_keys(content, (*keys, "note"), keys, str(path))
    composition = _composition(content["composition"], f"{path}: composition")
    density = parse_density(content["density"], composition, f"{path}: density")
    entries = content["measurements"]
    if not isinstance(entries, list) or not entries:
        raise InputError("no measurement", f"{path}: measurements", "list at least one, with file and kind")
    measurements = tuple(_measurement(e, path, f"{path}: measurements[{k}]", beside) for k, e in enumerate(entries, 1))
    names = [m.name for m in measurements]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two measurements are called '{name}'", f"{path}: measurements", "give each a `name`")
    note = str(content.get("note") or "")
    target = Target(str(content["system"]), composition, density, measurements, path, sha256_file(path), note)
    for k, (m, s) in enumerate(zip(measurements, target.load_spectra(), strict=True), 1):
        _check_range(m, s, f"{path}: measurements[{k}].x_range")
    return target


def _checked_keys(content: Any, known: tuple[str, ...], required: tuple[str, ...], where: str) -> dict:
    if not isinstance(content, Mapping):
        raise InputError("not a mapping of keys to values", where, f"write the keys {', '.join(required)}")
    for key in content:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, 1)
            mend = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
            raise InputError(f"unknown key '{key}'", where, mend)
    for key in required:
        if content.get(key) is None:
            raise InputError(f"no '{key}'", where, f"add '{key}:'")
    return dict(content)


def _composition(value: Any, where: str) -> dict[str, float]:
    mend = "write element symbols with positive amounts, such as {Si: 1, O: 2}"
    if not isinstance(value, Mapping) or not value:
        raise InputError(f"'{value}' is not a composition", where, mend)
    for symbol, amount in value.items():
        if symbol not in atomic_numbers or symbol == "X":
            raise InputError(f"'{symbol}' is not an element", where, mend)
        if isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 < amount < float("inf"):
            raise InputError(f"amount '{amount}' of {symbol}", where, mend)
    return {str(symbol): float(amount) for symbol, amount in value.items()}


def _number(value: Any, where: str, *, above: float | None = None, least: float | None = None) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
        raise InputError(f"'{value}' is not a number", where)
    if above is not None and not value > above:
        raise InputError(f"{value} is not above {above:g}", where)
    if least is not None and value < least:
        raise InputError(f"{value} is below {least:g}", where)
    return float(value)


def _interval(value: Any, where: str, *, fixed: bool) -> tuple[float, float]:
    """Two ascending numbers; with `fixed` also one number (or two equal ones), which fixes the value."""
    if fixed and not isinstance(value, list):
        value = [value, value]
    if not isinstance(value, list) or len(value) != 2:
        raise InputError(f"'{value}' is not an interval", where, "write [low, high]")
    low, high = _number(value[0], where), _number(value[1], where)
    if low > high or (low == high and not fixed):
        raise InputError(f"[{low:g}, {high:g}] does not ascend", where, "write [low, high]")
    return low, high


def _measurement(content: Any, target: Path, where: str, beside: bool) -> Measurement:
    known = tuple(f.name for f in fields(Measurement))
    entry = {k: v for k, v in _checked_keys(content, known, ("file", "kind"), where).items() if v is not None}
    kind = check_kind(entry["kind"], f"{where}.kind")
    file = Path(str(entry["file"])).expanduser()
    file = Path(file.name) if beside else file
    entry["file"] = str(file if file.is_absolute() else target.parent / file)
    entry["name"] = str(entry.get("name", file.stem))
    for key, choices in (("use", USES), ("window", WINDOWS), ("method", METHODS), ("radiation", RADIATIONS)):
        if entry.get(key, choices[0]) not in choices:
            raise InputError(f"unknown {key} '{entry[key]}'", f"{where}.{key}", f"one of {', '.join(choices)}")
    for key in ("sigma", "weight", "qmax", "limit"):
        if key in entry:
            entry[key] = _number(entry[key], f"{where}.{key}", above=0)
    for key in ("qmin", "qdamp", "qbroad", "broadening"):
        if key in entry:
            entry[key] = _number(entry[key], f"{where}.{key}", least=0)
    for key, fixed in (("x_range", False), ("scale", True), ("offset", True)):
        if key in entry:
            entry[key] = _interval(entry[key], f"{where}.{key}", fixed=fixed)
    if entry.get("method") == "reciprocal" and (kind not in RECIPROCAL_KINDS or entry.get("window", "none") != "none"):
        raise InputError(
            "the reciprocal-space sum is for functions of Q without a window",
            f"{where}.method",
            "remove one of the two",
        )
    if entry.get("scale", (1.0,))[0] <= 0:
        raise InputError("a scale must be positive", f"{where}.scale", "write [0.9, 1.1], say")
    if "columns" in entry:
        columns = entry["columns"]
        if not isinstance(columns, list) or any(isinstance(c, bool) or not isinstance(c, int) for c in columns):
            raise InputError(f"'{columns}' are not columns", f"{where}.columns", "write [1, 2] or [1, 2, 3]")
        entry["columns"] = tuple(columns)
    if "pair" in entry:
        parse_pair(str(entry["pair"]))
        if kind != "gr":
            raise InputError(f"a partial of kind '{kind}'", f"{where}.pair", "partials exist for kind gr")
    return Measurement(**entry)


def _check_range(measurement: Measurement, spectrum: Spectrum, where: str) -> None:
    """The asked range lies within the data (to half a step) and holds points."""
    if measurement.x_range is None:
        return
    low, high = measurement.x_range
    x = spectrum.x
    first, last = float(x[0]), float(x[-1])
    if low < first - 0.5 * float(x[1] - x[0]) or high > last + 0.5 * float(x[-1] - x[-2]):
        raise InputError(
            f"[{low:g}, {high:g}] is outside the data", where, f"{spectrum.source} holds {first:g} to {last:g}"
        )
    if int(((x >= low) & (x <= high)).sum()) < 3:
        raise InputError(f"fewer than three points in [{low:g}, {high:g}]", where, "widen the range")
