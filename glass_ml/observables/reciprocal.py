"""Scattering by the exact sum over a cell's own reciprocal vectors: the oracle, and the choice for low Q."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from glass_ml.errors import InputError
from glass_ml.observables.factors import BARN, neutron_lengths, xray_f0
from glass_ml.structures.state import Structures


class ReciprocalScattering:
    """S(Q) or F(Q) averaged over the reciprocal vectors k of the cell that fall into the bin of each grid point.

    S(k) - 1 = (|sum_j w_j exp(i k r_j)|^2 / N - <w^2>) / <w>^2. No transform and no window: nothing is lost but what
    lies between the vectors. A bin reaches half-way to the neighbouring grid points. Works for any cell; time is
    N times the number of vectors, as one complex matrix product for each first index h.

    Args:
        kind: 'xray-sq', 'xray-fq', 'neutron-sq' or 'neutron-fq'.
        grid: Q, (n,), 1/Å, ascending, two points or more.
        cells: drop the points whose bin holds no reciprocal vector of one of these cells; by default such a bin is an
            error.
    """

    def __init__(self, kind: str, grid: Tensor, cells: Structures | None = None):
        self.kind = kind
        q = grid.double()
        middle = 0.5 * (q[1:] + q[:-1])
        first, last = q[:1] - 0.5 * (q[1] - q[0]), q[-1:] + 0.5 * (q[-1] - q[-2])
        self.edges = torch.cat([first.clamp(min=0.0), middle, last])
        self.n_bins = len(grid)
        self.keep = torch.ones(self.n_bins, dtype=torch.bool) if cells is None else self._filled(cells)
        self.grid = grid[self.keep.to(grid.device)]

    def forward(self, structures: Structures) -> Tensor:
        """The spectrum of every system, (S, n), differentiable in the positions.

        Raises:
            InputError: a bin holds no reciprocal vector of the cell.
        """
        rows = []
        for one in structures.split():
            sums, counts = (t[self.keep.to(t.device)] for t in self.bin_sums(one))
            if (counts == 0).any():
                empty = float(self.grid[(counts == 0).nonzero()[0, 0]])
                raise InputError(
                    f"no reciprocal vector of the cell near Q = {empty:.3g} 1/Å", "grid", "take wider bins or higher Q"
                )
            rows.append(sums / counts)
        mean = torch.stack(rows)
        if self.kind == "neutron-fq":
            return mean * BARN
        return self.grid.to(mean) * mean if self.kind == "xray-fq" else mean + 1

    def _filled(self, structures: Structures) -> Tensor:
        """Which bins hold reciprocal vectors in every system, (n,), bool."""
        found = [torch.bincount(self._vector_bins(one), minlength=self.n_bins) > 0 for one in structures.split()]
        return torch.stack(found).all(0).cpu()

    def _vector_bins(self, one: Structures) -> Tensor:
        basis, limits = self._basis(one)
        k, m = (torch.arange(-n, n + 1, device=one.device) for n in limits[1:])
        found = []
        for h in range(limits[0] + 1):
            length = self._lengths(basis, h, k, m)
            index = torch.bucketize(length, self.edges.to(length), right=True) - 1
            found.append(index[(index >= 0) & (index < self.n_bins) & (length > 1e-9)])
        return torch.cat(found)

    def _basis(self, one: Structures) -> tuple[Tensor, list[int]]:
        """Reciprocal basis as rows (with 2 pi), and the largest index along each."""
        cell = one.cell[0]
        top = float(self.edges[-1])
        limits = [math.floor(top * float(row.norm()) / (2 * math.pi)) for row in cell]
        return 2 * math.pi * torch.linalg.inv(cell).T, limits

    @staticmethod
    def _lengths(basis: Tensor, h: int, k: Tensor, m: Tensor) -> Tensor:
        vectors = h * basis[0] + k[:, None, None] * basis[1] + m[None, :, None] * basis[2]
        return vectors.norm(dim=-1)

    def bin_sums(self, one: Structures) -> tuple[Tensor, Tensor]:
        """Sum over vectors of S - 1 ('neutron-fq': of <b>^2 (S - 1), fm^2), and their number, per bin of one system."""
        basis, limits = self._basis(one)
        elements = one.numbers.unique().tolist()
        fraction = torch.stack([(one.numbers == z).double().mean() for z in elements]).to(basis)
        scaled = one.positions @ torch.linalg.inv(one.cell[0]) * (2 * math.pi)
        k, m = (torch.arange(-n, n + 1, device=one.device) for n in limits[1:])
        phase_k, phase_m = (
            torch.polar(torch.ones_like(angle), angle)
            for angle in (k[:, None] * scaled[:, 1], m[:, None] * scaled[:, 2])
        )
        edges = self.edges.to(basis)
        sums, counts = basis.new_zeros(self.n_bins), basis.new_zeros(self.n_bins)
        for h in range(limits[0] + 1):
            length = self._lengths(basis, h, k, m)
            index = torch.bucketize(length, edges, right=True) - 1
            inside = (index >= 0) & (index < self.n_bins) & (length > 1e-9)
            if not inside.any():
                continue
            angle = h * scaled[:, 0]
            first = phase_k * torch.polar(torch.ones_like(angle), angle)
            amplitudes = []
            for z in elements:
                chosen = one.numbers == z
                amplitudes.append((first[:, chosen] @ phase_m[:, chosen].T)[inside])
            weights = self._weights(elements, length[inside])
            amplitude = sum(w * a for w, a in zip(weights, amplitudes, strict=True))
            self_part = (fraction[:, None] * weights**2).sum(0)
            value = (amplitude.real**2 + amplitude.imag**2) / one.n_atoms - self_part
            if self.kind != "neutron-fq":
                value = value / (fraction[:, None] * weights).sum(0) ** 2
            # k and -k scatter alike, so that h > 0 stands for both halves
            share = 1.0 if h == 0 else 2.0
            sums = sums.index_add(0, index[inside], value * share)
            counts = counts.index_add(0, index[inside], torch.full_like(value, share).detach())
        return sums, counts

    def _weights(self, elements: list[int], q: Tensor) -> Tensor:
        """Scattering factor of each element at Q, (E, m)."""
        if self.kind.startswith("xray"):
            return xray_f0(elements, q).to(q)
        return neutron_lengths(elements).to(q)[:, None].expand(-1, len(q))
