"""The reference structures of a material: what is known of them, and how far other structures are from them.

There is no coordination or bond angle that is right for every glass: boron has three and four neighbours, a carbon is
a mixture, alumina shares edges. So structures are judged against structures of their own material. These may be better
or worse than a real sample: a distance from them says how alike the two are, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms

from glass_ml.analysis.angles import describe_sharp
from glass_ml.analysis.distribution import Array
from glass_ml.analysis.ensemble import Anatomy, describe, summary
from glass_ml.config import as_mapping, build
from glass_ml.errors import InputError
from glass_ml.files import sha256_file
from glass_ml.structures.io import from_atoms, read_frames

Level = Literal["good", "fair", "poor", "none"]
Described = Mapping[str, Mapping[str, float]]
"""Descriptors by name, each with `mean` and `std`: the `structure` of metrics.json."""

VERSION = 1
"""Version of the record. A later one reads this one; a record of a later version is refused."""

SAME_DENSITY = 0.05
"""Relative difference up to which two densities count as one: groups of references are chosen by density first."""

GAP = 0.03
"""Reference structures of one file are one group where their densities, in order, leave no gap wider than this."""

NAMED = 0.02
"""Share of an element's atoms from which a coordination number is named in words."""

LIMITS: dict[str, tuple[float, float]] = {
    "coordination": (0.06, 0.15),
    "partners": (0.05, 0.15),
    "bond_length": (0.015, 0.04),
    "angle": (2.5, 6.0),
    "angle_width": (0.2, 0.4),
    "sharp": (0.01, 0.04),
    "rings": (0.12, 0.3),
    "crystalline": (0.15, 0.5),
}
"""Distance from the reference structures up to which structures are like them, and fairly like them. Twice the
spread of the references is added to both, so that few or equal references condemn nothing and varied ones allow more.

- coordination: share of an element's atoms with another number of neighbours (half the sum of absolute differences);
- partners: share of an element's neighbours that are of another element;
- bond_length: relative difference of the mean bond length of a pair;
- angle: difference of the mean angle of a triplet, degrees;
- angle_width: relative difference of the standard deviation of its angles;
- sharp: difference of the share of angles below 75 degrees;
- rings: half the sum of absolute differences over ring sizes, relative to all rings of the references;
- crystalline: difference of the share of atoms in crystalline surroundings.
"""


@dataclass(frozen=True)
class Group:
    """Reference structures of one file and one density.

    Attributes:
        file, potential: where they are from.
        density: smallest and largest, atoms/Å^3.
        structures, frames, atoms: independent structures, all frames of them, and atoms in all.
        descriptors: those of `describe` and `describe_sharp`: mean and standard deviation over independent structures.
    """

    file: str
    potential: str
    density: tuple[float, ...]
    structures: int
    frames: int
    atoms: int
    descriptors: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Distance:
    """How far structures are from a group in one respect.

    Attributes:
        kind: a key of LIMITS.
        subject, numbers: what it is about, and both values in words, those of the references in brackets.
        value, spread: the distance, and the spread of the references, in the unit of its kind.
    """

    kind: str
    subject: str
    numbers: str
    value: float
    spread: float

    @property
    def share(self) -> float:
        """Distance as a multiple of the limit for being like the references."""
        return self.value / (LIMITS[self.kind][0] + 2 * self.spread)

    @property
    def level(self) -> Level:
        """good: like the references; fair; poor."""
        fair = LIMITS[self.kind][1] + 2 * self.spread
        return "good" if self.share <= 1 else "fair" if self.value <= fair else "poor"


@dataclass(frozen=True)
class References:
    """The reference descriptors of a material, as a model card and metrics.json hold them.

    Attributes:
        role: `reference`, or `held-out` where a material has none and held-out training structures stand for them.
        elements: symbols.
        files: file name -> SHA-256.
        groups: by file and density.
    """

    role: str = "reference"
    elements: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    groups: tuple[Group, ...] = ()
    version: int = VERSION

    @classmethod
    def read(cls, record: Mapping[str, Any] | None) -> References | None:
        """A record as it was written; None where there is none.

        Raises:
            InputError: it is of a later version, or not what it should be.
        """
        if not record:
            return None
        version = record.get("version") if isinstance(record, Mapping) else None
        if type(version) is not int or not 1 <= version <= VERSION:
            raise InputError(f"reference descriptors of version {version}", "references", "update glass_ml")
        found = build(cls, record, "references")
        described = [value for group in found.groups for value in group.descriptors.values()]
        sound = all(group.density and min(group.density) > 0 for group in found.groups)
        if not (found.groups and sound and all(value.keys() >= {"mean", "std"} for value in described)):
            raise InputError("reference descriptors that lack a part", "references", "choose another model")
        return found

    @property
    def noun(self) -> str:
        """What they are called in a sentence."""
        return "reference structures" if self.role == "reference" else "held-out training structures"

    def nearest(self, found: Described) -> tuple[Group, list[Distance]]:
        """The group that structures are judged against, and their distances from it.

        Groups of the same density count first, else those of the nearest; among several the one that is most alike.
        """
        density = found["density"]["mean"] if "density" in found else None
        apart = [density_difference(density, group) for group in self.groups]
        near = [g for g, d in zip(self.groups, apart, strict=True) if d <= max(SAME_DENSITY, min(apart))]
        judged = [(group, distances(found, group.descriptors)) for group in near]
        return min(judged, key=lambda pair: max((d.share for d in pair[1]), default=0.0))


def density_difference(density: float | None, group: Group) -> float:
    """Relative difference of a density from those of a group; 0 inside, or where it is unknown."""
    low, high = group.density[0], group.density[-1]
    return 0.0 if density is None else max(low / density - 1, density / high - 1, 0.0)


def reference_record(
    sources: Sequence[Path | str] | Mapping[str, Sequence[Atoms]], *, held_out: bool = False
) -> dict[str, Any]:
    """The reference descriptors of a material as plain data for JSON; `References.read` reads them.

    Of frames with a `state` the thermal ones count. Frames of one `quench` are one structure: their mean is taken,
    and means and standard deviations are those over structures.

    Args:
        sources: extxyz files, or file -> the frames chosen of it (the checksum is that of the file where it exists).
        held_out: they are held-out training structures, for want of others.

    Raises:
        InputError: a file cannot be read, there are no structures, or their elements differ.
    """
    chosen = sources if isinstance(sources, Mapping) else {str(file): read_frames(file) for file in sources}
    groups: list[Group] = []
    elements: set[tuple[str, ...]] = set()
    for file, frames in chosen.items():
        thermal = [a for a in frames if a.info.get("state", "thermal") == "thermal"] or list(frames)
        elements |= {tuple(sorted(set(a.get_chemical_symbols()))) for a in thermal}
        groups += [_group(Path(file).name, part) for part in _by_density(thermal)]
    if len(elements) != 1:
        what = f"reference structures of {len(elements)} sets of elements" if elements else "no reference structures"
        raise InputError(what, ", ".join(map(str, chosen)), "give structures of one material")
    files = {Path(file).name: sha256_file(file) for file in chosen if Path(file).is_file()}
    record = References("held-out" if held_out else "reference", elements.pop(), files, tuple(groups))
    return as_mapping(record)


def _by_density(frames: Sequence[Atoms]) -> list[list[Atoms]]:
    """Frames in parts between which the density leaves a gap."""
    parts: list[list[Atoms]] = []
    for atoms in sorted(frames, key=_density):
        if parts and _density(atoms) <= (1 + GAP) * _density(parts[-1][-1]):
            parts[-1].append(atoms)
        else:
            parts.append([atoms])
    return parts


def _density(atoms: Atoms) -> float:
    return len(atoms) / float(atoms.get_volume())


def _group(file: str, frames: Sequence[Atoms]) -> Group:
    anatomy = Anatomy.of(from_atoms(list(frames)))
    described = {**describe(anatomy), **describe_sharp(anatomy.angles)}
    names = [atoms.info.get("quench", k) for k, atoms in enumerate(frames)]
    quench = np.array([list(dict.fromkeys(names)).index(name) for name in names])
    return Group(
        file=file,
        potential=str(frames[0].info.get("potential", "")),
        density=(_density(frames[0]), _density(frames[-1])),
        structures=int(quench.max()) + 1,
        frames=len(frames),
        atoms=sum(len(atoms) for atoms in frames),
        descriptors=summary({n: _over(quench, v) for n, v in described.items() if not n.startswith("diversity.")}),
    )


def _over(quench: Array, values: Array) -> Array:
    """Mean over the frames of each quench that have a value; nan where none has."""
    known = [values[(quench == k) & np.isfinite(values)] for k in range(int(quench.max()) + 1)]
    return np.array([part.mean() if part.size else np.nan for part in known])


def distances(found: Described, reference: Described) -> list[Distance]:
    """Every distance of LIMITS that both sides allow."""

    def both(name: str, form: str) -> str:
        return f"{mean(found, name):{form}} ({mean(reference, name):{form}})"

    result = []
    for element in (n[13:] for n in reference if n.startswith("coordination.") and "-" not in n):
        names, value, spread = _histogram(found, reference, f"nfold.{element}.")
        names = [n for n in names if max(mean(found, n), mean(reference, n)) >= NAMED]
        shares = ", ".join(f"{n.rpartition('.')[2]}-fold {both(n, '.1%')}" for n in names)
        result.append(Distance("coordination", f"Coordination of {element} is", shares, value, spread))
        result += _partners(element, found, reference)
    for name in (n for n in reference if n in found):
        a, b, std = found[name]["mean"], reference[name]["mean"], reference[name]["std"]
        match name.split("."):
            case ["angle", triplet, "mean"]:
                result.append(Distance("angle", f"{triplet} angles are", f"{both(name, '.1f')}°", abs(a - b), std))
            case ["angle", triplet, "spread"] if b > 0:
                text = f"a spread of {both(name, '.1f')}°"
                result.append(Distance("angle_width", f"{triplet} angles are", text, abs(a / b - 1), std / b))
            case ["angle", *triplet, "below75"]:
                subject = f"{triplet[0]} angles are" if triplet else "Sharp angles are"
                result.append(Distance("sharp", subject, f"{both(name, '.1%')} below 75°", abs(a - b), std))
            case ["bond", pair, "mean"] if b > 0:
                text = f"{pair} {both(name, '.3f')} Å"
                result.append(Distance("bond_length", "Bond lengths are", text, abs(a / b - 1), std / b))
            case ["order", "crystalline"]:
                text = f"{both(name, '.0%')} of the atoms"
                result.append(Distance("crystalline", "Crystalline order is", text, abs(a - b), std))
    names, value, spread = _histogram(found, reference, "rings.")
    if total := sum(mean(reference, name) for name in names):
        text = f"{value / total:.0%} of the rings differ"
        result.append(Distance("rings", "Ring sizes are", text, value / total, spread / total))
    return result


def _histogram(found: Described, reference: Described, start: str) -> tuple[list[str], float, float]:
    """Names that begin so, in order; half the sum of their absolute differences, and of their standard deviations."""
    names = {n for side in (found, reference) for n in side if n.startswith(start)}
    value = sum(abs(mean(found, n) - mean(reference, n)) for n in names)
    spread = sum(reference[n]["std"] for n in names if n in reference)
    return sorted(names, key=lambda n: int(n[len(start) :])), value / 2, spread / 2


def _partners(element: str, found: Described, reference: Described) -> list[Distance]:
    """How far the neighbours of an element are shared otherwise among the elements."""
    here, there = _partner_shares(element, found), _partner_shares(element, reference)
    partners = sorted(here | there)
    if not (here and there) or len(partners) < 2:
        return []
    value = sum(abs(here.get(name, 0.0) - there.get(name, 0.0)) for name in partners) / 2
    spreads = [reference[n]["std"] for n in reference if n.startswith(f"coordination.{element}-")]
    text = ", ".join(f"{name} {here.get(name, 0):.0%} ({there.get(name, 0):.0%})" for name in partners)
    spread = sum(spreads) / 2 / mean(reference, f"coordination.{element}")
    return [Distance("partners", f"Neighbours of {element} are", text, value, spread)]


def _partner_shares(element: str, described: Described) -> dict[str, float]:
    """Partner -> its share among the neighbours of an element; empty where it has none."""
    whole = mean(described, f"coordination.{element}")
    if whole <= 0:
        return {}
    start = f"coordination.{element}-"
    shares = {n[len(start) :]: mean(described, n) / whole for n in described if n.startswith(start)}
    if shares:
        return shares
    pairs = [n[5:-5].split("-") for n in described if n.startswith("bond.") and n.endswith(".mean")]
    only = {b if a == element else a for a, b in pairs if element in (a, b)}
    return dict.fromkeys(only, 1.0)


def mean(described: Described, name: str) -> float:
    """The mean of a descriptor; 0 where it was not seen."""
    return float(described[name]["mean"]) if name in described else 0.0
