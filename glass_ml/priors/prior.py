"""The prior as a denoiser: structures and a noise level in, the expected clean structures out.

Noise is isotropic Gaussian with standard deviation sigma (Å) per coordinate. Positions live on a torus, so the skip
connection is the identity (Karras et al. 2022, arXiv:2206.00364, with c_skip = 1):

    D(x; sigma) = x + c_out(sigma) F(x; sigma),    c_out = sigma / sqrt(1 + (sigma / sigma_data)^2).

At small sigma the network predicts the noise; at large sigma it predicts a displacement of the size sigma_data,
beyond which a periodic structure of indistinguishable atoms cannot tell where an atom came from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from glass_ml.errors import InputError
from glass_ml.priors.network import AngularNetwork
from glass_ml.settings.prior import NetworkConfig, NoiseConfig
from glass_ml.structures.neighbours import Pairs, neighbour_pairs
from glass_ml.structures.state import Structures

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


class Prior(nn.Module):
    """A trained (or untrained) denoiser that knows its elements.

    Args:
        elements: atomic numbers it was built for, ascending.
        config: size of the network.
        losses: held-out loss at noise levels (Å), from which `spread` follows; unknown for an untrained prior.
        shortest: rows [Z1, Z2, distance (Å)] of the shortest distances in the data, held-out structures included.
        density_range: smallest and largest number density (atoms/Å^3) of the same; a structure outside is denoised as
            one at the nearer end.
    """

    species_of: Tensor

    def __init__(
        self,
        elements: tuple[int, ...],
        config: NetworkConfig,
        losses: Mapping[float, float] | None = None,
        shortest: Sequence[Sequence[float]] = (),
        density_range: Sequence[float] = (1.0, 1.0),
    ):
        super().__init__()
        self.density_range = (float(density_range[0]), float(density_range[1]))
        self.shortest = list(shortest)
        self.losses = dict(sorted((losses or {}).items()))
        self.elements = tuple(elements)
        self.config = config
        self.network = AngularNetwork(len(elements), config)
        table = torch.full((120,), -1)
        table[torch.tensor(elements)] = torch.arange(len(elements))
        self.register_buffer("species_of", table, persistent=False)

    def spread(self, sigma: float) -> float:
        """Standard deviation (Å) per coordinate of clean positions around the estimate at noise level `sigma` (Å).

        The held-out loss is this variance over sigma^2, so that spread = sigma sqrt(loss), interpolated in log sigma.
        """
        if not self.losses:
            return float(c_out(torch.tensor(sigma)))
        levels = np.log(list(self.losses))
        return sigma * float(np.interp(math.log(sigma), levels, np.sqrt(list(self.losses.values()))))

    def species(self, numbers: Tensor) -> Tensor:
        """Element indices (N,) of atomic numbers (N,).

        Raises:
            InputError: an element that the prior was not trained on.
        """
        species = self.species_of[numbers]
        if bool((species < 0).any()):
            from ase.data import chemical_symbols

            unknown = sorted({chemical_symbols[z] for z in numbers[species < 0].tolist()})
            known = ", ".join(chemical_symbols[z] for z in self.elements)
            raise InputError(
                f"the prior does not know {', '.join(unknown)}",
                mend=f"it was trained on {known}; choose another model",
            )
        return species

    def denoise(self, structures: Structures, sigma: Tensor | float, pairs: Pairs | None = None) -> Tensor:
        """Expected clean positions (N, 3), Å, given positions with Gaussian noise.

        Args:
            structures: noisy structures.
            sigma: noise level per coordinate, Å, one number or (S,).
            pairs: full neighbour pairs that contain all within the network's cutoff; made here when absent.
        """
        positions = structures.positions
        level = torch.as_tensor(sigma, dtype=positions.dtype, device=positions.device)
        level = level.expand(structures.n_systems)
        if pairs is None:
            pairs = neighbour_pairs(structures, self.config.cutoff)
        output = self.network(
            pairs.vectors(structures),
            pairs.i,
            pairs.j,
            self.species(structures.numbers),
            structures.system,
            level.log(),
            self._relative_density(structures).to(positions.dtype),
        )
        return positions + c_out(level)[structures.system][:, None] * output

    def _relative_density(self, structures: Structures) -> Tensor:
        low, high = self.density_range
        if high - low < 1e-3 * high:  # trained on one density: nothing to tell apart
            return torch.zeros_like(structures.density)
        return ((2 * structures.density - low - high) / (high - low)).clamp(-1, 1)
