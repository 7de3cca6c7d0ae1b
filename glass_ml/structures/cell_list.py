"""Periodic neighbour pairs by a cell list in torch: for atoms on a GPU, and where vesin is not installed.

Atoms are sorted into boxes no thinner than the cutoff, so that the neighbours of an atom lie in its own box and in
those around it: O(N). Along a cell vector shorter than the cutoff there is one box, and as many of its periodic images
as the cutoff reaches. Source: Allen and Tildesley, Computer Simulation of Liquids, 2nd ed. (2017), section 5.3.
"""

from __future__ import annotations

import torch
from torch import Tensor

AT_ONCE = 1 << 22
"""About how many candidate pairs are in memory at a time."""


def cell_list(positions: Tensor, cell: Tensor, cutoff: float, *, full: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of one structure that are closer than `cutoff`, on the device of its tensors.

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
