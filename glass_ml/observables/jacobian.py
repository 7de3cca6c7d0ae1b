"""How the pair histograms change with every atom: the Jacobian that a least-squares step needs.

The full Jacobian, nodes times coordinates, is never held. For a few atoms at a time it is summed up in a table that
stays in the cache, from the pairs sorted by atom, and projected on what is asked for at once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from glass_ml.structures.neighbours import Pairs

TABLE = 1 << 18  # numbers in the table of a block of atoms on a CPU: 1 MB
TABLE_GPU = 1 << 27


class Receivers:
    """Half pairs sorted by the atom that they move, each pair once for either end.

    Args:
        pairs: half list (`full=False`).
        species: index of the element of each atom, (N,).
        n_species: elements that are told apart.
    """

    def __init__(self, pairs: Pairs, species: Tensor, n_species: int):
        # Atoms of one element stand together: they share the rows of the histogram that they enter.
        self.atoms = torch.argsort(species, stable=True)
        rank = torch.empty_like(self.atoms)
        rank[self.atoms] = torch.arange(len(rank), device=rank.device)
        receiving = rank[torch.cat([pairs.j, pairs.i])]
        order = torch.argsort(receiving)
        self.n_species = n_species
        self.pair = order % max(1, len(pairs.i))
        self.sign = torch.where(order < len(pairs.i), 1.0, -1.0).to(pairs.shift)
        self.rank = receiving[order]
        self.partner = species[torch.cat([pairs.i, pairs.j])[order]]
        counts = torch.bincount(receiving, minlength=len(rank))
        self.starts = [0, *counts.cumsum(0).tolist()]
        self.ends = torch.bincount(species, minlength=n_species).cumsum(0).tolist()

    def jacobian(self, unit: Tensor, offset: Tensor, node: Tensor, projection: Tensor) -> Tensor:
        """Derivative of projected histograms in the positions, (k, N, 3), per node spacing.

        Args:
            unit: directions of the pairs, (3, P), from `pairs.i` to `pairs.j`.
            offset: distance of each pair from its nearest node, (P,), in node spacings.
            node: that node, (P,); beyond the histogram it is above B.
            projection: (n_species, n_species, k, B); entry [a, b] acts on the histogram of the elements a and b.
        """
        n_bins, k = projection.shape[-1], projection.shape[-2]
        stride = n_bins + 2
        result = unit.new_empty(3, k, len(self.atoms))
        most = TABLE if unit.device.type == "cpu" else TABLE_GPU
        size = max(1, most // (6 * self.n_species * stride))
        first = 0
        for a, end in enumerate(self.ends):
            rows = projection[a].transpose(0, 1).reshape(k, -1)  # (k, n_species B)
            for low in range(first, end, size):
                high = min(low + size, end)
                result[:, :, low:high] = rows @ self._block(low, high, unit, offset, node, n_bins)
            first = end
        jacobian = torch.empty_like(result)
        jacobian[:, :, self.atoms] = result
        return jacobian.permute(1, 2, 0)

    def _block(self, low: int, high: int, unit: Tensor, offset: Tensor, node: Tensor, n_bins: int) -> Tensor:
        """Derivative of the histograms in the atoms of ranks low to high, (3, n_species B, high - low)."""
        part, width = slice(self.starts[low], self.starts[high]), high - low
        stride = n_bins + 2  # node B shares with the last bin; one more for all whose pairs reach none
        pair = self.pair[part]
        place = node.index_select(0, pair).clamp_(max=n_bins + 1).add_(self.partner[part], alpha=stride)
        place = place.mul_(width).add_(self.rank[part]).sub_(low)
        away = offset.index_select(0, pair)
        table = unit.new_zeros(2, 3, self.n_species * stride * width)
        for c in range(3):
            share = unit[c].index_select(0, pair).mul_(self.sign[part])
            table[0, c].scatter_add_(0, place, share)
            table[1, c].scatter_add_(0, place, share.mul_(away))
        zeroth, moment = table.view(2, 3, self.n_species, stride, width)
        half = zeroth.mul_(0.5)
        change = moment[:, :, :n_bins] * -2  # quadratic B-spline: slopes offset - 1/2, -2 offset, offset + 1/2
        change[:, :, 1:] += (moment + half)[:, :, : n_bins - 1]
        change += (moment - half)[:, :, 1 : n_bins + 1]
        return change.view(3, self.n_species * n_bins, width)
