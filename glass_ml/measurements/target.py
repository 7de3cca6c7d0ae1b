"""What an inversion aims at: TARGET.yaml, the one file that a user writes, or the same out of plain values."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from ase.data import atomic_numbers

from glass_ml.config import StrictLoader
from glass_ml.errors import InputError
from glass_ml.files import write_text
from glass_ml.measurements.measurement import Measurement, checked_keys, parse_measurement
from glass_ml.measurements.readers import Spectrum
from glass_ml.measurements.restraints import parse_restraint
from glass_ml.measurements.tables import MIN_ROWS
from glass_ml.observables.fields import Context, described, plain
from glass_ml.observables.kinds import find_kind
from glass_ml.units import parse_density


@dataclass(frozen=True)
class Target:
    """What an inversion aims at.

    Args:
        composition: element symbol -> amount.
        density: number density, atoms/Å^3, or a text such as '2.28 g/cm3'.
        measurements: at least one; restraints stand among them, as measurements of their own kinds.
        system: picks the prior, where none is named.
        note: what the report shall say of the data, such as where they come from.
        path: the YAML file; none of a target that stands in no file.
        sha256: checksum of its bytes.
        as_read: whether it is what stands in the file; a copy with other values is not.

    Raises:
        InputError: no such material, two measurements of one name, an element that the composition lacks.
    """

    composition: dict[str, float]
    density: float
    measurements: tuple[Measurement, ...]
    system: str = ""
    note: str = ""
    path: Path = field(default_factory=Path)
    sha256: str = ""
    as_read: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check everything, and bring it into one form."""
        composition = parse_composition(plain(self.composition), self.place("composition"))
        density = float(parse_density(plain(self.density), composition, self.place("density")))
        where, given = self.place("measurements"), self.measurements
        if isinstance(given, str) or not isinstance(given, Sequence) or not given:
            raise InputError("no measurement", where, "list at least one, with file and kind")
        if any(not isinstance(m, Measurement) for m in given):
            raise InputError("not a measurement", where, "make them by make_measurement")
        contexts = (Context(f"{where}[{k}]", composition) for k in range(1, len(given) + 1))
        measurements = tuple(m.complete(context) for m, context in zip(given, contexts, strict=True))
        names = [m.name for m in measurements]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"two measurements are called '{name}'", where, "give each a `name`")
        for key, value in (("composition", composition), ("density", density), ("measurements", measurements)):
            object.__setattr__(self, key, value)

    def place(self, key: str) -> str:
        """The place of a key, to name in an error."""
        return key if self.path == Path() else f"{self.path}: {key}"

    @property
    def spectra(self) -> list[Spectrum]:
        """The data of every measurement."""
        return [m.spectrum for m in self.measurements]


def load_target(path: Path | str, *, beside: bool = False) -> Target:
    """Read and check TARGET.yaml and everything that it names; each file is read and hashed once, here.

    Args:
        path: the YAML file.
        beside: look for every data file by its bare name in the folder of `path`, as in an inversion's folder.

    Raises:
        InputError: anything that is missing, unknown, misspelt or impossible, in the file or in the data it names.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("no such file", str(path), "check the path")
    text = path.read_bytes()
    try:
        content = yaml.load(text, StrictLoader)
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}: line {mark.line + 1}" if mark else str(path)
        raise InputError(f"not YAML: {getattr(error, 'problem', None) or error}", where) from None
    keys = ("system", "composition", "density", "measurements")
    content = checked_keys(content, (*keys, "restraints", "note"), keys, str(path))
    composition = parse_composition(content["composition"], f"{path}: composition")
    density = parse_density(content["density"], composition, f"{path}: density")
    context = Context("", composition, path.parent, beside)
    entries, restraints = content["measurements"], content.get("restraints") or []
    if not isinstance(entries, list) or not entries:
        raise InputError("no measurement", f"{path}: measurements", "list at least one, with file and kind")
    if not isinstance(restraints, list):
        raise InputError("not a list", f"{path}: restraints", "write a list of mappings")
    measurements = [
        parse(entry, replace(context, where=f"{path}: {key}[{k}]"))
        for key, parse, listed in (
            ("measurements", parse_measurement, entries),
            ("restraints", parse_restraint, restraints),
        )
        for k, entry in enumerate(listed, 1)
    ]
    note, system = str(content.get("note") or ""), str(content["system"])
    found = Target(composition, density, tuple(measurements), system, note, path, hashlib.sha256(text).hexdigest())
    object.__setattr__(found, "as_read", True)
    return found


def write_target(target: Target, folder: Path | str) -> Path:
    """Write `target.yaml`, and beside it the data of every measurement that has no file; `load_target` reads them.

    The same target gives the same bytes. Returns the path of the YAML file.

    Raises:
        InputError: the folder cannot be written to.
    """
    folder, used = Path(folder), set[str]()
    entries = []
    for measurement in target.measurements:
        entry: dict[str, Any] = {"kind": measurement.kind, "name": measurement.name}
        spectrum = measurement.spectrum
        columns = [spectrum.x, spectrum.y] + ([spectrum.sigma] if measurement.sigma is None else [])
        rows = [list(row) for row in zip(*(column.tolist() for column in columns), strict=True)]
        if measurement.file:
            entry["file"] = str(Path(measurement.file).resolve())
        elif len(rows) < MIN_ROWS or find_kind(measurement.kind).role == "count":
            entry["values"] = rows
        else:
            entry["file"] = _data_name(measurement.name, used)
            head = f"# {measurement.kind}: {find_kind(measurement.kind).formula}\n# x y sigma\n"
            body = "\n".join(" ".join(map(repr, row)) for row in rows)
            write_text(folder / entry["file"], f"{head}{body}\n")
        entry |= _given(measurement) | _given(measurement.settings, _filled_in(measurement, target.composition))
        entries.append(entry)
    content = {
        "system": target.system,
        "composition": target.composition,
        "density": target.density,
        **({"note": target.note} if target.note else {}),
        "measurements": entries,
    }
    text = yaml.safe_dump(content, sort_keys=False, width=10**6, allow_unicode=True, default_flow_style=None)
    write_text(folder / "target.yaml", text)
    return folder / "target.yaml"


def _data_name(name: str, used: set[str]) -> str:
    """A file name out of the name of a measurement, unlike those used before."""
    slug = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "data"
    free = next(n for n in (slug, *(f"{slug}-{k}" for k in range(2, len(used) + 3))) if n.lower() not in used)
    used.add(free.lower())
    return f"{free}.dat"


def _given(fields: Any, left_out: frozenset[str] = frozenset()) -> dict[str, Any]:
    """What differs from the defaults, as YAML has it."""
    skipped = left_out | {"kind", "name", "file", "files", "settings", "spectrum"}
    found = {}
    for f in dataclasses.fields(fields):
        value = getattr(fields, f.name)
        if f.name not in skipped and value is not None and value != f.default:
            found[f.name] = plain(value)
    return found


def _filled_in(measurement: Measurement, composition: Mapping[str, float]) -> frozenset[str]:
    """Files that the settings name only because they follow from the composition."""
    kind, settings = find_kind(measurement.kind), measurement.settings
    optional = [k for k, f in kind.fields.items() if described(f).file and k not in kind.needed]

    def follows(key: str) -> bool:
        try:
            return kind.check(replace(settings, **{key: None}), Context("", composition)) == settings
        except InputError:
            return False

    return frozenset(filter(follows, optional))


def parse_composition(value: Any, where: str) -> dict[str, float]:
    """Element symbol -> amount; raises InputError, naming the place, for anything else."""
    mend = "write element symbols with positive amounts, such as {Si: 1, O: 2}"
    if not isinstance(value, Mapping) or not value:
        raise InputError(f"'{value}' is not a composition", where, mend)
    for symbol, amount in value.items():
        if symbol not in atomic_numbers or symbol == "X":
            raise InputError(f"'{symbol}' is not an element", where, mend)
        if isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 < amount < float("inf"):
            raise InputError(f"amount '{amount}' of {symbol}", where, mend)
    return {str(symbol): float(amount) for symbol, amount in value.items()}
