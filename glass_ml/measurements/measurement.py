"""One entry of `measurements` in TARGET.yaml: what was measured, how, and how it is compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from ase.data import chemical_symbols

from glass_ml.errors import InputError
from glass_ml.measurements.checks import checked_keys, interval, number
from glass_ml.measurements.readers import read_spectrum
from glass_ml.measurements.spectrum import Instrument, Spectrum
from glass_ml.observables.angles import parse_triplet
from glass_ml.observables.base import RECIPROCAL_KINDS
from glass_ml.observables.coordination import parse_neighbours
from glass_ml.observables.realspace import parse_pair
from glass_ml.observables.registry import METHODS, PAIRED, check_kind
from glass_ml.observables.scattering_table import find_table, parse_edge, table_name
from glass_ml.observables.surrogate_files import WEIGHTS, is_surrogate, read_surrogate_card
from glass_ml.observables.windows import WINDOWS

USES = ("fit", "validate")
RADIATIONS = ("xray", "neutron", "number")

OWN_FIELDS: dict[str, tuple[str, ...]] = {
    "radiation": ("gr", "pdf", "dr", "tr"),
    "window": (*RECIPROCAL_KINDS, "pdf", "dr", "tr"),
    "method": RECIPROCAL_KINDS,
    "limit": (*RECIPROCAL_KINDS, "exafs"),
    "qmin": ("pdf", "dr", "tr"),
    "qmax": ("pdf", "dr", "tr"),
    "qbroad": ("pdf", "dr", "tr"),
    "qdamp": (*RECIPROCAL_KINDS, "pdf", "dr", "tr"),
    "edge": ("exafs",),
    "k_weight": ("exafs",),
    "e0": ("exafs",),
    "sigma2": ("exafs",),
    "r_range": ("exafs",),
    "table": ("exafs",),
    "triplet": ("adf",),
    "cutoff": ("adf", "coordination"),
    "width": ("adf", "coordination"),
    "between": ("pair-count", "distance-window"),
    "pair": PAIRED,
    "surrogate": ("xanes",),
}
"""Fields that only some kinds have."""

NEEDED: dict[str, tuple[str, ...]] = {
    "exafs": ("edge",),
    "adf": ("triplet", "cutoff"),
    "coordination": ("pair", "cutoff"),
    "pair-count": ("pair",),
    "distance-window": ("pair", "between"),
    "xanes": ("surrogate",),
}
"""Fields that a kind cannot do without."""


@dataclass(frozen=True)
class Measurement:
    """One entry of `measurements` in TARGET.yaml.

    Attributes:
        file: the data; relative to the folder of TARGET.yaml. Empty where they stand in `values`.
        kind: a key of `KINDS`, always stated.
        use: 'fit', or 'validate': compared with, never fitted.
        name: short and unique; by default the file's name without its ending.
        x_range: part of the data that is compared, (low, high) in the unit of x; all of it by default.
        sigma: standard deviation of every point; wins over the file's.
        weight: factor of this measurement's chi-square.
        scale: bounds of the factor between model and data; equal bounds fix it.
        offset: bounds of the constant added to the scaled model.
        values: rows (x, y) of data that stand in TARGET.yaml itself; `sigma` is then needed.
        columns: columns of x, y and optionally sigma, from 1.
        window: 'lorch' or 'none'; 'lorch' by default for functions of Q, where data and model are seen through it.
        method: for functions of Q, 'sine' (transform of the pair histograms to half the cell) or 'reciprocal' (exact
            sum over the cell's reciprocal vectors, no window: for low Q).
        limit: for functions of Q, largest upper limit of the sine transform, Å: half the cell where that is smaller.
            Pairs up to it are summed, so that a large cell costs no more per atom than a small one.
        qmin, qmax, qdamp, qbroad: as `Instrument`.
        broadening: standard deviation (Å) added to the distances of the model, for motion that structures do not carry;
            0 by default; of 'adf' that of the angles, degrees, 2 by default.
        radiation: weights of the elements in 'gr' and 'pdf'.
        pair: two elements: one partial of 'gr' (O-O); of the kinds that count neighbours first the atoms, then what
            is counted around them (Si-O).
        edge: absorber and edge of 'exafs' ('Si K').
        k_weight: power of k that the data of 'exafs' carry.
        e0: bounds of the shift of the threshold, eV ('exafs'); S0^2 is the `scale`.
        sigma2: bounds of a mean square displacement that the structures do not carry, Å^2 ('exafs').
        r_range: distances (Å) that a Fourier filter lets through, in model and data ('exafs').
        table: scattering table ('exafs'); by default the project's, or the one that comes with the package.
        triplet: elements of 'adf', the apex in the middle (O-Si-O).
        cutoff: distance within which atoms are bonded, Å ('adf', 'coordination'); for two kinds of bond one by pair.
        width: half the distance over which a bond fades out about the cutoff, Å.
        between: window of 'pair-count' and 'distance-window', Å.
        surrogate: folder of the model of 'xanes', relative to that of TARGET.yaml or to the current one.
    """

    kind: str
    file: str = ""
    use: str = "fit"
    name: str = ""
    x_range: tuple[float, float] | None = None
    sigma: float | None = None
    weight: float = 1.0
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)
    values: tuple[tuple[float, float], ...] | None = None
    columns: tuple[int, ...] | None = None
    window: str | None = None
    method: str = "sine"
    limit: float = 13.0
    qmin: float = 0.0
    qmax: float | None = None
    qdamp: float = 0.0
    qbroad: float = 0.0
    broadening: float | None = None
    radiation: str | None = None
    pair: str | None = None
    edge: str | None = None
    k_weight: float = 0.0
    e0: tuple[float, float] = (0.0, 0.0)
    sigma2: tuple[float, float] = (0.0, 0.0)
    r_range: tuple[float, float] | None = None
    table: str | None = None
    triplet: str | None = None
    cutoff: float | dict[str, float] | None = None
    width: float = 0.2
    between: tuple[float, float] | None = None
    surrogate: str | None = None

    @property
    def instrument(self) -> Instrument:
        """Range, window and resolution, the default window of the kind filled in."""
        default = "lorch" if self.kind in RECIPROCAL_KINDS and self.method == "sine" else "none"
        return Instrument(self.qmin, self.qmax, self.qdamp, self.qbroad, self.window or default)

    @property
    def files(self) -> tuple[tuple[str, str], ...]:
        """Every file that the measurement rests on, with its role: 'data', 'scattering table', 'surrogate'."""
        weights = str(Path(self.surrogate) / WEIGHTS) if self.surrogate else None
        named = (("data", self.file), ("scattering table", self.table), ("surrogate", weights))
        return tuple((role, file) for role, file in named if file)

    def spectrum(self) -> Spectrum:
        """The data; raises InputError as `read_spectrum` does."""
        if self.values is not None:
            rows = torch.tensor(self.values, dtype=torch.float64)
            assert self.sigma is not None
            sigma = torch.full_like(rows[:, 0], self.sigma)
            return Spectrum(rows[:, 0], rows[:, 1], sigma, self.kind, self.instrument, self.name, self.name)
        return read_spectrum(
            self.file, self.kind, columns=self.columns, sigma=self.sigma, instrument=self.instrument, name=self.name,
            k_weight=self.k_weight,
        )  # fmt: skip


def parse_measurement(
    content: Any, target: Path, where: str, beside: bool, composition: Mapping[str, float]
) -> Measurement:
    """A measurement out of its mapping in TARGET.yaml.

    Args:
        content: the mapping.
        target: TARGET.yaml; files are relative to its folder.
        where: the place to name in an error.
        beside: look for files by their bare names in that folder.
        composition: of the target; every element named must be in it.

    Raises:
        InputError: a key or value that cannot be used.
    """
    known = tuple(f.name for f in fields(Measurement))
    entry = {k: v for k, v in checked_keys(content, known, ("kind",), where).items() if v is not None}
    kind = check_kind(entry["kind"], f"{where}.kind")
    if ("file" in entry) == ("values" in entry):
        raise InputError("a measurement has either a file or values", where, "add 'file:', or remove one of the two")
    for key in ("file", "table"):
        if key in entry:
            entry[key] = _path(entry[key], target, beside)
    entry["name"] = str(entry.get("name") or (Path(entry["file"]).stem if "file" in entry else kind))
    if "values" in entry:
        entry["values"] = _rows(entry["values"], f"{where}.values")
        if "sigma" not in entry:
            raise InputError("values without their uncertainty", where, "add 'sigma:'")
    for key, choices in (("use", USES), ("window", WINDOWS), ("method", METHODS), ("radiation", RADIATIONS)):
        if entry.get(key, choices[0]) not in choices:
            raise InputError(f"unknown {key} '{entry[key]}'", f"{where}.{key}", f"one of {', '.join(choices)}")
    for key in ("sigma", "weight", "qmax", "limit"):
        if key in entry:
            entry[key] = number(entry[key], f"{where}.{key}", above=0)
    for key in ("qmin", "qdamp", "qbroad", "broadening"):
        if key in entry:
            entry[key] = number(entry[key], f"{where}.{key}", least=0)
    for key, fixed in (("x_range", False), ("scale", True), ("offset", True)):
        if key in entry:
            entry[key] = interval(entry[key], f"{where}.{key}", fixed=fixed)
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
    _own_fields(entry, kind, where, composition)
    if kind == "xanes":
        entry["surrogate"] = _surrogate(entry["surrogate"], target, where, beside, composition)
    if kind == "exafs" and "table" not in entry:
        near = target.parent / table_name(entry["edge"], composition)
        entry["table"] = str(near if beside and near.is_file() else find_table(entry["edge"], composition, where))
    return Measurement(**entry)


def _path(value: Any, target: Path, beside: bool) -> str:
    file = Path(str(value)).expanduser()
    file = Path(file.name) if beside else file
    return str(file if file.is_absolute() else target.parent / file)


def _surrogate(value: Any, target: Path, where: str, beside: bool, composition: Mapping[str, float]) -> str:
    """The folder of a surrogate that knows every element of the composition."""
    near = Path(_path(value, target, beside))
    folder = near if is_surrogate(near) else Path(str(value)).expanduser()
    if not is_surrogate(folder):
        mend = "train one: glass-ml train NAME --observable xanes; or dvc pull"
        raise InputError(f"no surrogate in '{value}'", f"{where}.surrogate", mend)
    card = read_surrogate_card(folder)
    known = [chemical_symbols[z] for z in card["elements"]]
    absorber = chemical_symbols[card["absorber"]]
    unknown = [symbol for symbol in composition if symbol not in known]
    if unknown or absorber not in composition:
        what = (
            f"the surrogate in '{value}' is for {absorber} among {', '.join(known)}, not for {', '.join(composition)}"
        )
        raise InputError(what, f"{where}.surrogate", "choose another")
    return str(folder)


def _rows(value: Any, where: str) -> tuple[tuple[float, float], ...]:
    """Rows (x, y), x ascending, from a list of pairs or a mapping x: y."""
    rows = list(value.items()) if isinstance(value, Mapping) else value
    mend = "write a mapping x: y, or a list of [x, y]"
    if not isinstance(rows, list) or not rows or any(not isinstance(r, list | tuple) or len(r) != 2 for r in rows):
        raise InputError(f"'{value}' are not values", where, mend)
    table = tuple((number(x, where), number(y, where)) for x, y in rows)
    if any(b[0] <= a[0] for a, b in pairwise(table)):
        raise InputError("x does not ascend", where, mend)
    return table


def _own_fields(entry: dict[str, Any], kind: str, where: str, composition: Mapping[str, float]) -> None:
    """Check and convert what only some kinds have."""
    for key, kinds in OWN_FIELDS.items():
        if key in entry and kind not in kinds:
            raise InputError(
                f"'{key}' has no meaning for kind {kind}", f"{where}.{key}", f"it belongs to kind {', '.join(kinds)}"
            )
    for key in NEEDED.get(kind, ()):
        if key not in entry:
            raise InputError(f"kind {kind} needs '{key}'", where, f"add '{key}:'")
    if "edge" in entry:
        entry["edge"] = parse_edge(entry["edge"], f"{where}.edge")
        _among([entry["edge"].split()[0]], composition, f"{where}.edge")
    if "pair" in entry:
        (parse_neighbours if kind == "coordination" else parse_pair)(str(entry["pair"]))
        _among(str(entry["pair"]).removesuffix("-*").split("-"), composition, f"{where}.pair")
    if "triplet" in entry:
        parse_triplet(str(entry["triplet"]))
        _among(str(entry["triplet"]).split("-"), composition, f"{where}.triplet")
    if "cutoff" in entry:
        value = entry["cutoff"]
        by_pair = value.items() if isinstance(value, Mapping) else [("", value)]
        checked = {str(k): number(v, f"{where}.cutoff", above=0) for k, v in by_pair}
        for pair in filter(None, checked):
            parse_pair(pair)
        entry["cutoff"] = checked if isinstance(value, Mapping) else checked[""]
    if "k_weight" in entry:
        entry["k_weight"] = number(entry["k_weight"], f"{where}.k_weight", least=0)
    if "width" in entry:
        entry["width"] = number(entry["width"], f"{where}.width", above=0)
    for key, fixed in (("e0", True), ("sigma2", True), ("r_range", False), ("between", False)):
        if key in entry:
            entry[key] = interval(entry[key], f"{where}.{key}", fixed=fixed)


def _among(symbols: list[str], composition: Mapping[str, float], where: str) -> None:
    for symbol in symbols:
        if symbol not in composition:
            raise InputError(f"{symbol} is not in the composition", where, f"it holds {', '.join(composition)}")
