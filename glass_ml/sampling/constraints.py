"""Distances below which no two atoms come."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from glass_ml.structures.neighbours import neighbour_pairs
from glass_ml.structures.state import Structures

HEAVIEST = 118  # atomic number


class MinimumDistance:
    """Moves atoms that are too close apart, half each, along their line.

    Args:
        distances: smallest allowed distance (Å) of each unordered pair of atomic numbers; a pair that is absent
            is free.
    """

    def __init__(self, distances: Mapping[tuple[int, int], float]):
        self.table = torch.zeros(HEAVIEST + 1, HEAVIEST + 1)
        for (a, b), distance in distances.items():
            self.table[a, b] = self.table[b, a] = distance
        self.largest = max(distances.values(), default=0.0)

    def __call__(self, structures: Structures, rounds: int = 8) -> Structures:
        """Structures without pairs that are too close, or with few where `rounds` sweeps do not suffice."""
        if self.largest <= 0:
            return structures
        table = self.table.to(structures.positions)
        for _ in range(rounds):
            pairs = neighbour_pairs(structures, self.largest, full=True)
            vectors = pairs.vectors(structures)
            distance = vectors.norm(dim=1)
            allowed = table[structures.numbers[pairs.i], structures.numbers[pairs.j]]
            overlap = (allowed - distance).clamp(min=0)
            if not bool((overlap > 1e-4).any()):
                break
            # A little more than needed, so that the last pairs do not approach the limit for ever.
            push = (-0.5 * (overlap + 0.01 * (overlap > 0)) / distance.clamp(min=1e-3))[:, None] * vectors
            structures = structures.at(structures.positions.index_add(0, pairs.i, push))
        return structures


def too_close(structures: Structures, constraint: MinimumDistance) -> Tensor:
    """Number of pairs per system (S,) that are more than 0.01 Å closer than allowed."""
    pairs = neighbour_pairs(structures, max(constraint.largest, 1e-3), full=False)
    distance = pairs.vectors(structures).norm(dim=1)
    table = constraint.table.to(structures.positions)
    close = distance < table[structures.numbers[pairs.i], structures.numbers[pairs.j]] - 0.01
    return torch.bincount(structures.system[pairs.i[close]], minlength=structures.n_systems)
