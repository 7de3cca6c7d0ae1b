"""Soft partial pair histograms: the one pass over the pairs that feeds every pair spectrum.

A pair at distance r is shared among the three nearest nodes by the quadratic B-spline, so that a histogram and
its gradient are continuous. A spectrum that is a sum over pairs of a function K(r) is then the product of
the histogram with the spline coefficients of K, exact to third order in the spacing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from glass_ml.observables.jacobian import Receivers
from glass_ml.structures.neighbours import Pairs, SkinList, block_size, blocks, neighbour_pairs, same_batch
from glass_ml.structures.state import Structures

SPACING = 0.02
"""Default distance between nodes, Å: kernels sin(Qr) are exact to 1e-4 up to Q = 25 1/Å."""

_PAD = 4  # nodes before zero and beyond the end that hold what falls outside


@dataclass(frozen=True)
class PairHistograms:
    """Histograms of the distances of undirected pairs, per system and unordered pair of elements.

    Attributes:
        counts: (S, T, B); the pair (a, b) of elements, a <= b, has the row `pair_types.index((a, b))`.
        spacing: distance between nodes, Å; node k is at k * spacing.
        r_max: distance up to which the counts are complete, Å.
        elements: the atomic numbers, ascending.
        amounts: atoms of each element in each system, (S, E).
        volume: cell volumes, (S,), Å^3.
        half_width: half the smallest cell width of the batch, Å.
    """

    counts: Tensor
    spacing: float
    r_max: float
    elements: tuple[int, ...]
    amounts: Tensor
    volume: Tensor
    half_width: float

    @property
    def nodes(self) -> Tensor:
        """Distances of the nodes, (B,), Å, float64."""
        return torch.arange(self.counts.shape[-1], dtype=torch.float64, device=self.counts.device) * self.spacing

    @property
    def pair_types(self) -> list[tuple[int, int]]:
        """The unordered pairs of atomic numbers in the order of the rows of `counts`."""
        return pair_types(self.elements)

    @property
    def first(self) -> PairHistograms:
        """Those of the first system alone."""
        return replace(self, counts=self.counts[:1], amounts=self.amounts[:1], volume=self.volume[:1])

    @property
    def n_atoms(self) -> Tensor:
        """Atoms of each system, (S,)."""
        return self.amounts.sum(-1)

    @property
    def concentrations(self) -> Tensor:
        """Concentration of each element in each system, (S, E)."""
        return self.amounts / self.n_atoms[:, None]

    @property
    def density(self) -> Tensor:
        """Number densities, (S,), atoms/Å^3."""
        return self.n_atoms / self.volume


def pair_types(elements: tuple[int, ...]) -> list[tuple[int, int]]:
    """Unordered pairs of elements, (a, a) among them, in row order."""
    return [(a, b) for k, a in enumerate(elements) for b in elements[k:]]


class _Deposit(torch.autograd.Function):
    """Positions to histograms, with nothing per pair on the tape but their geometry."""

    @staticmethod
    def forward(ctx: Any, positions: Tensor, geometry: _Geometry) -> Tensor:
        ctx.geometry = geometry
        return geometry.counts.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.geometry.pull(upstream[0]), None


class _Geometry:
    """Where each pair falls into the histograms, and its direction: all that the positions enter by.

    Everything per pair is stored as planes, one per component, and worked on in blocks.
    """

    def __init__(self, positions: Tensor, ledger: _Ledger, pairs: Pairs, translation: Tensor, row: Tensor | None):
        self.ledger, self.pairs, self.positions = ledger, pairs, positions
        n_pairs, spacing = len(pairs.i), ledger.spacing
        self.unit = positions.new_empty(3, n_pairs)
        self.offset = positions.new_empty(n_pairs)
        self.index = torch.empty(n_pairs, dtype=torch.long, device=positions.device)
        planes = positions.t().contiguous()
        for part in blocks(n_pairs, positions.device):
            i, j, vector = pairs.i[part], pairs.j[part], self.unit[:, part]
            for x, component, shift in zip(planes, vector, translation[:, part], strict=True):
                torch.sub(x.index_select(0, j), x.index_select(0, i), out=component)
                component += shift
            x, y, z = vector
            distance = (x * x).addcmul_(y, y).addcmul_(z, z).sqrt_()
            vector /= distance.clamp(min=1e-6)
            scaled = distance.mul_(1 / spacing)
            node = scaled.round().clamp_(max=ledger.n_bins + 1)
            torch.sub(scaled, node, out=self.offset[part])
            index = self.index[part].copy_(node)
            if row is not None:
                index += row[part]

    @cached_property
    def counts(self) -> Tensor:
        """The histograms, (S T, B)."""
        ledger, ones = self.ledger, self.offset.new_ones(min(len(self.offset), block_size(self.offset.device)))
        zeroth, first, second = moments = self.offset.new_zeros(3, ledger.n_rows * ledger.stride)
        for part in blocks(len(self.offset), self.offset.device):
            index, offset = self.index[part], self.offset[part]
            zeroth.scatter_add_(0, index, ones[: len(index)])
            first.scatter_add_(0, index, offset)
            second.scatter_add_(0, index, offset * offset)
        zeroth, first, second = moments.view(3, ledger.n_rows, ledger.stride)
        even = 0.125 * zeroth + 0.5 * second
        return self._spread(even - 0.5 * first, 0.75 * zeroth - second, even + 0.5 * first)

    def pull(self, upstream: Tensor) -> Tensor:
        """Gradient in the positions, (N, 3), of a function with the gradient `upstream` (S T, B) in the histograms."""
        ledger = self.ledger
        padded = upstream.new_zeros(ledger.n_rows, ledger.stride + 2)
        padded[:, 1 : ledger.n_bins + 1] = upstream * (ledger.weight(self.pairs) / ledger.spacing)
        below, at, above = padded[:, :-2], padded[:, 1:-1], padded[:, 2:]
        slope, curvature = (0.5 * (above - below)).reshape(-1), (below - 2 * at + above).reshape(-1)
        gradient, away = upstream.new_zeros(2, 3, len(self.positions))
        for part in blocks(len(self.offset), self.offset.device):
            i, j, index = self.pairs.i[part], self.pairs.j[part], self.index[part]
            force = slope.index_select(0, index).addcmul_(curvature.index_select(0, index), self.offset[part])
            for unit, second, first in zip(self.unit[:, part], gradient, away, strict=True):
                share = unit * force
                second.scatter_add_(0, j, share)
                first.scatter_add_(0, i, share)
        return (gradient - away).t().contiguous()

    def _spread(self, below: Tensor, at: Tensor, above: Tensor) -> Tensor:
        # storage is shifted by one node, so that a pair near zero has a place for its lower share
        counts = at.new_zeros(at.shape[0], at.shape[1] + 1)
        counts[:, 1:] = at
        counts[:, 2:] += above[:, :-1]
        counts[:, :-1] += below
        return counts[:, 1 : self.ledger.n_bins + 1] * self.ledger.weight(self.pairs)


class _Ledger:
    """What histograms of a batch have in common wherever its atoms are."""

    def __init__(self, structures: Structures, r_max: float, spacing: float, elements: tuple[int, ...] | None):
        self.structures, self.r_max, self.spacing = structures, r_max, spacing
        self.elements = elements if elements is not None else tuple(structures.numbers.unique().tolist())
        known = torch.tensor(self.elements, device=structures.device)
        self.species = torch.searchsorted(known, structures.numbers)
        self.n_types = len(pair_types(self.elements))
        self.n_rows = structures.n_systems * self.n_types
        self.n_bins = _n_bins(r_max, spacing)
        self.stride = self.n_bins + _PAD
        amounts = [
            torch.bincount(structures.system[structures.numbers == z], minlength=structures.n_systems)
            for z in self.elements
        ]
        self.amounts = torch.stack(amounts, dim=1).to(structures.positions.dtype)
        self.volume, self.half_width = structures.volume, float(structures.half_width.min())

    def rows(self, pairs: Pairs) -> Tensor | None:
        """First place of the row of each pair, (P,); None where all share one row."""
        structures, row = self.structures, None
        if self.n_types > 1:
            table = _type_table(len(self.elements)).to(structures.device) * self.stride
            row = table[self.species.index_select(0, pairs.i), self.species.index_select(0, pairs.j)]
        if structures.n_systems > 1:
            of_system = structures.system.index_select(0, pairs.i) * (self.n_types * self.stride)
            row = of_system if row is None else row.add_(of_system)
        return row

    def weight(self, pairs: Pairs) -> float:
        """What a pair of the list counts."""
        return 0.5 if pairs.full else 1.0

    def histograms(self, positions: Tensor, geometry: _Geometry) -> PairHistograms:
        """The histograms, differentiable in the positions."""
        counts = _Deposit.apply(positions, geometry).view(-1, self.n_types, self.n_bins)
        return PairHistograms(
            counts, self.spacing, self.r_max, self.elements, self.amounts, self.volume, self.half_width
        )


def _n_bins(r_max: float, spacing: float) -> int:
    return math.ceil(r_max / spacing - 1e-9) + 2


def pair_cutoff(r_max: float, spacing: float = SPACING) -> float:
    """Distance (Å) of the farthest pair that reaches a node of histograms up to `r_max` (Å)."""
    return (_n_bins(r_max, spacing) + 0.5) * spacing


def pair_histograms(
    structures: Structures,
    r_max: float,
    spacing: float = SPACING,
    *,
    pairs: Pairs | None = None,
    elements: tuple[int, ...] | None = None,
) -> PairHistograms:
    """Histograms of all pairs closer than `r_max` (Å), also beyond half the cell; differentiable in the positions.

    Args:
        structures: the batch; every system may have its own cell and composition.
        r_max: complete up to here; a little beyond it the counts decay to zero.
        spacing: distance between nodes, Å.
        pairs: a list with a cutoff of `pair_cutoff(r_max, spacing)` or more (a skin list, say); farther pairs are
            ignored. Without it the neighbours are searched.
        elements: the atomic numbers to distinguish, ascending; by default those of the batch.

    Memory and time are linear in the number of pairs. The gradient in the positions only: cells are fixed.
    """
    if pairs is None:
        pairs = neighbour_pairs(structures, pair_cutoff(r_max, spacing), full=False)
    ledger = _Ledger(structures, r_max, spacing, elements)
    positions = structures.positions.detach()
    geometry = _Geometry(positions, ledger, pairs, pairs.translations(structures), ledger.rows(pairs))
    return ledger.histograms(structures.positions, geometry)


class MovingHistograms:
    """`pair_histograms` of one batch again and again, while its atoms move little by little.

    The neighbours come from a skin list; where the positions are those of the call before (for the Jacobian, say), its
    distances are used again. Other cells, atoms or elements start afresh.

    Args:
        r_max, spacing: as `pair_histograms`.
        skin: Å; see `SkinList`.
    """

    def __init__(self, r_max: float, spacing: float, skin: float):
        self.r_max, self.spacing = r_max, spacing
        self.neighbours = SkinList(pair_cutoff(r_max, spacing), skin)
        self._ledger: _Ledger | None = None
        self._pairs: Pairs | None = None
        self._geometry: _Geometry | None = None
        self._receivers: Receivers | None = None

    def __call__(self, structures: Structures) -> PairHistograms:
        """The histograms of `structures`."""
        geometry = self._measure(structures)
        return geometry.ledger.histograms(structures.positions, geometry)

    def jacobian(self, structures: Structures, projection: Tensor) -> Tensor:
        """Derivative in the positions, (k, N, 3), of `projection` (k, T, B) of the counts of each atom's own system."""
        geometry = self._measure(structures)
        ledger, pairs = geometry.ledger, geometry.pairs
        if self._receivers is None:
            self._receivers = Receivers(pairs, ledger.species, len(ledger.elements))
        node = geometry.index % ledger.stride
        by_species = projection[:, _type_table(len(ledger.elements))]  # (k, E, E, B)
        scale = ledger.weight(pairs) / ledger.spacing
        return self._receivers.jacobian(geometry.unit, geometry.offset, node, scale * by_species.permute(1, 2, 0, 3))

    def _measure(self, structures: Structures) -> _Geometry:
        ledger, positions = self._ledger, structures.positions.detach()
        if ledger is None or not same_batch(ledger.structures, structures):
            ledger = self._ledger = _Ledger(structures.at(positions), self.r_max, self.spacing, None)
            self._pairs = self._geometry = None
        if self._geometry is None or not torch.equal(positions, self._geometry.positions):
            pairs = self.neighbours.pairs(structures)
            if pairs is not self._pairs:
                self._pairs, self._rows, self._receivers = pairs, ledger.rows(pairs), None
                self._translations = pairs.translations(structures)
            self._geometry = _Geometry(positions.clone(), ledger, pairs, self._translations, self._rows)
        return self._geometry


def _type_table(n_elements: int) -> Tensor:
    """Row of each pair of species, (E, E)."""
    table = torch.zeros(n_elements, n_elements, dtype=torch.long)
    for row, (p, q) in enumerate(pair_types(tuple(range(n_elements)))):
        table[p, q] = table[q, p] = row
    return table
