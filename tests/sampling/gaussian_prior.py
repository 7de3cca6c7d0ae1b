"""A prior and a likelihood of which everything is known: independent Gaussian atoms, linear measurements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from glass_ml.structures.random import generator
from glass_ml.structures.state import Structures

CENTRE = 500.0
"""Å; atoms sit around the middle of a cell of twice that, far from its faces."""


def structures_at(positions: Tensor) -> Structures:
    """A batch out of positions (S, n, 3), in cells so large that no image matters."""
    n_systems, n, _ = positions.shape
    return Structures(
        positions.reshape(-1, 3),
        (2 * CENTRE * torch.eye(3, dtype=positions.dtype)).expand(n_systems, 3, 3),
        torch.full((n_systems * n,), 14),
        torch.arange(n_systems).repeat_interleave(n),
    )


def streams(count: int, seed: int = 0) -> list[torch.Generator]:
    return [generator(seed, "replica", k) for k in range(count)]


@dataclass(frozen=True)
class GaussianPrior:
    """Positions ~ N(mean, width^2), mean (n, 3): its denoiser and its posterior spread."""

    mean: Tensor
    width: float
    shortest: Sequence[Sequence[float]] = ()

    def shrink(self, sigma: float) -> float:
        """Derivative of the denoiser."""
        return self.width**2 / (self.width**2 + sigma**2)

    def denoise(self, structures: Structures, sigma: float) -> Tensor:
        mean = self.mean.repeat(structures.n_systems, 1)
        return mean + self.shrink(sigma) * (structures.positions - mean)

    def spread(self, sigma: float) -> float:
        return self.width * sigma / math.hypot(self.width, sigma)


@dataclass(frozen=True)
class LinearMeasurement:
    """y = A x with uncertainty, on the 3n coordinates of each system or of their mean."""

    matrix: Tensor
    data: Tensor
    sigma: float
    ensemble: bool = False

    def residuals(self, structures: Structures) -> Tensor:
        flat = structures.positions.reshape(structures.n_systems, -1) - CENTRE
        if self.ensemble:
            flat = flat.mean(0, keepdim=True)
        return (flat @ self.matrix.T - self.data) / self.sigma

    def linearise(self, structures: Structures) -> tuple[Tensor, Tensor]:
        x = structures.positions
        own = torch.func.jacrev(lambda p: self.residuals(structures.at(p)).sum(0))(x)
        return self.residuals(structures), own

    def mode(self, mean: Tensor, width: float) -> Tensor:
        """Where the product of N(mean, width^2) and the likelihood is largest, (S, 3n)."""
        information = self.matrix.T @ self.matrix / self.sigma**2
        precision = information + torch.eye(len(information), dtype=mean.dtype) / width**2
        pull = (mean - CENTRE) / width**2 + self.data @ self.matrix / self.sigma**2
        return torch.linalg.solve(precision, pull.T).T + CENTRE

    def covariance(self, width: float) -> Tensor:
        """Covariance of that product, (3n, 3n)."""
        information = self.matrix.T @ self.matrix / self.sigma**2
        return torch.linalg.inv(information + torch.eye(len(information), dtype=self.matrix.dtype) / width**2)


def example(n: int = 2, points: int = 4, ensemble: bool = False) -> tuple[GaussianPrior, LinearMeasurement]:
    """Atoms of width 0.3 Å, measured along some directions as well as the prior knows them, others not at all."""
    stream = generator(0, "example")
    mean = CENTRE + torch.randn(n, 3, generator=stream, dtype=torch.float64)
    matrix = torch.randn(points, 3 * n, generator=stream, dtype=torch.float64)
    data = torch.randn(points, generator=stream, dtype=torch.float64)
    return GaussianPrior(mean, 0.3), LinearMeasurement(matrix, data, 0.4, ensemble)


def no_constraint(structures):
    return structures
