"""Noise levels: which ones training sees, and how the network is preconditioned for them.

Noise is isotropic Gaussian with standard deviation sigma (Å) per coordinate. Positions live on a torus, so the
skip connection is the identity (Karras et al. 2022, arXiv:2206.00364, with c_skip = 1):

    D(x; sigma) = x + c_out(sigma) F(x; sigma),    c_out = sigma / sqrt(1 + (sigma / sigma_data)^2).

At small sigma the network predicts the noise; at large sigma it predicts a displacement of the size sigma_data,
beyond which a periodic structure of indistinguishable atoms cannot tell where an atom came from.
"""

from __future__ import annotations

import torch
from torch import Tensor

from glass_ml.settings.prior import NoiseConfig

SIGMA_DATA = 0.5
"""Å; about a fifth of a bond, the largest displacement that can be recovered."""


def sample_sigma(n: int, config: NoiseConfig, generator: torch.Generator) -> Tensor:
    """Draw n noise levels (Å) from the training distribution."""
    low = torch.tensor([config.sigma_min, config.core_min]).log()
    high = torch.tensor([config.sigma_max, config.core_max]).log()
    core = (torch.rand(n, generator=generator) < config.core_share).long()
    return (low[core] + (high - low)[core] * torch.rand(n, generator=generator)).exp()


def c_out(sigma: Tensor) -> Tensor:
    """Scale of the network's output (Å) at noise level sigma (Å)."""
    return sigma / (1 + (sigma / SIGMA_DATA) ** 2).sqrt()
