"""What the networks that ours is compared with have in common: their denoiser, and rotated training data.

They differ from the prior in nothing but the network: preconditioning D = x + c_out F, noise levels, loss weight,
data and moving average are those of `glass_ml.priors`.
"""

import math

import torch
from torch import Tensor, nn

from glass_ml.priors.datamodule import Noisy
from glass_ml.priors.prior import c_out
from glass_ml.structures.neighbours import Pairs, neighbour_pairs
from glass_ml.structures.state import Structures


class NoiseLevel(nn.Module):
    """Random Fourier features of log sigma and a small network on them, (S,) -> (S, width).

    Source: Tancik et al. 2020, arXiv:2006.10739; for noise levels Song et al. 2021, arXiv:2011.13456.
    """

    frequencies: Tensor

    def __init__(self, width: int, features: int = 32):
        super().__init__()
        self.register_buffer("frequencies", torch.randn(features))
        self.mix = nn.Sequential(nn.Linear(2 * features, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, log_sigma: Tensor) -> Tensor:
        phase = 2 * math.pi * 0.25 * log_sigma[:, None] * self.frequencies
        return self.mix(torch.cat([phase.sin(), phase.cos()], dim=1))


class ReferenceDenoiser(nn.Module):
    """A network as a denoiser that the loss and the sampler take (`glass_ml.sampling.guidance.Denoiser`).

    Args:
        network: `forward(vectors, i, j, species, system, log_sigma)`, as that of `AngularNetwork`, gives
            displacements (N, 3).
        cutoff: of its edges, Å.
        elements: atomic numbers, ascending.
    """

    species_of: Tensor
    shortest = ()

    def __init__(self, network: nn.Module, cutoff: float, elements: tuple[int, ...]):
        super().__init__()
        self.network, self.cutoff = network, cutoff
        table = torch.full((120,), -1)
        table[torch.tensor(elements)] = torch.arange(len(elements))
        self.register_buffer("species_of", table, persistent=False)

    def spread(self, sigma: float) -> float:
        """Of an untrained prior, Å; the sampling of a prior alone does not ask."""
        return float(c_out(torch.tensor(sigma)))

    def denoise(self, structures: Structures, sigma: Tensor | float, pairs: Pairs | None = None) -> Tensor:
        """As `glass_ml.priors.prior.Prior.denoise`."""
        level = torch.as_tensor(sigma, dtype=structures.positions.dtype).expand(structures.n_systems)
        pairs = pairs or neighbour_pairs(structures, self.cutoff)
        output = self.network(
            pairs.vectors(structures),
            pairs.i,
            pairs.j,
            self.species_of[structures.numbers],
            structures.system,
            level.log(),
        )
        return structures.positions + c_out(level)[structures.system][:, None] * output


def random_rotation(stream: torch.Generator) -> Tensor:
    """A rotation matrix (3, 3), uniform over all orientations: the QR decomposition of a normal matrix."""
    q, r = torch.linalg.qr(torch.randn(3, 3, generator=stream, dtype=torch.float64))
    q = q * r.diagonal().sign()
    return (q * torch.linalg.det(q).sign()).float()


def rotated(item: Noisy, rotation: Tensor) -> Noisy:
    """An item with its clean structure turned, cell and all; the noise has no direction."""
    clean = item.clean
    turned = Structures(clean.positions @ rotation, clean.cell @ rotation, clean.numbers, clean.system)
    return Noisy(turned, item.sigma, item.noise)
