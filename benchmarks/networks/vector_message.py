"""An equivariant network of the l = 1 kind, PaiNN (Schütt et al. 2021, arXiv:2102.03150), as a third reference."""

import math
from dataclasses import dataclass

import torch
from networks.reference import NoiseLevel
from torch import Tensor, nn


@dataclass(frozen=True)
class VectorMessageConfig:
    """Size of the network.

    Attributes:
        cutoff: longest edge, Å.
        features: scalars, and vectors, per atom.
        layers: rounds of message and update.
        radial: sine functions that describe a distance.
    """

    cutoff: float = 5.0
    features: int = 64
    layers: int = 3
    radial: int = 20


class Message(nn.Module):
    """Equations 7 and 8: scalars and vectors from the neighbours, weighted by filters of the distance."""

    def __init__(self, width: int, radial: int):
        super().__init__()
        self.scalar = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 3 * width))
        self.filter = nn.Linear(radial, 3 * width)

    def forward(
        self, s: Tensor, v: Tensor, i: Tensor, j: Tensor, radial: Tensor, envelope: Tensor, unit: Tensor
    ) -> tuple[Tensor, Tensor]:
        weight = self.filter(radial) * envelope * self.scalar(s).index_select(0, j)
        to_scalar, to_vector, along_edge = weight.chunk(3, dim=1)
        vector = to_vector[:, None] * v.index_select(0, j) + along_edge[:, None] * unit[:, :, None]
        return s.index_add(0, i, to_scalar), v.index_add(0, i, vector)


class Update(nn.Module):
    """Equations 9 and 10: vectors mix with each other and, by their lengths and products, with the scalars."""

    def __init__(self, width: int):
        super().__init__()
        self.mix = nn.Linear(width, 2 * width, bias=False)
        self.scalar = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, 3 * width))

    def forward(self, s: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        left, right = self.mix(v).chunk(2, dim=-1)
        length = (right.square().sum(1) + 1e-8).sqrt()
        on_vector, on_product, on_scalar = self.scalar(torch.cat([s, length], dim=1)).chunk(3, dim=1)
        return s + on_scalar + on_product * (left * right).sum(1), v + on_vector[:, None] * left


class VectorMessageNetwork(nn.Module):
    """Displacement per atom; arguments of `forward` as in `glass_ml.priors.network.AngularNetwork`.

    Args:
        n_elements: chemical elements told apart.
        config: size.
    """

    waves: Tensor

    def __init__(self, n_elements: int, config: VectorMessageConfig):
        super().__init__()
        self.config = config
        width = config.features
        self.element = nn.Embedding(n_elements, width)
        self.level = NoiseLevel(width)
        self.messages = nn.ModuleList(Message(width, config.radial) for _ in range(config.layers))
        self.updates = nn.ModuleList(Update(width) for _ in range(config.layers))
        self.gate = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.readout = nn.Linear(width, 1, bias=False)
        self.register_buffer("waves", torch.arange(1.0, config.radial + 1) * (math.pi / config.cutoff))

    def forward(
        self, vectors: Tensor, i: Tensor, j: Tensor, species: Tensor, system: Tensor, log_sigma: Tensor
    ) -> Tensor:
        distance = (vectors.square().sum(1, keepdim=True) + 1e-8).sqrt()
        unit = vectors / distance
        # Noise can bring two atoms together, where sin(kr)/r would reach k: shorter distances than 0.5 Å look alike.
        radial = torch.sin(distance * self.waves) / distance.clamp(min=0.5)
        envelope = 0.5 * (torch.cos(distance.clamp(max=self.config.cutoff) * (math.pi / self.config.cutoff)) + 1)
        s = self.element(species) + self.level(log_sigma).index_select(0, system)
        v = s.new_zeros(len(s), 3, s.shape[1])
        for message, update in zip(self.messages, self.updates, strict=True):
            s, v = message(s, v, i, j, radial, envelope, unit)
            s, v = update(s, v)
        return self.readout(self.gate(s)[:, None] * v).squeeze(-1)
