"""Periodic neighbour pairs of a batch of structures, for any cell and any cutoff."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import vesin
from torch import Tensor

from glass_ml.structures.state import Structures


@dataclass(frozen=True)
class Pairs:
    """Directed or undirected pairs of atoms, periodic images included.

    Attributes:
        i: first atom of each pair, (P,), ascending.
        j: second atom of each pair, (P,).
        shift: lattice translation of the second atom, (P, 3), in cell vectors.
        full: True if a pair stands in both directions.
    """

    i: Tensor
    j: Tensor
    shift: Tensor
    full: bool

    def vectors(self, structures: Structures) -> Tensor:
        """Vectors from atom i to the image of atom j, (P, 3), Å, differentiable in the positions."""
        positions = structures.positions
        first, second = positions.index_select(0, self.i), positions.index_select(0, self.j)
        cell = structures.cell
        if structures.n_systems == 1:
            return second - first + self.shift @ cell[0]
        translation = (self.shift[:, None, :] @ cell[structures.system[self.i]]).squeeze(1)
        return second - first + translation


def neighbour_pairs(structures: Structures, cutoff: float, *, full: bool = True) -> Pairs:
    """All pairs closer than `cutoff` (Å), also beyond half the cell, in O(N) time.

    An atom is paired with its own images but never with itself. With `full=False` each pair stands once.
    The pairs are sorted by `i`, system after system. Source of the list: vesin.
    """
    offsets = np.concatenate([[0], structures.counts.cumsum(0).cpu().numpy()])
    positions = structures.positions.detach().to("cpu", torch.float64).numpy()
    cells = structures.cell.detach().to("cpu", torch.float64).numpy()

    def one(s: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        search = vesin.NeighborList(cutoff=cutoff, full_list=full, sorted=True, n_threads=1)
        i, j, shift = search.compute(positions[offsets[s] : offsets[s + 1]], cells[s], True, "ijS")
        return i.astype(np.int64) + offsets[s], j.astype(np.int64) + offsets[s], shift

    n_systems = structures.n_systems
    if n_systems == 1:
        found = [one(0)]
    else:  # vesin releases the interpreter lock
        with ThreadPoolExecutor(min(n_systems, os.cpu_count() or 1, torch.get_num_threads())) as pool:
            found = list(pool.map(one, range(n_systems)))
    i, j, shift = (np.concatenate(parts) for parts in zip(*found, strict=True))
    device = structures.device
    return Pairs(
        torch.from_numpy(i).to(device),
        torch.from_numpy(j).to(device),
        torch.from_numpy(shift).to(device, structures.positions.dtype),
        full,
    )
