"""Noise levels: which ones training sees, and how the network is preconditioned for them.

Noise is isotropic Gaussian with standard deviation sigma (Å) per coordinate. Positions live on a torus, so the
skip connection is the identity (Karras et al. 2022, arXiv:2206.00364, with c_skip = 1):

    D(x; sigma) = x + c_out(sigma) F(x; sigma),    c_out = sigma / sqrt(1 + (sigma / sigma_data)^2).

At small sigma the network predicts the noise; at large sigma it predicts a displacement of the size sigma_data,
beyond which a periodic structure of indistinguishable atoms cannot tell where an atom came from.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SIGMA_DATA = 0.5
"""Å; about a fifth of a bond, the largest displacement that can be recovered."""


@dataclass(frozen=True)
class NoiseConfig:
    """Distribution of the training noise.

    Attributes:
        sigma_min: smallest noise level, Å.
        sigma_max: largest noise level, Å.
        core_min: lower end of the range that most samples come from, Å.
        core_max: upper end of that range, Å.
        core_share: share of the samples that are log-uniform in [core_min, core_max]; the others are
            log-uniform in [sigma_min, sigma_max].
    """

    sigma_min: float = 0.02
    sigma_max: float = 1.8
    core_min: float = 0.08
    core_max: float = 0.9
    core_share: float = 0.75


def sample_sigma(n: int, config: NoiseConfig, generator: torch.Generator) -> Tensor:
    """Draw n noise levels (Å) from the training distribution."""
    low = torch.tensor([config.sigma_min, config.core_min]).log()
    high = torch.tensor([config.sigma_max, config.core_max]).log()
    core = (torch.rand(n, generator=generator) < config.core_share).long()
    return (low[core] + (high - low)[core] * torch.rand(n, generator=generator)).exp()


def c_out(sigma: Tensor) -> Tensor:
    """Scale of the network's output (Å) at noise level sigma (Å)."""
    return sigma / (1 + (sigma / SIGMA_DATA) ** 2).sqrt()
