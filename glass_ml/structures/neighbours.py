"""Periodic neighbour pairs of a batch of structures, for any cell and any cutoff, at rest and in motion."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from glass_ml.structures.state import Structures, concatenate

try:
    import vesin
except ImportError:  # a GPU machine may have torch and little else
    vesin = None


@dataclass(frozen=True)
class Pairs:
    """Directed or undirected pairs of atoms, periodic images included.

    Attributes:
        i: first atom of each pair, (P,); ascending in a full list.
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

    def translations(self, structures: Structures) -> Tensor:
        """Where the image of atom j lies from atom j itself, one row for x, y and z, (3, P), Å."""
        planes = self.shift.new_empty(3, len(self.i))
        for part in blocks(len(self.i), structures.device):
            if structures.n_systems == 1:
                planes[:, part] = (self.shift[part] @ structures.cell[0]).T
            else:
                cell = structures.cell[structures.system[self.i[part]]]
                planes[:, part] = (self.shift[part, None, :] @ cell)[:, 0].T
        return planes


def block_size(device: torch.device) -> int:
    """Pairs that are worked on at a time, so that what comes and goes stays in a processor's cache."""
    return 1 << 14 if device.type == "cpu" else 1 << 24


def blocks(n: int, device: torch.device) -> Iterator[slice]:
    """Slices of n pairs, of `block_size` each."""
    size = block_size(device)
    return (slice(begin, min(begin + size, n)) for begin in range(0, n, size))


def neighbour_pairs(structures: Structures, cutoff: float, *, full: bool = True) -> Pairs:
    """All pairs closer than `cutoff` (Å), also beyond half the cell, in O(N) time.

    An atom is paired with its own images but never with itself. With `full=False` each pair stands once.
    The pairs stand system after system, those of a full list sorted by `i`. Source of the list: vesin; for tensors on a
    GPU, and where vesin is not installed, `cell_list`.
    """
    if vesin is None or structures.device.type != "cpu":
        return _search_on_device(structures, cutoff, full)
    offsets = np.concatenate([[0], structures.counts.cumsum(0).cpu().numpy()])
    positions = structures.positions.detach().to("cpu", torch.float64).numpy()
    cells = structures.cell.detach().to("cpu", torch.float64).numpy()
    reals = np.float32 if structures.positions.dtype == torch.float32 else np.float64

    def one(s: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        search = vesin.NeighborList(cutoff=cutoff, full_list=full, sorted=full, n_threads=1)
        inside = positions[offsets[s] : offsets[s + 1]]
        views = search.compute(inside, cells[s], True, "ijS", copy=False)
        i, j, shift = (view.astype(kind) for view, kind in zip(views, (np.int64, np.int64, reals), strict=True))
        if s > 0:
            i += offsets[s]
            j += offsets[s]
        return i, j, shift

    n_systems = structures.n_systems
    if n_systems == 1:
        parts: tuple[np.ndarray, ...] = one(0)
    else:  # vesin releases the interpreter lock
        with ThreadPoolExecutor(min(n_systems, os.cpu_count() or 1, torch.get_num_threads())) as pool:
            found = list(pool.map(one, range(n_systems)))
        parts = tuple(np.concatenate(each) for each in zip(*found, strict=True))
    i, j, shift = map(torch.from_numpy, parts)
    return Pairs(i, j, shift.to(structures.positions.dtype), full)


def _search_on_device(structures: Structures, cutoff: float, full: bool) -> Pairs:
    found, offset = [], 0
    for one in structures.split():
        i, j, shift = cell_list(one.positions.detach().double(), one.cell[0].double(), cutoff, full=full)
        found.append((i + offset, j + offset, shift))
        offset += one.n_atoms
    i, j, shift = (torch.cat(parts) for parts in zip(*found, strict=True))
    return Pairs(i, j, shift.to(structures.positions.dtype), full)


class SkinList:
    """Pairs of atoms that move: all that are closer than `cutoff`, and some that are less than `skin` farther.

    A system is searched again once one of its atoms has moved by half the skin since its last search (Verlet 1967,
    doi:10.1103/PhysRev.159.98). Every system goes by itself, so that its pairs do not depend on its batch. Other
    cells, or another number of atoms, start afresh.

    Args:
        cutoff: distance up to which the list is complete, Å.
        skin: Å. A wide one is searched seldom and holds more pairs.
        full: whether a pair stands in both directions.
    """

    def __init__(self, cutoff: float, skin: float, *, full: bool = False):
        self.cutoff, self.skin, self.full = cutoff, skin, full
        self._searched: Structures | None = None
        self._parts: list[Pairs] = []
        self._joined: Pairs | None = None

    def pairs(self, structures: Structures) -> Pairs:
        """The pairs; the same object as before while no system had to be searched."""
        stale = self._stale(structures)
        if self._joined is None or stale:
            counts = structures.counts.tolist()
            self._joined = None  # two long lists at a time are one too many
            self._search(structures, stale, counts)
            self._joined = _join(self._parts, counts, self.full)
        return self._joined

    def _stale(self, structures: Structures) -> list[int]:
        old, n_systems = self._searched, structures.n_systems
        positions = structures.positions.detach()
        if old is None or not same_batch(old, structures):
            return list(range(n_systems))
        moved = (positions - old.positions).square().sum(1)
        if n_systems == 1:
            return [0] if float(moved.amax()) >= 0.25 * self.skin**2 else []
        farthest = moved.new_zeros(n_systems).scatter_reduce_(0, structures.system, moved, "amax")
        return (farthest >= 0.25 * self.skin**2).nonzero()[:, 0].tolist()

    def _search(self, structures: Structures, stale: list[int], counts: list[int]) -> None:
        structures = structures.at(structures.positions.detach())
        if len(stale) == structures.n_systems:
            chosen, reference = structures, structures.positions.clone()
            self._parts = [Pairs(*(torch.empty(0),) * 3, self.full)] * len(stale)
        else:
            assert self._searched is not None
            chosen = concatenate([structures[s] for s in stale])
            reference = torch.where(
                torch.isin(structures.system, torch.tensor(stale, device=structures.device))[:, None],
                structures.positions,
                self._searched.positions,
            )
        self._searched = structures.at(reference)
        found = neighbour_pairs(chosen, self.cutoff + self.skin, full=self.full)
        lengths = torch.bincount(chosen.system[found.i], minlength=len(stale)).tolist()
        first = 0
        for s, i, j, shift in zip(stale, *(t.split(lengths) for t in (found.i, found.j, found.shift)), strict=True):
            self._parts[s] = Pairs(i - first, j - first, shift, self.full) if first else Pairs(i, j, shift, self.full)
            first += counts[s]


def same_batch(a: Structures, b: Structures) -> bool:
    """Whether two batches are the same atoms in the same cells, wherever the atoms are."""
    return (
        (a.positions.dtype, a.device) == (b.positions.dtype, b.device)
        and (a.numbers is b.numbers or torch.equal(a.numbers, b.numbers))
        and (a.system is b.system or torch.equal(a.system, b.system))
        and (a.cell is b.cell or torch.equal(a.cell, b.cell))
    )


def _join(parts: list[Pairs], counts: list[int], full: bool) -> Pairs:
    """One list of all systems, from one for each with atoms counted from zero."""
    if len(parts) == 1:
        return parts[0]
    offsets = [0, *np.cumsum(counts).tolist()]
    return Pairs(
        torch.cat([p.i + offset for p, offset in zip(parts, offsets, strict=False)]),
        torch.cat([p.j + offset for p, offset in zip(parts, offsets, strict=False)]),
        torch.cat([p.shift for p in parts]),
        full,
    )


AT_ONCE = 1 << 22
"""About how many candidate pairs are in memory at a time."""


def cell_list(positions: Tensor, cell: Tensor, cutoff: float, *, full: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of one structure that are closer than `cutoff`, on the device of its tensors: on a GPU, or without vesin.

    Atoms are sorted into boxes no thinner than the cutoff, so that the neighbours of an atom lie in its own box and in
    those around it: O(N). Along a cell vector shorter than the cutoff there is one box, and as many of its periodic
    images as the cutoff reaches. Source: Allen and Tildesley, Computer Simulation of Liquids, 2nd ed. (2017), 5.3.

    Args:
        positions: (N, 3), Å, float64; not necessarily inside the cell.
        cell: (3, 3), Å, float64, rows are lattice vectors.
        cutoff: Å.
        full: False lists each pair once.

    Returns:
        First atoms (P,), ascending; second atoms (P,); and lattice translations (P, 3), int64, of the second:
        the vector of a pair is positions[j] - positions[i] + shift @ cell.
    """
    n, device = len(positions), positions.device
    inverse = torch.linalg.inv(cell)
    fractional = positions @ inverse
    home = fractional.floor()
    inside = positions - home @ cell
    boxes, reach = _boxes(1 / inverse.norm(dim=0), cutoff, n)
    box = ((fractional - home) * boxes).long().minimum(boxes - 1)  # a fraction may round up to 1
    weight = torch.stack([boxes[1] * boxes[2], boxes[2], torch.ones_like(boxes[2])])
    number = (box * weight).sum(1)
    members = torch.argsort(number, stable=True)
    count = torch.bincount(number, minlength=int(boxes.prod()))
    first = count.cumsum(0) - count

    steps = torch.cartesian_prod(*(torch.arange(-r, r + 1, device=device) for r in reach.tolist()))
    size = max(1, int(AT_ONCE * len(count) / n**2))
    found = []
    for part in steps.split(size):
        target = box[:, None, :] + part  # (N, steps, 3)
        image = torch.div(target, boxes, rounding_mode="floor")
        other = ((target - image * boxes) * weight).sum(2).flatten()
        many = count[other]
        row = torch.repeat_interleave(many)
        place = torch.arange(len(row), device=device) - (many.cumsum(0) - many)[row]
        i, j = row // len(part), members[first[other][row] + place]
        shift = image.flatten(0, 1)[row]
        near = (inside[j] - inside[i] + shift.to(cell) @ cell).square().sum(1) < cutoff**2
        near &= (i != j) | (shift != 0).any(1) if full else (i < j) | ((i == j) & _positive(shift))
        i, j, shift = i[near], j[near], shift[near]
        found.append((i, j, shift + (home[i] - home[j]).long()))
    i, j, shift = (torch.cat(parts) for parts in zip(*found, strict=True))
    order = torch.argsort(i, stable=True)
    return i[order], j[order], shift[order]


def _boxes(widths: Tensor, cutoff: float, n: int) -> tuple[Tensor, Tensor]:
    # Boxes along each axis, and how many of them the cutoff reaches; a mostly empty cell gets no more than 8 per atom.
    boxes = (widths / cutoff).floor().clamp(min=1)
    boxes = (boxes * (8 * n / boxes.prod()).clamp(max=1.0) ** (1 / 3)).floor().clamp(min=1)
    return boxes.long(), (cutoff / (widths / boxes)).ceil().long()


def _positive(shift: Tensor) -> Tensor:
    # Whether the first component that is not zero is positive: true of one of every translation and its opposite.
    signs = shift.sign()
    return (signs * signs.new_tensor([4, 2, 1])).sum(1) > 0
