"""A learned spectrum per atom: invariants of the environment, a few rounds of messages, an ensemble for the doubt.

A member of the ensemble turns the fixed densities A_lm of `environments` into invariants by learned products,

    p_lc = sum_m (sum_q U_lqc A_lmq) (sum_q V_lqc A_lmq),

lets atoms tell their neighbours what they are (the same products, of densities weighted by the sender's features),
and reads off the components of the spectrum. All of it is invariant under rotation, reflection and translation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from glass_ml.errors import InputError
from glass_ml.observables.environments import Environments, describe, fingerprint
from glass_ml.settings.surrogate import SurrogateConfig
from glass_ml.structures.harmonics import DEGREES, gather_sum
from glass_ml.structures.state import Structures

MESSAGE_DEGREES = 3  # l = 0, 1, 2


def _products(density: Tensor, maps: Tensor) -> Tensor:
    """Learned products of one degree: (N, 2l+1, Q) with maps (Q, 2C) to (N, C)."""
    first, second = (density @ maps).chunk(2, -1)
    return (first * second).sum(-2)


class Round(nn.Module):
    """One round of messages: neighbour densities weighted by the senders' features, their invariants, an update."""

    def __init__(self, features: int, channels: int, radial: int):
        super().__init__()
        self.radial = nn.Linear(radial, channels * MESSAGE_DEGREES)
        self.send = nn.Linear(features, channels)
        self.maps = nn.Parameter(torch.randn(MESSAGE_DEGREES, channels, 2 * channels) / math.sqrt(channels))
        self.norm = nn.LayerNorm(channels * (MESSAGE_DEGREES + 1))
        self.inner = nn.Linear(features + channels * (MESSAGE_DEGREES + 1), features)
        self.outer = nn.Linear(features, features)

    def forward(self, atom: Tensor, around: Environments, dropout: nn.Dropout) -> Tensor:
        """Updated atom features (N, F)."""
        n, channels = atom.shape[0], self.send.out_features
        # A bias would not vanish at the cutoff: only the linear part of the radial functions is used.
        weight = (around.radial @ self.radial.weight.T).view(-1, MESSAGE_DEGREES, channels)
        weight = weight * self.send(dropout(atom)).index_select(0, around.j)[:, None, :]
        invariants = []
        for degree in range(MESSAGE_DEGREES):
            harmonics = around.harmonics[:, degree**2 : (degree + 1) ** 2, None]
            density = gather_sum((harmonics * weight[:, degree, None, :]).flatten(1), around.i, n)
            density = density.view(n, 2 * degree + 1, channels)
            if degree == 0:
                invariants.append(density[:, 0])
            invariants.append(_products(density, self.maps[degree]))
        seen = self.norm(torch.cat(invariants, 1))
        return atom + self.outer(silu(self.inner(dropout(torch.cat([atom, seen], 1)))))


class SurrogateNetwork(nn.Module):
    """One member: the components of every atom's spectrum, in units of their spread over the training data.

    Args:
        elements: how many chemical elements are told apart.
        config: its size.
        dropout: share of features that is left out while it is trained.
        blind: whether it is not told coordination numbers, neither its atoms' nor their neighbours'.
    """

    def __init__(self, elements: int, config: SurrogateConfig, *, dropout: float = 0.0, blind: bool = False):
        super().__init__()
        around, width = config.environment, config.features
        self.elements, self.blind = elements, blind
        told = replace(around, coordinations=()) if blind else around
        channels, q = config.channels, told.channels(elements)
        self.linear_map = nn.Parameter(torch.randn(q, channels) / math.sqrt(q))
        self.maps = nn.ParameterList(nn.Parameter(torch.randn(q, 2 * channels) / math.sqrt(q)) for _ in range(DEGREES))
        self.norm = nn.LayerNorm(channels * (DEGREES + 1))
        known = channels * (DEGREES + 1) + told.centres(elements)
        self.first, self.second = nn.Linear(known, width), nn.Linear(width, width)
        self.rounds = nn.ModuleList(Round(width, config.message_channels, around.radial) for _ in range(config.rounds))
        self.readout = nn.Linear(width * (config.rounds + 1), config.components)
        self.direct = nn.Linear(known, config.components)
        self.dropout = nn.Dropout(dropout)

    def forward(self, around: Environments, scale: Tensor) -> Tensor:
        """Components (N, K).

        Args:
            around: the environments.
            scale: typical size of the densities of each degree, (4, Q).
        """
        densities = [d / scale[degree] for degree, d in enumerate(around.densities)]
        centre = around.centre
        if self.blind:
            radial = around.radial.shape[1]
            densities = [d.unflatten(-1, (self.elements, -1, radial))[..., 0, :].flatten(-2) for d in densities]
            centre = centre[:, : self.elements]
        invariants = [(densities[0] @ self.linear_map).squeeze(-2)]
        invariants += [_products(d, maps) for d, maps in zip(densities, self.maps, strict=True)]
        known = torch.cat([self.norm(torch.cat(invariants, -1)), centre], -1)
        atom = silu(self.first(self.dropout(known)))
        atom = atom + silu(self.second(self.dropout(atom)))
        heard = [atom]
        for exchange in self.rounds:
            atom = exchange(atom, around, self.dropout)
            heard.append(atom)
        return self.readout(self.dropout(torch.cat(heard, 1))) + self.direct(known)


class Scales(NamedTuple):
    """Fixed numbers that the training data give every member.

    Attributes:
        densities: root mean square of the densities of each degree, (4, Q).
        mean: mean spectrum, (n,).
        basis: principal components of the spectra times their spreads, (K, n).
        centre: mean fingerprint of the absorbers, (D,).
        whitening: takes deviations from it to unit covariance, (D, D).
        reach: distance from the centre that one of a thousand training environments exceeds, ().
    """

    densities: Tensor
    mean: Tensor
    basis: Tensor
    centre: Tensor
    whitening: Tensor
    reach: Tensor


class Surrogate(nn.Module):
    """An ensemble of members with their scales and the calibration of their doubt.

    Args:
        absorber: atomic number of the element whose atoms have spectra.
        elements: atomic numbers that structures may hold, ascending.
        config: its size.
        energies: axis of the spectra, (n,).
        scales: of the training data; zeros until weights are loaded.
        calibration: factors that turn the spread of the members into an error, of an atom and of a cell.
    """

    density_scale: Tensor
    mean: Tensor
    basis: Tensor
    centre: Tensor
    whitening: Tensor
    reach: Tensor

    def __init__(
        self,
        absorber: int,
        elements: Sequence[int],
        config: SurrogateConfig,
        energies: Tensor,
        scales: Scales | None = None,
        calibration: tuple[float, float] = (1.0, 1.0),
    ):
        super().__init__()
        self.absorber, self.elements, self.config = absorber, tuple(elements), config
        self.calibration = calibration
        count = len(self.elements)
        around = config.environment
        size = around.centres(count) + DEGREES * count * around.radial
        scales = scales or Scales(
            torch.ones(DEGREES, around.channels(count)),
            torch.zeros(len(energies)),
            torch.zeros(config.components, len(energies)),
            torch.zeros(size),
            torch.zeros(size, size),
            torch.ones(()),
        )
        for name, value in zip(("density_scale", "mean", "basis", "centre", "whitening", "reach"), scales, strict=True):
            self.register_buffer(name, value.float())
        self.energies = energies.double()
        self.members = nn.ModuleList(
            SurrogateNetwork(count, config, blind=config.is_blind(k)) for k in range(config.members)
        )

    def absorbers(self, structures: Structures) -> Tensor:
        """Which atoms have a spectrum, (N,), bool.

        Raises:
            InputError: a system without any.
        """
        mask = structures.numbers == self.absorber
        if bool((torch.bincount(structures.system[mask], minlength=structures.n_systems) == 0).any()):
            from ase.data import chemical_symbols

            name, known = chemical_symbols[self.absorber], ", ".join(chemical_symbols[z] for z in self.elements)
            raise InputError(
                f"a structure without {name}, whose spectrum is asked for",
                mend=f"the surrogate was trained on {name} in structures of {known}",
            )
        return mask

    def environments(self, structures: Structures) -> Environments:
        """The environments of all atoms.

        Raises:
            InputError: an element that the surrogate does not know.
        """
        return describe(structures, self.elements, self.config.environment)

    def components(self, around: Environments) -> Tensor:
        """Components that every member predicts for every atom, (M, N, K)."""
        return torch.stack([member(around, self.density_scale) for member in self.members])

    def spectra(self, components: Tensor) -> Tensor:
        """Spectra (..., n) of components (..., K)."""
        return components @ self.basis + self.mean

    def distance(self, around: Environments) -> Tensor:
        """How far each environment is from the training data, (N,): above 1 fewer than one in a thousand of them are.

        The Mahalanobis distance of the fingerprint over that which one training environment in a thousand exceeds.
        """
        away = (fingerprint(around, self.config.environment) - self.centre) @ self.whitening
        return away.square().sum(1).sqrt() / self.reach
