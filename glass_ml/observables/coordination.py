"""Coordination numbers: how many neighbours the atoms of an element have, differentiable in the positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from ase.data import atomic_numbers
from torch import Tensor
from torch.autograd.function import once_differentiable

from glass_ml.errors import InputError
from glass_ml.observables.base import Observable
from glass_ml.observables.bonds import WIDTH, BondFinder, Bonds, BondSettings, Cutoff, bond_cutoffs
from glass_ml.observables.fields import setting
from glass_ml.observables.kinds import Kind, register
from glass_ml.observables.realspace import elements_in
from glass_ml.structures.neighbours import Pairs
from glass_ml.structures.state import Structures


def parse_neighbours(text: str, where: str = "pair") -> tuple[int, int | None]:
    """Atomic numbers of the atom and of its neighbours, from 'Si-O' (O around Si); None for any, from 'Si-*'.

    Raises:
        InputError: not an element and an element or '*'.
    """
    parts = text.split("-")
    known = [p in atomic_numbers and p != "X" for p in parts]
    if len(parts) != 2 or not known[0] or not (known[1] or parts[1] == "*"):
        mend = "write Si-O for the O around Si, Si-* for any neighbours of Si"
        raise InputError(f"'{text}' is not an element and its neighbours", where, mend)
    return atomic_numbers[parts[0]], None if parts[1] == "*" else atomic_numbers[parts[1]]


def neighbours_text(value: Any, where: str) -> str:
    """The text itself, if it is an element and its neighbours."""
    parse_neighbours(str(value), where)
    return str(value)


@register(
    Kind(
        "coordination", "Coordination", "neighbours", "fraction of atoms", "fraction of the atoms with n neighbours",
        "count", fixes="Coordination", span=(0.0, 8.0),
    ),
)  # fmt: skip
@dataclass(frozen=True, kw_only=True)
class CoordinationSettings(BondSettings):
    """Fields of a distribution of coordination numbers."""

    pair: str = setting(
        parse=neighbours_text, elements=elements_in, help="`Si-O`: the O around Si; `Si-*`: any neighbour of Si"
    )

    def grid(self, low: float, high: float, points: int) -> Tensor:
        """The whole numbers from low to high; raises InputError where they do not ascend from 0."""
        if not -0.5 <= low <= high:
            raise InputError(f"numbers from {low:g} to {high:g}", "--x-min, --x-max", "ascend from 0")
        return torch.arange(round(low), round(high) + 1, dtype=torch.float64)

    def observable(self, kind: str, grid: Tensor, cells: Structures | None = None) -> Observable:
        """The fractions at whole numbers (n,)."""
        return CoordinationDistribution(grid, self.pair, self.cutoff, self.width)


class CoordinationDistribution:
    """Fraction of the atoms of an element that have n neighbours.

    The atoms A have the smooth numbers n_i = sum_j s(r_ij), and y(n) is the mean of h(n_i - n) over the atoms A of a
    system, with the hat h(t) = cos^2(pi t/2) for |t| < 1, 0 beyond. An atom with exactly n neighbours counts fully at n
    and nowhere else; one in between is shared by the two next to it, so that y sums to 1 over all n. h has a continuous
    derivative, zero at whole numbers. A system without atoms A gives zeros.

    Args:
        grid: coordination numbers, (n,): whole, ascending, not negative.
        pair: 'Si-O' counts the O around each Si ('O-Si' the Si around each O); 'Si-*' counts neighbours of any element
            (of those elements that `cutoff` names with Si, where it goes by pair).
        cutoff: where bonds end, Å: one number, or one for each pair ({'Si-O': 2.1}).
        width: half the range over which a bond ends, Å: whole up to cutoff - width, none from cutoff + width on.

    Attributes:
        kind: 'coordination'.
        grid, pair, width: as given.
        reach: how far (Å) a list of pairs must reach to be passed to the methods.

    Raises:
        InputError: not such a pair; a pair without a cutoff; a grid, cutoff or width out of range.
    """

    kind = "coordination"

    def __init__(self, grid: Tensor, pair: str, cutoff: Cutoff, width: float = WIDTH):
        x = grid.detach().cpu().double()
        whole = x.ndim == 1 and len(x) > 0 and bool((x == x.round()).all())
        if not (whole and float(x[0]) >= 0 and bool((x.diff() > 0).all())):
            raise InputError("coordination numbers are not whole and ascending from 0", "grid", "such as 0, 1, 2, 3, 4")
        self.grid, self.pair, self.width = grid, pair, width
        self.centre, end = parse_neighbours(pair)
        self._finder = BondFinder(
            self.centre, bond_cutoffs(cutoff, width, self.centre, None if end is None else {end}), width
        )
        self.reach = self._finder.reach

    def forward(self, structures: Structures, pairs: Pairs | None = None) -> Tensor:
        """The fractions of every system, (S, n), differentiable in the positions.

        Args:
            structures: the batch.
            pairs: a list that reaches `reach` or farther. Without it neighbours are searched, and kept from call to
                call for as long as the atoms move little.
        """
        atoms, system, amount = self._atoms(structures)
        numbers = _Numbers.apply(structures.positions, self._finder(structures, pairs))[atoms]
        away = (numbers[:, None] - self.grid.to(numbers)).clamp(-1, 1)
        share = (torch.pi / 2 * away).cos().square()
        return share.new_zeros(structures.n_systems, len(self.grid)).index_add(0, system, share) / amount[:, None]

    def mean(self, structures: Structures, pairs: Pairs | None = None) -> Tensor:
        """The mean coordination number of every system, (S,), differentiable; 0 without atoms A. See `forward`."""
        atoms, system, amount = self._atoms(structures)
        numbers = _Numbers.apply(structures.positions, self._finder(structures, pairs))[atoms]
        return numbers.new_zeros(structures.n_systems).index_add(0, system, numbers) / amount

    def jacobian(self, structures: Structures, pairs: Pairs | None = None) -> Tensor:
        """Derivative of every point of its own system's fractions in the position of every atom, (n, N, 3).

        Arguments as `forward`. Time and memory are linear in the number of atoms.
        """
        atoms, system, amount = self._atoms(structures)
        bonds = self._finder(structures, pairs)
        numbers = _numbers(bonds)[atoms]
        away = (numbers - self.grid.to(numbers)[:, None]).clamp(-1, 1)
        slope = numbers.new_zeros(len(self.grid), structures.n_atoms)
        slope[:, atoms] = (-torch.pi / 2) * (torch.pi * away).sin() / amount[system]
        ending = bonds.slope.nonzero()[:, 0]
        i, j = bonds.i[ending], bonds.j[ending]
        change = (bonds.unit[:, ending] * bonds.slope[ending]).t().contiguous()  # of the number of i as j moves
        component = torch.arange(3, device=change.device)
        own = torch.zeros_like(structures.positions).view(-1)
        own.scatter_add_(0, (3 * i[:, None] + component).view(-1), change.view(-1))
        result = slope[..., None] * -own.view(-1, 3)
        place = (3 * j[:, None] + component).view(-1)
        for point, weight in zip(result, slope, strict=True):
            point.view(-1).scatter_add_(0, place, (weight[i][:, None] * change).view(-1))
        return result

    def _atoms(self, structures: Structures) -> tuple[Tensor, Tensor, Tensor]:
        """The atoms A (K,), their systems (K,), and how many there are in each (S,), at least 1."""
        atoms = (structures.numbers == self.centre).nonzero()[:, 0]
        system = structures.system[atoms]
        amount = torch.bincount(system, minlength=structures.n_systems).clamp(min=1)
        return atoms, system, amount.to(structures.positions)


class _Numbers(torch.autograd.Function):
    """Positions to the smooth number of bonds of every atom, (N,)."""

    @staticmethod
    def forward(ctx: Any, positions: Tensor, bonds: Bonds) -> Tensor:
        ctx.bonds = bonds
        return _numbers(bonds)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        bonds = ctx.bonds
        return bonds.pull(bonds.unit * (bonds.slope * upstream[0][bonds.i])), None


def _numbers(bonds: Bonds) -> Tensor:
    return bonds.weight.new_zeros(len(bonds.positions)).scatter_add_(0, bonds.i, bonds.weight)
