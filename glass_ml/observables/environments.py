"""Atomic environments for learned observables: neighbour densities, smooth coordination and short edges.

Everything here is a fixed, smooth function of the positions with nothing to train, so that a training computes it
once per structure. Each atom's neighbours are told apart by element and by their own smooth coordination number: in
carbon, whether a neighbour is sp, sp2 or sp3 matters as much as where it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from ase.data import chemical_symbols, covalent_radii
from torch import Tensor

from glass_ml.errors import InputError
from glass_ml.settings.surrogate import EnvironmentConfig
from glass_ml.structures.harmonics import DEGREES, gather_sum, spherical_harmonics
from glass_ml.structures.neighbours import neighbour_pairs
from glass_ml.structures.state import Structures

BONDED, UNBONDED = 1.02, 1.42
"""A pair counts as one bond below, and as none above, these multiples of the sum of covalent radii."""
CLOSEST = 0.35
"""First radial centre, in cutoffs: nothing is resolved below."""


class Environments(NamedTuple):
    """The environments of N atoms with E edges between them.

    Attributes:
        densities: for l = 0 ... 3 the neighbour density sum_j w_q(ij) Y_lm(r_ij), (N, 2l+1, Q).
        centre: element (one-hot) and coordination bumps of the atom itself, (N, P).
        radial: radial functions of each edge, zero at the cutoff, (E, R).
        harmonics: real spherical harmonics of each edge, (E, 16).
        i: receiving atom, (E,).
        j: sending atom, (E,).
    """

    densities: tuple[Tensor, ...]
    centre: Tensor
    radial: Tensor
    harmonics: Tensor
    i: Tensor
    j: Tensor

    @property
    def n_atoms(self) -> int:
        """Atoms."""
        return self.centre.shape[0]


def join(parts: Sequence[Environments]) -> Environments:
    """One set of environments out of several, in their order."""
    offsets, n = [], 0
    for part in parts:
        offsets.append(n)
        n += part.n_atoms
    return Environments(
        tuple(torch.cat(each) for each in zip(*(p.densities for p in parts), strict=True)),
        torch.cat([p.centre for p in parts]),
        torch.cat([p.radial for p in parts]),
        torch.cat([p.harmonics for p in parts]),
        torch.cat([p.i + n for p, n in zip(parts, offsets, strict=True)]),
        torch.cat([p.j + n for p, n in zip(parts, offsets, strict=True)]),
    )


def species_of(numbers: Tensor, elements: Sequence[int]) -> Tensor:
    """Index in `elements` of each atomic number, (N,).

    Raises:
        InputError: an element that is not among them.
    """
    table = torch.full((120,), -1, device=numbers.device)
    table[torch.tensor(list(elements), device=numbers.device)] = torch.arange(len(elements), device=numbers.device)
    species = table[numbers]
    if bool((species < 0).any()):
        unknown = ", ".join(sorted({chemical_symbols[z] for z in numbers[species < 0].tolist()}))
        known = ", ".join(chemical_symbols[z] for z in elements)
        raise InputError(f"the surrogate does not know {unknown}", mend=f"it was trained on structures of {known}")
    return species


def describe(structures: Structures, elements: Sequence[int], config: EnvironmentConfig) -> Environments:
    """The environments of all atoms, differentiable in the positions; O(N).

    Args:
        structures: any batch.
        elements: atomic numbers that are told apart, ascending.
        config: radius and resolution.

    Raises:
        InputError: an element that is not among `elements`.
    """
    species = species_of(structures.numbers, elements)
    pairs = neighbour_pairs(structures, config.cutoff)
    vectors, i, j = pairs.vectors(structures), pairs.i, pairs.j
    n = structures.n_atoms
    distance = (vectors.square().sum(-1) + 1e-8).sqrt()
    harmonics = spherical_harmonics(vectors / distance[:, None])
    centres = torch.linspace(CLOSEST * config.cutoff, config.cutoff, config.radial).to(distance)
    spacing = (1 - CLOSEST) * config.cutoff / (config.radial - 1)
    envelope = 0.5 * (torch.cos(distance.clamp(max=config.cutoff) * (math.pi / config.cutoff)) + 1)
    radial = torch.exp(-0.5 * ((distance[:, None] - centres) / spacing) ** 2) * envelope[:, None]
    bumps = _coordination_bumps(distance, structures.numbers, i, j, config)
    kind = torch.cat([bumps.new_ones(n, 1), bumps], dim=1)  # each neighbour counts, and by its coordination
    one_hot = torch.nn.functional.one_hot(species, len(elements)).to(distance)
    sender = (one_hot[:, :, None] * kind[:, None, :]).flatten(1).index_select(0, j)
    weight = (sender[:, :, None] * radial[:, None, :]).flatten(1)
    densities = tuple(
        gather_sum((harmonics[:, low : low + 2 * degree + 1, None] * weight[:, None, :]).flatten(1), i, n).view(
            n, 2 * degree + 1, -1
        )
        for degree, low in enumerate(k * k for k in range(DEGREES))
    )
    return Environments(densities, torch.cat([one_hot, bumps], dim=1), radial, harmonics, i, j)


def _coordination_bumps(distance: Tensor, numbers: Tensor, i: Tensor, j: Tensor, config: EnvironmentConfig) -> Tensor:
    """How near each atom's smooth coordination number is to each of `config.coordinations`, (N, B), 0 to 1."""
    radii = torch.tensor(covalent_radii).to(distance)[numbers]
    reach = radii.index_select(0, i) + radii.index_select(0, j)
    near, far = BONDED * reach, (UNBONDED * reach).clamp(max=config.cutoff)
    along = ((distance - near) / (far - near).clamp(min=1e-3)).clamp(0, 1)
    bonded = 0.5 * (torch.cos(math.pi * along) + 1)
    coordination = gather_sum(bonded, i, len(numbers))
    at = coordination.new_tensor(config.coordinations)
    return torch.exp(-0.5 * ((coordination[:, None] - at) / config.coordination_width) ** 2)


def fingerprint(environments: Environments, config: EnvironmentConfig) -> Tensor:
    """Invariants that place an environment among others, (N, D): coordination, and the power of each neighbour density.

    The densities are those of each element, unsorted by coordination; their power is sqrt(sum_m A_lm^2).
    """
    n = environments.n_atoms
    kinds = 1 + len(config.coordinations)
    parts = [environments.centre]
    for density in environments.densities:
        unsorted = density.view(n, density.shape[1], -1, kinds, config.radial)[:, :, :, 0]
        parts.append((unsorted.square().sum(1) + 1e-6).sqrt().flatten(1))
    return torch.cat(parts, dim=1)
