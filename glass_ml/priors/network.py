"""The angular message-passing network: what moves each atom, from the distances and angles around it.

Features are scalars on atoms and on directed edges, so every quantity but the final sum over unit vectors is
invariant under rotation, reflection and translation, and the output is an equivariant vector per atom. A layer
expands each atom's neighbourhood in real spherical harmonics,

    A_ilm = sum_j w(edge ij) Y_lm(r_ij),        l = 0 ... 3,

and projects it back onto the edges at both of their ends, per degree l. By the addition theorem an edge then
sees sum_k w_ik P_l(cos theta_jik): the angles that it makes with all other edges, in O(edges).
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from glass_ml.settings.prior import NetworkConfig
from glass_ml.structures.harmonics import DEGREES, HARMONICS, gather_sum, spherical_harmonics

BLOCK, BLOCK_GPU = 2048, 1 << 18  # edges worked on at a time without gradients


class AngularLayer(nn.Module):
    """One round: neighbour densities, their projection on the edges, edge update, atom update."""

    def __init__(self, features: int, channels: int, *, last: bool):
        super().__init__()
        self.weight = nn.Linear(features, channels)
        self.edge_in = nn.Linear(features + 2 * channels * DEGREES, features)
        self.from_first = nn.Linear(features, features, bias=False)
        self.from_second = nn.Linear(features, features, bias=False)
        self.edge_out = nn.Linear(features, features)
        # The read-out takes edges: the last layer leaves the atoms as they are.
        self.atom_in = None if last else nn.Linear(2 * features, features)
        self.atom_out = None if last else nn.Linear(features, features)

    def shares(self, edge: Tensor, harmonics: Tensor, envelope: Tensor) -> Tensor:
        """What each edge adds to the neighbour density of its receiving atom, (E, 16 C)."""
        weight = self.weight(edge) * envelope
        return (harmonics[:, :, None] * weight[:, None, :]).flatten(1)

    def forward(
        self,
        atom: Tensor,
        edge: Tensor,
        i: Tensor,
        j: Tensor,
        harmonics: Tensor,
        by_degree: Tensor,
        envelope: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Update atom (N, F) and edge (E, F) features.

        `harmonics` (E, 16) and `by_degree` (E, 4, 16), the same values with one row per l, describe the
        direction of each edge; `envelope` (E, 1) takes it smoothly to zero at the cutoff.
        """
        n = atom.shape[0]
        density = gather_sum(self.shares(edge, harmonics, envelope), i, n).view(n, HARMONICS, -1)
        there = torch.bmm(by_degree, density.index_select(0, i))  # (E, 4, C)
        # Seen from j the edge points back: odd l change sign, which the next linear map absorbs.
        back = torch.bmm(by_degree, density.index_select(0, j))
        seen = torch.cat([edge, there.flatten(1), back.flatten(1)], dim=1)
        hidden = (
            self.edge_in(seen) + self.from_first(atom).index_select(0, i) + self.from_second(atom).index_select(0, j)
        )
        edge = edge + self.edge_out(silu(hidden))
        if self.atom_in is not None and self.atom_out is not None:
            received = gather_sum(edge * envelope, i, n)
            atom = atom + self.atom_out(silu(self.atom_in(torch.cat([atom, 0.25 * received], dim=1))))
        return atom, edge


class AngularNetwork(nn.Module):
    """Displacement per atom from noisy neighbourhoods.

    Args:
        n_elements: number of chemical elements the network tells apart.
        config: its size.
    """

    centres: Tensor
    frequencies: Tensor
    one_row_per_degree: Tensor

    def __init__(self, n_elements: int, config: NetworkConfig):
        super().__init__()
        self.config = config
        width = config.features
        self.element = nn.Embedding(n_elements, width)
        self.composition = nn.Linear(width, width, bias=False)
        self.condition = nn.Sequential(nn.Linear(18, width), nn.SiLU(), nn.Linear(width, width))
        self.distance = nn.Linear(config.radial, width)
        self.from_first = nn.Linear(width, width, bias=False)
        self.from_second = nn.Linear(width, width, bias=False)
        last = config.layers - 1
        self.layers = nn.ModuleList(AngularLayer(width, config.channels, last=k == last) for k in range(config.layers))
        self.readout = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))
        self.register_buffer("centres", torch.linspace(0.0, config.cutoff, config.radial), persistent=False)
        self.register_buffer("frequencies", torch.arange(1.0, 9.0) * 0.5, persistent=False)
        degree = torch.repeat_interleave(torch.arange(DEGREES), 2 * torch.arange(DEGREES) + 1)
        one_row_per_degree = nn.functional.one_hot(degree, DEGREES).t().float().contiguous()
        self.register_buffer("one_row_per_degree", one_row_per_degree, persistent=False)

    def forward(
        self,
        vectors: Tensor,
        i: Tensor,
        j: Tensor,
        species: Tensor,
        system: Tensor,
        log_sigma: Tensor,
        density: Tensor,
    ) -> Tensor:
        """Displacements (N, 3).

        Args:
            vectors: from atom i to neighbour j, (E, 3), Å.
            i: receiving atom of each directed edge, (E,).
            j: sending atom, (E,).
            species: element index of each atom, (N,).
            system: system that each atom belongs to, (N,).
            log_sigma: natural logarithm of the noise level (Å) of each system, (S,).
            density: of each system, (S,), -1 and 1 at the ends of the range that was trained on.
        """
        atom = self._atoms(species, system, log_sigma, density)
        if not torch.is_grad_enabled():
            return self._in_blocks(vectors, i, j, atom)
        unit, envelope, radial = self._describe(vectors)
        harmonics = spherical_harmonics(unit)
        by_degree = harmonics[:, None, :] * self.one_row_per_degree
        edge = (
            self.distance(radial) + self.from_first(atom).index_select(0, i) + self.from_second(atom).index_select(0, j)
        )
        for layer in self.layers:
            atom, edge = layer(atom, edge, i, j, harmonics, by_degree, envelope)
        return gather_sum(self.readout(edge) * envelope * unit, i, atom.shape[0])

    def _describe(self, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Unit vectors (E, 3), envelope (E, 1) and radial functions (E, R) of edges."""
        distance = (vectors.square().sum(-1, keepdim=True) + 1e-8).sqrt()
        envelope = 0.5 * (torch.cos(distance.clamp(max=self.config.cutoff) * (math.pi / self.config.cutoff)) + 1)
        spacing = self.config.cutoff / (self.config.radial - 1)
        return vectors / distance, envelope, torch.exp(-0.5 * ((distance - self.centres) / spacing) ** 2)

    def _atoms(self, species: Tensor, system: Tensor, log_sigma: Tensor, density: Tensor) -> Tensor:
        """First features of the atoms, (N, F)."""
        phase = log_sigma[:, None] * self.frequencies
        level = torch.cat([log_sigma[:, None], phase.sin(), phase.cos(), density[:, None]], dim=1)
        element = self.element(species)
        n_systems = log_sigma.shape[0]
        amounts = gather_sum(torch.ones_like(element[:, :1]), system, n_systems).clamp(min=1)
        composition = gather_sum(element, system, n_systems) / amounts
        of_system = self.condition(level) + self.composition(composition)
        return element + of_system.index_select(0, system)

    def _in_blocks(self, vectors: Tensor, i: Tensor, j: Tensor, atom: Tensor) -> Tensor:
        """`forward` without gradients: a layer is one walk over blocks of edges, of which only the features remain.

        What a block makes, and the neighbour densities that it adds to, stays in a processor's cache; memory per atom
        is that of the edge features.
        """
        n, n_edges = atom.shape[0], vectors.shape[0]
        layers = [cast(AngularLayer, layer) for layer in self.layers]
        size = BLOCK if vectors.device.type == "cpu" else BLOCK_GPU
        blocks = [slice(first, min(first + size, n_edges)) for first in range(0, n_edges, size)]
        unit, envelope = torch.empty_like(vectors), vectors.new_empty(n_edges, 1)
        harmonics, edge = vectors.new_empty(n_edges, HARMONICS), vectors.new_empty(n_edges, self.config.features)
        density = vectors.new_zeros(n, HARMONICS * self.config.channels)
        first, second = self.from_first(atom), self.from_second(atom)
        for b in blocks:
            unit[b], envelope[b], radial = self._describe(vectors[b])
            harmonics[b] = spherical_harmonics(unit[b])
            edge[b] = self.distance(radial).add_(first.index_select(0, i[b])).add_(second.index_select(0, j[b]))
            density.index_add_(0, i[b], layers[0].shares(edge[b], harmonics[b], envelope[b]))
        displacement = vectors.new_zeros(n, 3)
        for layer, following in zip(layers, [*layers[1:], None], strict=True):
            first, second = layer.from_first(atom), layer.from_second(atom)
            received, after = torch.zeros_like(atom), torch.zeros_like(density)
            for b in blocks:
                own, sender, features = i[b], j[b], edge[b]
                by_degree = harmonics[b, None, :] * self.one_row_per_degree
                seen = [
                    torch.bmm(by_degree, density.index_select(0, k).view(-1, HARMONICS, self.config.channels)).flatten(
                        1
                    )
                    for k in (own, sender)
                ]
                hidden = layer.edge_in(torch.cat([features, *seen], dim=1))
                hidden += first.index_select(0, own)
                hidden += second.index_select(0, sender)
                features += layer.edge_out(silu(hidden, inplace=True))
                if following is None:
                    displacement.index_add_(0, own, self.readout(features) * envelope[b] * unit[b])
                else:
                    received.index_add_(0, own, features * envelope[b])
                    after.index_add_(0, own, following.shares(features, harmonics[b], envelope[b]))
            if layer.atom_in is not None and layer.atom_out is not None:
                atom = atom + layer.atom_out(silu(layer.atom_in(torch.cat([atom, 0.25 * received], dim=1))))
                density = after
        return displacement
