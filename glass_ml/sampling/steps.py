"""Steps of the reverse process: pure functions from one noise level to the next."""

from __future__ import annotations

import math

from torch import Tensor


def renoise(x: Tensor, sigma: float, higher: float, noise: Tensor) -> Tensor:
    """Raise the noise level of x from `sigma` to `higher` (Å) with standard normal `noise`."""
    return x + math.sqrt(higher**2 - sigma**2) * noise


def stochastic_step(x: Tensor, clean: Tensor, sigma: float, lower: float, noise: Tensor, churn: float) -> Tensor:
    """Replace a share `churn` of the noise (as a standard deviation) while going from `sigma` to `lower`.

        x' = x0 + lower * (sqrt(1 - churn^2) (x - x0) / sigma + churn * noise)

    churn = 0 is the deterministic first-order step (Song et al. 2021, arXiv:2010.02502, equation 12); churn = 1
    keeps nothing but the clean estimate and draws all noise anew, as decoupled posterior sampling does
    (Zhang et al. 2024, arXiv:2407.01521).
    """
    kept = math.sqrt(1 - churn**2) / sigma
    return clean + lower * (kept * (x - clean) + churn * noise)


def multistep(
    x: Tensor, clean: Tensor, before: Tensor | None, sigma_before: float, sigma: float, lower: float
) -> Tensor:
    """Second-order multistep step, with the clean estimate of the level before.

    In t = -log(sigma), with h = t(lower) - t(sigma) and r the ratio of the previous step to this one,

        x' = (lower / sigma) x - (exp(-h) - 1) ((1 + 1/2r) x0 - (1/2r) x0_before).

    Without `before` it is first-order. Source: Lu et al. 2022, arXiv:2211.01095, algorithm 2 (VE noise).
    """
    ratio = lower / sigma
    estimate = clean
    if before is not None:
        r = math.log(sigma_before / sigma) / math.log(sigma / lower)
        estimate = clean + (clean - before) / (2 * r)
    return ratio * x + (1 - ratio) * estimate
