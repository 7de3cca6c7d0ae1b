"""Bond angles of every triplet of elements: what pair data cannot see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from glass_ml.analysis.coordination import Bonds, Ints, mean_by
from glass_ml.analysis.distribution import Array
from glass_ml.analysis.names import element_rank, triplet_name

SHARP_ANGLE = 75.0
"""Angles below this (degrees) mean three-membered rings or atoms squeezed in: almost absent in good networks."""

DISTRIBUTION_SMEARING = 2.0
"""Smearing of an angle distribution (standard deviation, degrees)."""


@dataclass(frozen=True)
class Angles:
    """Every bond angle of a batch, once.

    Attributes:
        degrees: (A,).
        triplet: index into `names`, (A,).
        system: structure of the apex, (A,).
        names: triplets with the apex in the middle, 'O-Si-O'.
        n_systems: structures in the batch.
    """

    degrees: Array
    triplet: Ints
    system: Ints
    names: tuple[str, ...]
    n_systems: int

    def distribution(self, name: str, smearing: float = DISTRIBUTION_SMEARING) -> Array:
        """Distribution of one triplet's angles, (S, 180), % per degree in bins of one degree; 0 where absent."""
        chosen = self.triplet == self.names.index(name)
        bins = np.minimum(self.degrees[chosen].astype(np.int64), 179)
        counts = np.bincount(self.system[chosen] * 180 + bins, minlength=self.n_systems * 180)
        table = counts.reshape(self.n_systems, 180).astype(float)
        total = table.sum(1, keepdims=True)
        table = np.divide(100 * table, total, out=np.zeros_like(table), where=total > 0)
        return gaussian_filter1d(table, smearing, axis=-1, mode="reflect") if smearing else table


def same_pairs(key: Ints) -> tuple[Ints, Ints]:
    """Index pairs p < q with key[p] == key[q], for a sorted key."""
    first, second = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    alive, offset = np.arange(len(key)), 1
    while alive.size:
        alive = alive[alive + offset < len(key)]
        alive = alive[key[alive] == key[alive + offset]]
        first.append(alive)
        second.append(alive + offset)
        offset += 1
    return np.concatenate(first), np.concatenate(second)


def bond_angles(bonds: Bonds) -> Angles:
    """All angles between two bonds of an atom."""
    p, q = same_pairs(bonds.i)
    unit = bonds.vector / bonds.length[:, None]
    degrees = np.degrees(np.arccos(np.clip(np.einsum("ax,ax->a", unit[p], unit[q]), -1.0, 1.0)))
    centre = bonds.i[p]
    width = int(bonds.numbers.max()) + 1
    ends = np.sort(np.stack([bonds.numbers[bonds.j[p]], bonds.numbers[bonds.j[q]]]), axis=0)
    code = (bonds.numbers[centre] * width + ends[0]) * width + ends[1]
    kinds, index = np.unique(code, return_inverse=True)
    triplets = [(int(k // width % width), int(k // width**2), int(k % width)) for k in kinds]
    order = sorted(range(len(triplets)), key=lambda t: tuple(element_rank(z) for z in np.roll(triplets[t], 2)))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    names = tuple(triplet_name(*triplets[t]) for t in order)
    return Angles(degrees, place[index] if len(order) else index, bonds.system[centre], names, bonds.n_systems)


def describe_angles(angles: Angles) -> dict[str, Array]:
    """`angle.Si-O-Si.mean` and `.spread` (degrees) and `angle.below75` (fraction of all), each (S,)."""
    result: dict[str, Array] = {}
    for t, name in enumerate(angles.names):
        chosen = angles.triplet == t
        system, degrees = angles.system[chosen], angles.degrees[chosen]
        mean = mean_by(system, degrees, angles.n_systems)
        result[f"angle.{name}.mean"] = mean
        result[f"angle.{name}.spread"] = np.sqrt(mean_by(system, (degrees - mean[system]) ** 2, angles.n_systems))
    sharp = (angles.degrees < SHARP_ANGLE).astype(float)
    result["angle.below75"] = mean_by(angles.system, sharp, angles.n_systems)
    return result


def describe_sharp(angles: Angles) -> dict[str, Array]:
    """`angle.O-Si-O.below75`, the fraction of a triplet's angles that is sharp, (S,); nothing for a single triplet."""
    sharp = (angles.degrees < SHARP_ANGLE).astype(float)
    chosen = {name: angles.triplet == t for t, name in enumerate(angles.names)} if len(angles.names) > 1 else {}
    return {f"angle.{n}.below75": mean_by(angles.system[c], sharp[c], angles.n_systems) for n, c in chosen.items()}
