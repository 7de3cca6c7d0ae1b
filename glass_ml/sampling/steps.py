"""Steps of the reverse process: pure functions from one noise level to the next."""

from __future__ import annotations

import math

from torch import Tensor


def renoise(x: Tensor, sigma: float, higher: float, noise: Tensor) -> Tensor:
    """Raise the noise level of x from `sigma` to `higher` (Å) with standard normal `noise`."""
    return x + math.sqrt(higher**2 - sigma**2) * noise


def stochastic_step(x: Tensor, clean: Tensor, sigma: float, lower: float, noise: Tensor, kept: float) -> Tensor:
    """Keep a share `kept` of the noise, between -1 and 1, and renew the others while going from `sigma` to `lower`.

        x' = x0 + lower * (kept (x - x0) / sigma + sqrt(1 - kept^2) noise)

    For a draw x0 of p(x0 | x) every `kept` leaves p(x | x0) as it is. 0 is plain Gibbs sampling of x0 and x by turns,
    as decoupled posterior sampling does it (Zhang et al. 2024, arXiv:2407.01521). Below 0, noise returns from the
    other side of x0: x goes on in the direction in which x0 left it, instead of a random walk (over-relaxation: Adler
    1981, doi:10.1103/PhysRevD.23.2901). For a mean x0, 1 is the deterministic first-order step (Song et al. 2021,
    arXiv:2010.02502, equation 12).
    """
    renewed = math.sqrt(1 - kept**2)
    return clean + lower * (kept / sigma * (x - clean) + renewed * noise)


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
