"""XANES of a structure: the cell average of the spectra that a learned surrogate predicts atom by atom."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from ase.data import chemical_symbols
from torch import Tensor

from glass_ml.errors import InputError
from glass_ml.observables.base import Observable
from glass_ml.observables.fields import Context, setting
from glass_ml.observables.kinds import Kind, Settings, register
from glass_ml.observables.surrogate import Surrogate
from glass_ml.observables.surrogate_files import WEIGHTS, is_surrogate, load_surrogate, read_surrogate_card
from glass_ml.structures.harmonics import gather_sum
from glass_ml.structures.state import Structures


@register(
    Kind(
        "xanes", "XANES", "E (eV)", "absorption", "absorption near one edge, as its surrogate was trained",
        span=(0.0, float("inf")),
    ),
)  # fmt: skip
@dataclass(frozen=True, kw_only=True)
class XanesSettings(Settings):
    """Fields of XANES."""

    surrogate: str = setting(file="surrogate", help="folder of the model, relative to the target or to the current one")

    def files(self) -> tuple[tuple[str, str], ...]:
        """The weights of the surrogate, with their role."""
        return (("surrogate", str(Path(self.surrogate) / WEIGHTS)),)

    def check(self, context: Context) -> XanesSettings:
        """See that the folder holds a surrogate for these elements."""
        if not is_surrogate(self.surrogate):
            mend = "train one: glass-ml train NAME --observable xanes; or dvc pull"
            raise InputError(f"no surrogate in '{Path(self.surrogate).name}'", context.at("surrogate"), mend)
        if context.composition is None:
            return self
        card = read_surrogate_card(self.surrogate)
        known, absorber = [chemical_symbols[z] for z in card["elements"]], chemical_symbols[card["absorber"]]
        unknown = [symbol for symbol in context.composition if symbol not in known]
        if unknown or absorber not in context.composition:
            where, others = (
                f"'{Path(self.surrogate).name}' is for {absorber} among {', '.join(known)}",
                context.composition,
            )
            what = f"the surrogate in {where}, not for {', '.join(others)}"
            raise InputError(what, context.at("surrogate"), "choose another")
        return self

    def grid(self, low: float, high: float, points: int) -> Tensor:
        """The surrogate's own energies from low to high."""
        own = load_surrogate(self.surrogate).energies.double()
        return own[(own >= low) & (own <= high)]

    def observable(self, kind: str, grid: Tensor, cells: Structures | None = None) -> Observable:
        """The mean spectrum at energies (n,)."""
        return Xanes(self.surrogate, grid)


class Xanes:
    """The spectrum of each system, the mean over its absorber atoms; an `Observable`.

        mu(E) = 1/A sum_i mu_i(E),    mu_i from the environment of atom i within a few Å,

    so that it costs O(N). Spectra lie in the span of the surrogate's components, and are read linearly between its
    own energies.

    Args:
        surrogate: a loaded one, or its folder.
        grid: energies (n,) in the surrogate's own unit, within its range; by default its own.

    Raises:
        InputError: no surrogate in the folder, or a grid beyond its energies.
    """

    kind = "xanes"

    def __init__(self, surrogate: Surrogate | Path | str, grid: Tensor | None = None):
        self.surrogate = surrogate if isinstance(surrogate, Surrogate) else load_surrogate(surrogate)
        self._copies: dict[tuple[torch.dtype, torch.device], Surrogate] = {}
        own = self.surrogate.energies
        self.grid = own.clone() if grid is None else grid
        energies = self.grid.detach().to(own)
        if len(energies) == 0 or not bool(((energies >= own[0]) & (energies <= own[-1])).all()):
            raise InputError(
                f"energies from {float(energies.min()):g} to {float(energies.max()):g}"
                if len(energies)
                else "no energy",
                "grid",
                f"the surrogate knows {float(own[0]):g} to {float(own[-1]):g}",
            )
        right = torch.searchsorted(own, energies).clamp(1, len(own) - 1)
        share = (energies - own[right - 1]) / (own[right] - own[right - 1])
        reading = torch.zeros(len(own), len(energies), dtype=own.dtype, device=own.device)
        columns = torch.arange(len(energies), device=own.device)
        reading[right - 1, columns] = 1 - share
        reading[right, columns] = share
        self._basis = self.surrogate.basis.double() @ reading  # (K, n)
        self._mean = self.surrogate.mean.double() @ reading

    def forward(self, structures: Structures) -> Tensor:
        """The spectrum of every system, (S, n), differentiable in the positions.

        Raises:
            InputError: an element that the surrogate does not know, or a system without absorbers.
        """
        return self._spectra(self._averages(structures).mean(0))

    __call__ = forward

    def per_atom(self, structures: Structures) -> tuple[Tensor, Tensor]:
        """Spectra of the absorber atoms, (A, n), and standard deviation of their error, (A, n).

        Raises:
            InputError: as `forward`.
        """
        surrogate = self._surrogate(structures)
        mask = surrogate.absorbers(structures)
        components = surrogate.components(surrogate.environments(structures))[:, mask]
        error = self._spread(components) * self.surrogate.calibration[0]
        return self._spectra(components.mean(0)), error

    def uncertainty(self, structures: Structures) -> Tensor:
        """Standard deviation of the surrogate's error of every system's spectrum, (S, n).

        The spread of the members' cell averages times what held-out structures have shown it to be worth.

        Raises:
            InputError: as `forward`.
        """
        return self._spread(self._averages(structures)) * self.surrogate.calibration[1]

    def outside(self, structures: Structures) -> Tensor:
        """How far the environment of each absorber is from the training data, (A,).

        Above 1 are fewer than one in a thousand training environments: there the spectrum is an extrapolation.

        Raises:
            InputError: as `forward`.
        """
        surrogate = self._surrogate(structures)
        mask = surrogate.absorbers(structures)
        return surrogate.distance(surrogate.environments(structures))[mask]

    def remarks(self, structures: Structures) -> dict[str, Tensor]:
        """Share of environments that are `outside`, and root mean square of `uncertainty`, of every system, (S,) each.

        Raises:
            InputError: as `forward`.
        """
        with torch.no_grad():
            surrogate = self._surrogate(structures)
            system = structures.system[surrogate.absorbers(structures)]
            beyond = (self.outside(structures) > 1).to(structures.positions)
            count = torch.bincount(system, minlength=structures.n_systems)
            share = gather_sum(beyond, system, structures.n_systems) / count
            return {"outside": share, "uncertainty": self.uncertainty(structures).square().mean(-1).sqrt()}

    def jacobian(self, structures: Structures) -> Tensor:
        """Derivative of each system's spectrum in the positions of its own atoms, (n, N, 3).

        One backward pass for each component, whatever the number of energies: the systems of a batch do not meet.

        Raises:
            InputError: as `forward`.
        """
        positions = structures.positions.detach().requires_grad_(True)
        with torch.enable_grad():
            average = self._averages(structures.at(positions)).mean(0).sum(0)  # (K,)
            rows = torch.eye(len(average), dtype=average.dtype, device=average.device)
            (slopes,) = torch.autograd.grad(average, positions, rows, is_grads_batched=True)
        return torch.tensordot(self._basis.to(slopes), slopes, dims=([0], [0]))

    def _surrogate(self, structures: Structures) -> Surrogate:
        """The surrogate in the precision and on the device of the structures."""
        key = (structures.positions.dtype, structures.device)
        if key not in self._copies:
            self._copies[key] = copy.deepcopy(self.surrogate).to(device=key[1], dtype=key[0])
        return self._copies[key]

    def _averages(self, structures: Structures) -> Tensor:
        """Components that every member predicts, averaged over the absorbers of each system, (M, S, K)."""
        surrogate = self._surrogate(structures)
        mask = surrogate.absorbers(structures)
        components = surrogate.components(surrogate.environments(structures))[:, mask]
        system = structures.system[mask]
        count = torch.bincount(system, minlength=structures.n_systems)
        total = torch.stack([gather_sum(c, system, structures.n_systems) for c in components])
        return total / count[:, None]

    def _spectra(self, components: Tensor) -> Tensor:
        return components @ self._basis.to(components) + self._mean.to(components)

    def _spread(self, components: Tensor) -> Tensor:
        return (components @ self._basis.to(components)).std(0)
