"""Smooth bonds: the neighbours that angles and coordination numbers are made of, each with a weight between 0 and 1.

A bond ends gradually, so that what is counted from bonds is differentiable in the positions. Bonds are short: one
short list of neighbours serves, and stays the same while the atoms move little.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from ase.data import atomic_numbers, chemical_symbols
from torch import Tensor

from glass_ml.errors import InputError
from glass_ml.observables.fields import number, setting
from glass_ml.observables.kinds import Settings
from glass_ml.observables.realspace import parse_pair
from glass_ml.structures.neighbours import Pairs, SkinList
from glass_ml.structures.state import Structures

Cutoff = float | Mapping[str, float]
"""Where bonds end, Å: one number, or one for each pair of elements ('Si-O', in either order)."""

WIDTH = 0.2
"""Default half-width of the end of a bond, Å."""

SKIN = 0.5
"""How much farther than needed the neighbours of atoms that move are searched, Å."""


def parse_cutoff(value: Any, where: str) -> Cutoff:
    """A cutoff out of a number, or a mapping of pairs to numbers.

    Raises:
        InputError: anything else, or a length that is not positive.
    """
    if not isinstance(value, Mapping):
        return number(value, where, above=0)
    for pair in value:
        parse_pair(str(pair), where)
    return {str(pair): number(length, where, above=0) for pair, length in value.items()}


@dataclass(frozen=True, kw_only=True)
class BondSettings(Settings):
    """Fields of kinds that count bonds."""

    cutoff: Cutoff = setting(
        unit="Å",
        parse=parse_cutoff,
        help="end of a bond, in the gap after the first shell; for two kinds of bond by pair, such as Si-O and Si-Si",
    )
    width: float = setting(WIDTH, unit="Å", above=0, help="half the distance over which a bond fades out at the cutoff")


@dataclass(frozen=True)
class Bonds:
    """The bonds of the atoms of one element, sorted by that atom.

    Attributes:
        i: the atom that has the bond, (B,).
        j: the atom at its other end, (B,).
        unit: direction from i to j, one row for x, y and z, (3, B); zero where the two coincide.
        length: (B,), Å.
        weight: s(r), (B,), 1 for a whole bond.
        slope: ds/dr, (B,), 1/Å.
        positions: those of all atoms, (N, 3), Å.
    """

    i: Tensor
    j: Tensor
    unit: Tensor
    length: Tensor
    weight: Tensor
    slope: Tensor
    positions: Tensor

    def pull(self, change: Tensor) -> Tensor:
        """Gradient in the positions, (N, 3), of a function with the gradient `change` (3, B) in the bond vectors."""
        gradient = change.new_zeros(3, len(self.positions))
        for plane, share in zip(gradient, change, strict=True):
            plane.scatter_add_(0, self.j, share)
            plane.scatter_add_(0, self.i, -share)
        return gradient.t().contiguous()


def bond_switch(r: Tensor, cutoff: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """Weight s of bonds of length r (Å), and ds/dr (1/Å), both of the shape of r.

    1 up to cutoff - width, 0 from cutoff + width on, 1/2 at the cutoff; in between the quintic
    1 - t^3 (10 - 15 t + 6 t^2), whose first and second derivatives are continuous.
    """
    t = ((r - cutoff) / (2 * width) + 0.5).clamp(0, 1)
    return 1 - t**3 * (10 + t * (6 * t - 15)), (t * (1 - t)).square() * (-15 / width)


def bond_cutoffs(cutoff: Cutoff, width: float, centre: int, ends: Collection[int] | None) -> dict[int, float]:
    """Cutoff (Å) of the bonds of one element, by the atomic number at the other end.

    Args:
        cutoff: one number, or by pair; pairs that are not asked for are ignored.
        width: half-width of the switch, Å.
        centre: atomic number of the atom that has the bonds.
        ends: atomic numbers at the other end; None: any (those named, where the cutoffs go by pair).

    Raises:
        InputError: a pair without a cutoff, a name that is no pair, a cutoff or width that is not positive, a width
            that is not smaller than the cutoff.
    """
    if isinstance(cutoff, Mapping):
        named = {parse_pair(text): float(value) for text, value in cutoff.items()}
        of_centre = {pair[pair[0] == centre]: value for pair, value in named.items() if centre in pair}
        if missing := sorted(set(of_centre if ends is None else ends) - set(of_centre)):
            names = ", ".join(f"{chemical_symbols[centre]}-{chemical_symbols[z]}" for z in missing)
            raise InputError(f"no cutoff for {names}", "cutoff", "give the longest bond of each pair in Å")
        if not of_centre:
            raise InputError(f"no cutoff for a bond of {chemical_symbols[centre]}", "cutoff", "name a pair with it")
        found = {z: value for z, value in of_centre.items() if ends is None or z in ends}
    else:
        found = dict.fromkeys(atomic_numbers.values() if ends is None else ends, float(cutoff))
    if not 0 < width < float("inf"):
        raise InputError(f"width {width} is not positive", "width", f"give it in Å, such as {WIDTH}")
    for value in found.values():
        if not width < value < float("inf"):
            raise InputError(f"cutoff {value} is not longer than the width {width} Å", "cutoff", "give it in Å")
    return found


class BondFinder:
    """The bonds of one batch again and again, while its atoms move little by little.

    The neighbours come from a skin list; where the positions are those of the call before, so are the bonds.

    Args:
        centre: atomic number of the atoms whose bonds are wanted.
        cutoffs: by the atomic number at the other end, Å; see `bond_cutoffs`.
        width: half-width of the switch, Å.
    """

    def __init__(self, centre: int, cutoffs: Mapping[int, float], width: float):
        self.centre, self.width = centre, width
        self.reach = max(cutoffs.values()) + width
        self._limits = torch.zeros(len(chemical_symbols), dtype=torch.float64)
        self._limits[list(cutoffs)] = torch.tensor(list(cutoffs.values()), dtype=torch.float64)
        self._neighbours = SkinList(self.reach, SKIN, full=True)
        self._pairs: Pairs | None = None
        self._candidates: _Candidates | None = None
        self._bonds: Bonds | None = None

    def __call__(self, structures: Structures, pairs: Pairs | None = None) -> Bonds:
        """The bonds of `structures`; from a ready list of pairs, if it reaches `reach` (Å) or farther."""
        if pairs is not None:
            return self._measure(structures, self._choose(structures, pairs))
        pairs = self._neighbours.pairs(structures)
        if pairs is not self._pairs or self._candidates is None:
            self._pairs, self._candidates, self._bonds = pairs, self._choose(structures, pairs), None
        if self._bonds is None or not torch.equal(self._bonds.positions, structures.positions):
            self._bonds = self._measure(structures, self._candidates)
        return self._bonds

    def _choose(self, structures: Structures, pairs: Pairs) -> _Candidates:
        pairs = pairs if pairs.full else _both_ways(pairs)
        numbers = structures.numbers
        limits = self._limits.to(structures.positions)
        fits = (numbers[pairs.i] == self.centre) & (limits[numbers[pairs.j]] > 0)
        chosen = fits.nonzero()[:, 0]
        kept = Pairs(pairs.i[chosen], pairs.j[chosen], pairs.shift[chosen], full=True)
        return _Candidates(kept.i, kept.j, kept.translations(structures), limits[numbers[kept.j]])

    def _measure(self, structures: Structures, candidates: _Candidates) -> Bonds:
        positions = structures.positions.detach().clone()
        planes = positions.t().contiguous()
        i, j, cutoff = candidates.i, candidates.j, candidates.cutoff
        vector = planes.index_select(1, j).sub_(planes.index_select(1, i)).add_(candidates.translation)
        length = vector.square().sum(0).sqrt_()
        near = (length < cutoff + self.width).nonzero()[:, 0]
        i, j, cutoff, length = (t.index_select(0, near) for t in (i, j, cutoff, length))
        unit = vector.index_select(1, near).div_(length.clamp(min=1e-6))
        weight, slope = bond_switch(length, cutoff, self.width)
        return Bonds(i, j, unit, length, weight, slope, positions)


@dataclass(frozen=True)
class _Candidates:
    """Pairs of the right elements, bonded or not: indices (P,), translation of j (3, P), cutoff (P,)."""

    i: Tensor
    j: Tensor
    translation: Tensor
    cutoff: Tensor


def _both_ways(pairs: Pairs) -> Pairs:
    i, order = torch.cat([pairs.i, pairs.j]).sort(stable=True)
    j, shift = torch.cat([pairs.j, pairs.i])[order], torch.cat([pairs.shift, -pairs.shift])[order]
    return Pairs(i, j, shift, full=True)
