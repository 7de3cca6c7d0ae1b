"""Pair spectra: everything that is a sum over pairs of a function of their distance and their elements."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from scipy.linalg import solve_banded
from torch import Tensor

from glass_ml.observables.factors import neutron_lengths, xray_f0
from glass_ml.observables.pairs import SPACING, PairHistograms, pair_histograms
from glass_ml.structures.neighbours import Pairs
from glass_ml.structures.state import Structures


def spline_coefficients(values: np.ndarray) -> np.ndarray:
    """Quadratic B-spline coefficients of functions given at the nodes, (B, n), zero beyond the ends."""
    n_nodes = values.shape[0]
    bands = np.full((3, n_nodes), 0.125)
    bands[1] = 0.75
    return solve_banded((1, 1), bands, values, overwrite_b=False)


def shell_volumes(n_nodes: int, spacing: float) -> np.ndarray:
    """Volume integral 4 pi int r^2 B(r) dr of the B-spline of every node, (B,), Å^3."""
    r = np.arange(n_nodes) * spacing
    return 4 * np.pi * spacing * (r**2 + spacing**2 / 4)


class PairObservable(ABC):
    """A spectrum that is affine in the pair histograms.

    Args:
        kind: a key of `kinds()`.
        grid: points, (n,).
        spacing: largest distance between histogram nodes that this spectrum bears, Å.
    """

    def __init__(self, kind: str, grid: Tensor, spacing: float = SPACING):
        self.kind, self.grid, self.spacing = kind, grid, spacing

    @abstractmethod
    def reach(self, half_width: float) -> float:
        """Distance (Å) up to which pairs matter in a batch whose smallest half width is `half_width` (Å)."""

    @abstractmethod
    def from_histograms(self, h: PairHistograms) -> Tensor:
        """The spectrum of every system, (S, n), from histograms that reach at least `reach(h.half_width)`."""

    @abstractmethod
    def response(self, h: PairHistograms) -> Tensor:
        """Derivative of the spectrum of the first system in its counts, (n, T, B); the spectrum is affine in them."""

    def forward(self, structures: Structures, pairs: Pairs | None = None) -> Tensor:
        """The spectrum of every system, (S, n), differentiable in the positions."""
        reach = self.reach(float(structures.half_width.min()))
        return self.from_histograms(pair_histograms(structures, reach, self.spacing, pairs=pairs))

    def check_reach(self, h: PairHistograms) -> None:
        """Raise ValueError where histograms end below `reach`."""
        reach = self.reach(h.half_width)
        if reach > h.r_max + 1e-6:
            raise ValueError(f"{self.kind} needs pairs up to {reach:.3f} Å, the histogram ends at {h.r_max:.3f} Å")


class WeightedPairs(PairObservable):
    """A pair spectrum in which one function K serves all pairs, and elements have weights.

    y = 2/N sum over pairs of w_a w_b K(r) - rho <w>^2 4 pi int r^2 K dr, suitably scaled.

    Args:
        kind, grid, spacing: as `PairObservable`.
        radiation: 'xray', 'neutron' or 'number': the weights of the elements.
    """

    def __init__(self, kind: str, grid: Tensor, radiation: str, spacing: float = SPACING):
        super().__init__(kind, grid, spacing)
        self.radiation = radiation
        self.factors_at = torch.zeros(1)
        self._weights: dict[tuple, Tensor] = {}
        self._kernels: dict[tuple, tuple[Tensor, Tensor]] = {}

    @abstractmethod
    def kernel(self, r: np.ndarray, half_width: float) -> np.ndarray:
        """K at distances r (B,), Å, as (B, n) in float64; zero beyond `reach`."""

    @abstractmethod
    def assemble(self, h: PairHistograms, sums: Tensor, volume: Tensor) -> Tensor:
        """The spectrum (S, n) from sums over pairs per pair of elements (S, T, n) and int 4 pi r^2 K dr (n,)."""

    def from_histograms(self, h: PairHistograms) -> Tensor:
        """The spectrum of every system, (S, n), from histograms that reach at least `reach(h.half_width)`."""
        kernel, volume = self._kernel(h)
        return self.assemble(h, h.counts @ kernel, volume)

    def response(self, h: PairHistograms) -> Tensor:
        """Derivative of the spectrum of the first system in its counts, (n, T, B); the spectrum is affine in them."""
        kernel, volume = self._kernel(h)
        with torch.enable_grad():
            sums = (h.counts.detach()[:1] @ kernel).requires_grad_()
            (weight,) = torch.autograd.grad(self.assemble(h.first, sums, volume).sum(), sums)
        return torch.einsum("tn,bn->ntb", weight[0], kernel)  # a point depends on the sums of that point alone

    def element_weights(self, h: PairHistograms) -> Tensor:
        """Weight of each element, (E, n) or (E, 1): f0 at Q (at 0 in real space), b in fm, or 1."""
        key = (h.elements, h.counts.dtype, h.counts.device)
        if key not in self._weights:
            self._weights = {key: self._weights_of(h.elements).to(h.counts)}
        return self._weights[key]

    def _weights_of(self, elements: tuple[int, ...]) -> Tensor:
        if self.radiation == "number":
            return torch.ones(len(elements), 1)
        if self.radiation == "neutron":
            return neutron_lengths(elements)[:, None]
        return xray_f0(elements, self.factors_at)

    def weighted(self, h: PairHistograms, sums: Tensor, volume: Tensor) -> tuple[Tensor, Tensor]:
        """sum_ab c_a c_b w_a w_b 4 pi rho int r^2 (g_ab - 1) K dr and <w>^2, both (S, n)."""
        w = self.element_weights(h)
        product = torch.stack([w[h.elements.index(a)] * w[h.elements.index(b)] for a, b in h.pair_types])
        mean = (h.concentrations @ w) ** 2
        total = 2 / h.n_atoms[:, None] * (product * sums).sum(1)
        return total - h.density[:, None] * mean * volume, mean

    def _kernel(self, h: PairHistograms) -> tuple[Tensor, Tensor]:
        """Spline coefficients of K, (B, n), and its volume integral, (n,), for these nodes; kept for the next call."""
        key = (h.counts.shape[-1], h.spacing, h.half_width, h.counts.dtype, h.counts.device)
        if key not in self._kernels:
            self.check_reach(h)
            n_nodes = h.counts.shape[-1]
            coefficients = spline_coefficients(self.kernel(np.arange(n_nodes) * h.spacing, h.half_width))
            volume = shell_volumes(n_nodes, h.spacing) @ coefficients
            self._kernels = {key: (torch.from_numpy(coefficients).to(h.counts), torch.from_numpy(volume).to(h.counts))}
        return self._kernels[key]
