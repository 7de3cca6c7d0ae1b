"""The published sampling recipe, from its paper's description, with whatever prior it is given.

Variance-exploding noise sigma(t) = 0.8 t Å, the reverse SDE by Euler-Maruyama in equal steps of t, first without the
data and then, from the structure so found with its noise put back, with them. The guided score is

    s(x) - w grad_{x0} (1/2) chi^2(x0),    x0 = D(x),    s(x) = (D(x) - x) / sigma^2,

the likelihood's gradient at the clean estimate of Tweedie's formula with D held constant ("stop-gradient") and w fixed.
Source: Guo and Schwalbe-Koda 2026, arXiv:2603.23210; Euler-Maruyama for the reverse SDE: Song et al. 2021,
arXiv:2011.13456, appendix D.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from glass_ml.sampling.guidance import Denoiser, Likelihood
from glass_ml.structures.state import Structures

SIGMA_MAX = 0.8
"""Noise at t = 1, Å."""

SIGMA_MIN = 0.02
"""Noise at the end, Å; the clean estimate made there is the result."""


def reverse(
    start: Structures,
    denoiser: Denoiser,
    steps: int,
    stream: torch.Generator,
    likelihood: Likelihood | None = None,
    weight: float = 0.0,
) -> Structures | None:
    """Noise of SIGMA_MAX on `start` and the reverse SDE back, with the data where a likelihood is given.

    Args:
        start: one system.
        denoiser: the prior.
        steps: of Euler-Maruyama; the network is called once in each and once at the end.
        stream: of the random numbers.
        likelihood: of the data.
        weight: w above.

    Returns:
        The structure, or None where the guidance has thrown an atom farther than the cell is wide.
    """

    def normal() -> Tensor:
        return torch.randn(start.positions.shape, generator=stream).to(start.positions)

    t = torch.linspace(1.0, SIGMA_MIN / SIGMA_MAX, steps + 1, dtype=torch.float64).tolist()
    farthest = 2 * float(start.half_width.min())
    x = start.positions + SIGMA_MAX * normal()
    for here, there in pairwise(t):
        sigma = SIGMA_MAX * here
        score, clean = _score(start, denoiser, x, sigma)
        if likelihood is not None:
            score = score - weight * _gradient(start, likelihood, clean)
        # dx = -g^2 score dt + g dw with g^2 = d sigma^2 / dt
        variance = 2 * SIGMA_MAX**2 * here * (here - there)
        change = variance * score + variance**0.5 * normal()
        if not bool((change.abs() < farthest).all()):
            return None
        x = x + change
    return start.at(_score(start, denoiser, x, SIGMA_MAX * t[-1])[1]).wrapped()


def _score(start: Structures, denoiser: Denoiser, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        clean = denoiser.denoise(start.at(x), sigma)
    return (clean - x) / sigma**2, clean


def _gradient(start: Structures, likelihood: Likelihood, clean: Tensor) -> Tensor:
    point = clean.detach().requires_grad_(True)
    with torch.enable_grad():
        half_chi2 = 0.5 * likelihood.residuals(start.at(point)).square().sum()
        return torch.autograd.grad(half_chi2, point)[0]
