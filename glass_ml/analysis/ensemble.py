"""A structure as a flat table of named numbers, and an ensemble as their mean and spread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from glass_ml.analysis.angles import Angles, bond_angles, describe_angles
from glass_ml.analysis.coordination import Bonds, choose_cutoffs, describe_coordination, find_bonds
from glass_ml.analysis.distribution import Array, PartialGr, partial_gr
from glass_ml.analysis.order import describe_order
from glass_ml.analysis.rings import count_rings, describe_rings, is_network
from glass_ml.structures.state import Structures

GR_RANGE = (1.0, 8.0)
"""Where g(r) is compared, Å."""

GR_SMEARING = 0.1
"""Smearing of a g(r) that is compared (standard deviation, Å)."""


@dataclass(frozen=True)
class Anatomy:
    """Pairs, bonds, angles and rings of an ensemble, found once for descriptors, comparison, figures and viewer."""

    structures: Structures
    distribution: PartialGr
    bonds: Bonds
    angles: Angles

    @classmethod
    def of(cls, structures: Structures | Anatomy, cutoffs: Mapping[str, float] | None = None) -> Anatomy:
        """Take structures apart; `cutoffs` as in `choose_cutoffs`. What is known of an anatomy is not done again."""
        if not isinstance(structures, Anatomy):
            distribution = partial_gr(structures)
        elif cutoffs is None:
            return structures
        else:
            distribution, structures = structures.distribution, structures.structures
        bonds = find_bonds(structures, choose_cutoffs(structures, cutoffs, distribution))
        return cls(structures, distribution, bonds, bond_angles(bonds))

    @cached_property
    def ring_counts(self) -> Array | None:
        """Primitive rings of every structure by size, as `count_rings`; None for packed structures."""
        return count_rings(self.bonds) if is_network(self.bonds) else None

    def smeared_gr(self) -> tuple[Array, Array]:
        """Distances (R,) in GR_RANGE and the smeared partial g(r) there, (S, P, R)."""
        r = self.distribution.r
        inside = (r >= GR_RANGE[0]) & (r <= GR_RANGE[1])
        return r[inside], self.distribution.g(GR_SMEARING)[..., inside]


def describe(
    structures: Structures | Anatomy, cutoffs: Mapping[str, float] | None = None, *, rings: bool = True
) -> dict[str, Array]:
    """Descriptors of every structure: name -> (S,) values; nan where a structure lacks the element.

    `density` (atoms/Å^3); `shortest.Si-O` and `cutoff.Si-O` (the longest bond counted; Å); those of
    `describe_coordination`, `describe_angles`, `describe_rings` and `describe_order`; and with several structures
    `diversity.gr` (root-mean-square difference of the partial g(r)) and `diversity.angle` (of the angle
    distributions, %/degree): the mean distance of each structure from the others, 0 for copies.

    Args:
        structures: S structures, or their anatomy where it is known.
        cutoffs: longest bonds (Å) by pair, such as {"Si-O": 2.2}, over those found from g(r).
        rings: count rings too, which takes most of the time.

    Raises:
        InputError: a cutoff names a pair that the structures lack, or is not in 0-6 Å.
    """
    anatomy = Anatomy.of(structures, cutoffs)
    result: dict[str, Array] = {"density": anatomy.structures.density.cpu().double().numpy()}
    for p, name in enumerate(anatomy.distribution.names):
        result[f"shortest.{name}"] = anatomy.distribution.shortest[:, p]
    for name, cutoff in anatomy.bonds.cutoffs.items():
        result[f"cutoff.{name}"] = np.full(anatomy.bonds.n_systems, cutoff)
    result |= describe_coordination(anatomy.bonds)
    result |= describe_angles(anatomy.angles)
    if rings:
        result |= describe_rings(anatomy.bonds, anatomy.ring_counts)
    result |= describe_order(anatomy.bonds)
    if anatomy.bonds.n_systems > 1:
        result["diversity.gr"] = _mean_distance(anatomy.smeared_gr()[1])
        tables = [anatomy.angles.distribution(name) for name in anatomy.angles.names]
        if tables:
            result["diversity.angle"] = _mean_distance(np.stack(tables, axis=1))
    return result


def _mean_distance(features: Array) -> Array:
    """Mean root-mean-square distance of each structure's features (S, ...) from the others', (S,)."""
    flat = features.reshape(len(features), -1)
    return np.array([np.sqrt(((flat - one) ** 2).mean(1)).sum() / (len(flat) - 1) for one in flat])


def summary(described: Mapping[str, Array]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation over structures: name -> {"mean", "std"}; names that are nan throughout left out.

    The standard deviation is that of a sample (n - 1), and 0 for a single structure.
    """
    result = {}
    for name, values in described.items():
        known = values[np.isfinite(values)]
        if known.size:
            result[name] = {"mean": float(known.mean()), "std": float(known.std(ddof=1)) if known.size > 1 else 0.0}
    return result
