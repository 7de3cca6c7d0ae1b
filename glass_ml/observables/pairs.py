"""Soft partial pair histograms: the one pass over the pairs that feeds every pair spectrum.

A pair at distance r is shared among the three nearest nodes by the quadratic B-spline, so that a histogram and
its gradient are continuous. A spectrum that is a sum over pairs of a function K(r) is then the product of
the histogram with the spline coefficients of K, exact to third order in the spacing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from glass_ml.structures.neighbours import Pairs, neighbour_pairs
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
    """Positions to histograms: first and last step of the chain rule without any intermediate on the tape."""

    @staticmethod
    def forward(ctx: Any, positions: Tensor, vectors: Tensor, first: Tensor, second: Tensor, row: Tensor | None,
                n_rows: int, n_bins: int, spacing: float, weight: float) -> Tensor:  # fmt: skip
        stride = n_bins + _PAD
        distance = vectors.norm(dim=1)
        scaled = distance / spacing
        node = scaled.round().clamp_(max=n_bins + 1)
        offset = scaled.sub_(node)
        index = node.long()
        if row is not None:
            index += row * stride
        moments = [
            torch.bincount(index, weights=w, minlength=n_rows * stride).to(positions.dtype).view(n_rows, stride)
            for w in (None, offset, offset * offset)
        ]
        zeroth, first_moment, second_moment = moments
        # storage is shifted by one node, so that a pair near zero has a place for its lower share
        counts = zeroth.new_zeros(n_rows, stride + 1)
        even = 0.125 * zeroth + 0.5 * second_moment
        counts[:, 1:] = 0.75 * zeroth - second_moment
        counts[:, 2:] += (even + 0.5 * first_moment)[:, :-1]
        counts[:, :-1] += even - 0.5 * first_moment
        ctx.save_for_backward(vectors, distance, offset, index, first, second)
        ctx.shape = (n_rows, n_bins, spacing, weight, positions.shape)
        return counts[:, 1 : n_bins + 1] * weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        vectors, distance, offset, index, first, second = ctx.saved_tensors
        n_rows, n_bins, spacing, weight, shape = ctx.shape
        padded = upstream[0].new_zeros(n_rows, n_bins + _PAD + 2)
        padded[:, 1 : n_bins + 1] = upstream[0] * (weight / spacing)
        below, at, above = padded[:, :-2], padded[:, 1:-1], padded[:, 2:]
        slope = (0.5 * (above - below)).reshape(-1).index_select(0, index)
        curvature = (below - 2 * at + above).reshape(-1).index_select(0, index)
        force = slope.addcmul_(curvature, offset).div_(distance.clamp(min=1e-6))
        pull = vectors * force[:, None]
        gradient = pull.new_zeros(shape)
        gradient.index_add_(0, second, pull)
        gradient.index_add_(0, first, pull, alpha=-1)
        return (gradient, *(None,) * 8)


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
        pairs: a list with a cutoff of at least `r_max + 2 * spacing` (a skin list, say); farther pairs are ignored.
            Without it the neighbours are searched.
        elements: the atomic numbers to distinguish, ascending; by default those of the batch.

    Memory and time are linear in the number of pairs. The gradient in the positions only: cells are fixed.
    """
    if pairs is None:
        pairs = neighbour_pairs(structures, r_max + 2 * spacing, full=False)
    if elements is None:
        elements = tuple(structures.numbers.unique().tolist())
    n_types, n_systems = len(pair_types(elements)), structures.n_systems
    n_bins = math.ceil(r_max / spacing - 1e-9) + 2
    amounts = torch.stack(
        [torch.bincount(structures.system[structures.numbers == z], minlength=n_systems) for z in elements], dim=1
    )
    row = None
    if n_types > 1:
        species = torch.searchsorted(torch.tensor(elements, device=structures.device), structures.numbers)
        row = _type_table(len(elements)).to(structures.device)[
            species.index_select(0, pairs.i) * len(elements) + species.index_select(0, pairs.j)
        ]
    if n_systems > 1:
        of_system = structures.system.index_select(0, pairs.i) * n_types
        row = of_system if row is None else row + of_system
    with torch.no_grad():
        vectors = pairs.vectors(structures)
    counts = _Deposit.apply(
        structures.positions, vectors, pairs.i, pairs.j, row, n_systems * n_types, n_bins, spacing,
        0.5 if pairs.full else 1.0,
    )  # fmt: skip
    return PairHistograms(
        counts.view(n_systems, n_types, n_bins),
        spacing,
        r_max,
        elements,
        amounts.to(structures.positions.dtype),
        structures.volume,
        float(structures.half_width.min()),
    )


def _type_table(n_elements: int) -> Tensor:
    """Row of the pair of species (p, q) at p * n_elements + q."""
    table = torch.zeros(n_elements, n_elements, dtype=torch.long)
    for row, (p, q) in enumerate(pair_types(tuple(range(n_elements)))):
        table[p, q] = table[q, p] = row
    return table.flatten()
