"""Bonds: which element pairs form them, how long they may be, and how many each atom has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from numpy.typing import NDArray

from glass_ml.analysis.distribution import Array, PartialGr, partial_gr
from glass_ml.analysis.names import element_rank, pair_name, parse_pair
from glass_ml.errors import InputError
from glass_ml.structures.neighbours import neighbour_pairs
from glass_ml.structures.state import Structures

Ints = NDArray[np.int64]

SMEARING = 0.08
"""Smearing of g(r) in which peaks and minima are sought, Å."""

MAIN_PEAK = 0.4
"""The first peak is the first maximum at least this fraction of the highest one within 6 Å."""

LOWEST_PEAK = 1.5
"""A g(r) that never rises above this has no shells: counting noise of a random gas stays below it."""

LONGEST_RATIO = 1.45
"""The first minimum is sought below this multiple of the first peak (the second shell of fcc is at 1.41)."""

STRETCH = 0.5
"""Where g(r) stays at its minimum over a gap, a bond may be this much longer than the first peak, Å, and no more:
five times the disorder of a bond length in a glass."""

SHELL_RATIO = 1.25
"""A pair that is not the nearest shell of either element still bonds if its first peak lies within this multiple of
the nearest shells and of the sum of its covalent radii: Zr-Zr in a metallic glass, but not O-O in an oxide."""

COVALENT_RATIO, COVALENT_RADIUS = 1.1, 1.3
"""A pair of two small atoms (covalent radius, Å, below the second number) also bonds if its first peak lies
within the first number times the sum of their radii: Si-Si beside Si-H, C-C beside C-H."""


@dataclass(frozen=True)
class Bonds:
    """Every bond of a batch, in both directions, sorted by the first atom.

    Attributes:
        i: first atom, (B,).
        j: second atom, (B,).
        shift: lattice translation of the second atom, (B, 3), in cell vectors.
        vector: from the first atom to the second, (B, 3), Å.
        length: (B,), Å.
        numbers: atomic number of every atom, (N,).
        system: structure of every atom, (N,).
        cutoffs: longest bond of each pair that bonds, Å.
    """

    i: Ints
    j: Ints
    shift: Ints
    vector: Array
    length: Array
    numbers: Ints
    system: Ints
    cutoffs: dict[str, float]

    @property
    def n_systems(self) -> int:
        """Structures in the batch."""
        return int(self.system[-1]) + 1

    @property
    def degree(self) -> Ints:
        """Coordination number of every atom, (N,)."""
        return np.bincount(self.i, minlength=len(self.numbers))

    def towards(self, number: int) -> Ints:
        """Bonds of every atom to atoms of one element, (N,)."""
        return np.bincount(self.i[self.numbers[self.j] == number], minlength=len(self.numbers))

    def mean_degree(self) -> dict[int, float]:
        """Mean coordination number of each element (atomic number), over the batch."""
        degree = self.degree
        return {int(z): float(degree[self.numbers == z].mean()) for z in np.unique(self.numbers)}


def first_shell(r: Array, g: Array, smallest: float = 0.0) -> tuple[float, float] | None:
    """Position of the first main peak of a smeared g(r), and the end of its shell, both Å.

    The end is the first minimum after the peak. Where the minimum is a gap (g within 2 % of the peak's height
    above it), it is the middle of the gap, but no farther than STRETCH from the peak. None without a peak.
    `smallest` (Å) is where the search begins.
    """
    near = (r > smallest) & (r < 6.0)
    if not near.any() or g[near].max() < LOWEST_PEAK:
        return None
    rising = (g[1:-1] >= g[:-2]) & (g[1:-1] > g[2:]) & near[1:-1] & (g[1:-1] >= MAIN_PEAK * g[near].max())
    if not rising.any():
        return None
    top = int(np.flatnonzero(rising)[0]) + 1
    end = int(np.searchsorted(r, LONGEST_RATIO * r[top]))
    low = top + int(np.argmin(g[top:end]))
    flat = g <= g[low] + 0.02 * g[top]
    start, stop = low, low
    while start > top and flat[start - 1]:
        start -= 1
    while stop < len(r) - 1 and flat[stop + 1]:
        stop += 1
    limit = max(r[start], r[top] + STRETCH)
    return float(r[top]), float(min(0.5 * (r[start] + r[stop]), limit))


def find_cutoffs(distribution: PartialGr) -> dict[str, float]:
    """Longest bond (Å) of every element pair that bonds, from the pooled partial g(r).

    A pair bonds if its first peak is the nearest shell of either element, or not much farther (SHELL_RATIO), or if
    it is a covalent bond between small atoms (COVALENT_RATIO). A partial without a peak (an ideal gas) has no bonds.
    """
    shells: dict[tuple[int, int], tuple[float, float]] = {}
    for pair, g in zip(distribution.pairs, distribution.pooled(SMEARING), strict=True):
        if shell := first_shell(distribution.r, g, 0.6 * _radii(*pair)):
            shells[pair] = shell
    nearest: dict[int, float] = {}
    for pair, (peak, _) in shells.items():
        for z in pair:
            nearest[z] = min(peak, nearest.get(z, peak))
    cutoffs = {}
    for (a, b), (peak, end) in shells.items():
        small = max(covalent_radii[a], covalent_radii[b]) < COVALENT_RADIUS
        covalent = small and peak <= COVALENT_RATIO * _radii(a, b)
        packed = peak <= SHELL_RATIO * min(max(nearest[a], nearest[b]), _radii(a, b))
        if covalent or packed or peak in (nearest[a], nearest[b]):
            cutoffs[pair_name(a, b)] = round(end, 3)
    return cutoffs


def _radii(a: int, b: int) -> float:
    return float(covalent_radii[a] + covalent_radii[b])


def choose_cutoffs(
    structures: Structures,
    given: Mapping[str, float] | None = None,
    distribution: PartialGr | None = None,
) -> dict[str, float]:
    """Cutoffs found from the structures, with those given by a person on top (Å; 'Si-O' or 'O-Si').

    Raises:
        InputError: a given pair is not two elements of the structures, or its cutoff is not in 0-6 Å.
    """
    found = distribution if distribution is not None else partial_gr(structures)
    cutoffs = find_cutoffs(found)
    for text, value in (given or {}).items():
        name = parse_pair(text, "cutoff")
        if name not in found.names:
            raise InputError(f"no {name} pair in the structures", "cutoff", f"pairs: {', '.join(found.names)}")
        if not 0 < value <= 6:
            raise InputError(f"{name}={value} is not in 0-6 Å", "cutoff", "give the longest bond in Å")
        cutoffs[name] = float(value)
    return cutoffs


def find_bonds(structures: Structures, cutoffs: Mapping[str, float]) -> Bonds:
    """All bonds shorter than the cutoff of their pair (Å); pairs without a cutoff do not bond."""
    structures = structures.wrapped()
    numbers = structures.numbers.cpu().numpy()
    limit = np.zeros((numbers.max() + 1, numbers.max() + 1))
    for a in np.unique(numbers):
        for b in np.unique(numbers):
            limit[a, b] = cutoffs.get(pair_name(int(a), int(b)), 0.0)
    found = neighbour_pairs(structures, max(float(limit.max()), 0.1))
    vector = found.vectors(structures).cpu().double().numpy()
    i, j = found.i.cpu().numpy(), found.j.cpu().numpy()
    length = np.linalg.norm(vector, axis=-1)
    keep = length < limit[numbers[i], numbers[j]]
    shift = found.shift.cpu().numpy()[keep].round().astype(np.int64)
    system = structures.system.cpu().numpy()
    return Bonds(i[keep], j[keep], shift, vector[keep], length[keep], numbers, system, dict(cutoffs))


def coordination_fractions(bonds: Bonds) -> dict[int, Array]:
    """Fraction of each element's atoms with n bonds, element (atomic number) -> (S, n_max + 1); nan if absent."""
    degree, fractions = bonds.degree, {}
    for z in sorted(np.unique(bonds.numbers).tolist(), key=element_rank):
        mine = bonds.numbers == z
        width = int(degree[mine].max()) + 1
        table = np.bincount(bonds.system[mine] * width + degree[mine], minlength=bonds.n_systems * width)
        table = table.reshape(bonds.n_systems, width).astype(float)
        total = table.sum(1, keepdims=True)
        fractions[z] = np.divide(table, total, out=np.full_like(table, np.nan), where=total > 0)
    return fractions


def describe_coordination(bonds: Bonds) -> dict[str, Array]:
    """Mean coordination numbers, n-fold fractions, bond lengths (Å) of every structure, each (S,).

    Names: `coordination.Si`; `coordination.Si-O` (neighbours O of Si) where several kinds of bond exist;
    `nfold.Si.4`, from the fewest to the most bonds seen; `bond.Si-O.mean` and `.spread`.
    """
    result: dict[str, Array] = {}
    fractions = coordination_fractions(bonds)
    for z, table in fractions.items():
        symbol = chemical_symbols[z]
        result[f"coordination.{symbol}"] = table @ np.arange(table.shape[1])
        partners = [y for y in fractions if pair_name(z, y) in bonds.cutoffs]
        for y in partners if len(partners) > 1 else []:
            number = bonds.towards(y)[bonds.numbers == z]
            result[f"coordination.{symbol}-{chemical_symbols[y]}"] = mean_by(
                bonds.system[bonds.numbers == z], number, bonds.n_systems
            )
        seen = np.flatnonzero(np.nansum(table, axis=0))
        for n in range(seen[0], seen[-1] + 1):
            result[f"nfold.{symbol}.{n}"] = table[:, n]
    for name in bonds.cutoffs:
        chosen = bond_mask(bonds, name) & (bonds.i <= bonds.j)
        where, length = bonds.system[bonds.i[chosen]], bonds.length[chosen]
        mean = mean_by(where, length, bonds.n_systems)
        result[f"bond.{name}.mean"] = mean
        result[f"bond.{name}.spread"] = np.sqrt(mean_by(where, (length - mean[where]) ** 2, bonds.n_systems))
    return result


def bond_mask(bonds: Bonds, name: str) -> NDArray[np.bool_]:
    """Which bonds join the two elements of a pair, (B,)."""
    kinds = np.stack([bonds.numbers[bonds.i], bonds.numbers[bonds.j]])
    mask = np.zeros(len(bonds.i), dtype=bool)
    for a, b in np.unique(kinds, axis=1).T:
        if pair_name(int(a), int(b)) == name:
            mask |= (kinds[0] == a) & (kinds[1] == b)
    return mask


def mean_by(group: Ints, values: Array, n_groups: int) -> Array:
    """Mean of the values in each group, (n_groups,); nan for an empty one."""
    number = np.bincount(group, minlength=n_groups)
    total = np.bincount(group, values, minlength=n_groups)
    return np.divide(total, number, out=np.full(n_groups, np.nan), where=number > 0)
