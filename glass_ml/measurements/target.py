"""The one file a user writes: TARGET.yaml, read strictly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from ase.data import atomic_numbers

from glass_ml.errors import InputError
from glass_ml.files import sha256_file
from glass_ml.measurements.checks import checked_keys
from glass_ml.measurements.measurement import Measurement, parse_measurement
from glass_ml.measurements.restraints import parse_restraint
from glass_ml.measurements.spectrum import Spectrum
from glass_ml.units import parse_density


@dataclass(frozen=True)
class Target:
    """What an inversion aims at.

    Attributes:
        system: picks the prior.
        composition: element symbol -> amount.
        density: number density, atoms/Å^3.
        measurements: at least one; restraints stand among them, as measurements of their own kinds.
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
        return [m.spectrum() for m in self.measurements]


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
    content = checked_keys(content, (*keys, "restraints", "note"), keys, str(path))
    composition = parse_composition(content["composition"], f"{path}: composition")
    density = parse_density(content["density"], composition, f"{path}: density")
    entries = content["measurements"]
    if not isinstance(entries, list) or not entries:
        raise InputError("no measurement", f"{path}: measurements", "list at least one, with file and kind")
    measurements = tuple(
        parse_measurement(e, path, f"{path}: measurements[{k}]", beside, composition) for k, e in enumerate(entries, 1)
    )
    restraints = content.get("restraints") or []
    if not isinstance(restraints, list):
        raise InputError("not a list", f"{path}: restraints", "write a list of mappings")
    measurements += tuple(
        parse_restraint(e, path, f"{path}: restraints[{k}]", composition) for k, e in enumerate(restraints, 1)
    )
    names = [m.name for m in measurements]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two measurements are called '{name}'", f"{path}: measurements", "give each a `name`")
    note = str(content.get("note") or "")
    target = Target(str(content["system"]), composition, density, measurements, path, sha256_file(path), note)
    for k, (m, s) in enumerate(zip(measurements, target.load_spectra(), strict=True), 1):
        _check_range(m, s, f"{path}: measurements[{k}].x_range")
    return target


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


def _check_range(measurement: Measurement, spectrum: Spectrum, where: str) -> None:
    """The asked range lies within the data (to half a step) and holds points."""
    if measurement.x_range is None or len(spectrum.x) < 2:
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
