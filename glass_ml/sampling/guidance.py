"""How measurements enter a reverse step: the clean estimate given the noisy structure and the data.

Every guidance answers one question, `estimate(structures, sigma, noise)`: where are the clean atoms, given noisy
ones and whatever was measured? The loop does not know which it uses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from glass_ml.sampling.protocols import Denoiser, Likelihood
from glass_ml.structures.state import Structures

NoiseSource = Callable[[Tensor], Tensor]
"""Standard normal numbers of the shape of its argument, from the run's random streams."""


class Guidance(Protocol):
    """Clean positions given noisy structures and, where there are any, measurements."""

    def estimate(self, structures: Structures, sigma: float, noise: NoiseSource) -> Tensor:
        """Clean positions (N, 3), Å."""
        ...


@dataclass(frozen=True)
class Unguided:
    """The prior alone."""

    denoiser: Denoiser

    def estimate(self, structures: Structures, sigma: float, noise: NoiseSource) -> Tensor:
        """The denoiser's estimate."""
        with torch.no_grad():
            return self.denoiser.denoise(structures, sigma)


@dataclass(frozen=True)
class PosteriorScore:
    """Diffusion posterior sampling: the likelihood's gradient at the clean estimate is added to the score.

        x0' = D(x) - sigma^2 strength grad_x (1/2) |residuals(D(x))|^2

    Source: Chung et al. 2023, arXiv:2209.14687. With `jacobian` the gradient goes through the
    denoiser; without it D is taken for constant but for its shift with x.

    Attributes:
        denoiser: the prior.
        likelihood: of the measurements.
        jacobian: whether to differentiate the denoiser.
        strength: factor of the gradient; 1 is Bayes' rule for a perfect clean estimate.
        largest: displacement per atom, Å, beyond which the likelihood's share is cut.
    """

    denoiser: Denoiser
    likelihood: Likelihood
    jacobian: bool
    strength: float
    largest: float

    def estimate(self, structures: Structures, sigma: float, noise: NoiseSource) -> Tensor:
        """The guided clean estimate."""
        x = structures.positions.detach().requires_grad_(True)
        with torch.set_grad_enabled(self.jacobian):
            clean = self.denoiser.denoise(structures.at(x), sigma)
        with torch.enable_grad():
            point = clean if self.jacobian else clean.detach().requires_grad_(True)
            half_chi2 = 0.5 * self.likelihood.residuals(structures.at(point)).square().sum()
            (gradient,) = torch.autograd.grad(half_chi2, x if self.jacobian else point)
        return clean.detach() - _cut(self.strength * sigma**2 * gradient, self.largest)


@dataclass(frozen=True)
class Decoupled:
    """A draw of the clean structure from prior estimate and measurements, by itself.

    Given x, the clean structure is taken as N(D(x), s^2) with s = `denoiser.spread(sigma)`, the measured error of
    the denoiser. The draw perturbs this mean and the data by their own uncertainty and then minimises

        U(x0) = |x0 - D(x) - t s e|^2 / (2 s^2) + (1/2) |residuals(x0) + t e'|^2,     t^2 = temperature,

    by conjugate gradients with Gauss-Newton step lengths: exact for a linear forward model. The measurement thus
    weighs in with the variance sigma_y^2 + J s^2 J^T that follows from it, without a tuned strength.
    Sources: Zhang et al. 2024, arXiv:2407.01521 (decoupling); Bardsley et al. 2014, doi:10.1137/140964023
    (randomise, then optimise).

    Attributes:
        denoiser: the prior.
        likelihood: of the measurements.
        iterations: conjugate-gradient steps.
        temperature: 1 draws from the posterior; 0 returns its mode.
        largest: displacement per atom and step, Å, beyond which a step is cut.
    """

    denoiser: Denoiser
    likelihood: Likelihood
    iterations: int
    temperature: float
    largest: float

    def estimate(self, structures: Structures, sigma: float, noise: NoiseSource) -> Tensor:
        """A draw of the clean positions."""
        with torch.no_grad():
            mean = self.denoiser.denoise(structures, sigma)
        spread = self.denoiser.spread(sigma)
        heat = self.temperature**0.5
        x = mean
        shift: Tensor | float = 0.0
        if heat > 0:
            mean = mean + heat * spread * noise(mean)
            x = mean
        direction = previous = None
        for _ in range(self.iterations):
            x = x.detach().requires_grad_(True)
            with torch.enable_grad():
                residuals = self.likelihood.residuals(structures.at(x))
                if heat > 0 and isinstance(shift, float):
                    shift = heat * noise(residuals.detach())
                half_chi2 = 0.5 * (residuals + shift).square().sum()
                (gradient,) = torch.autograd.grad(half_chi2, x)
            x = x.detach()
            gradient = gradient + (x - mean) / spread**2
            direction = _conjugate(gradient, previous, direction, structures)
            length = self._step(structures, x, direction, gradient, residuals.detach(), spread)
            previous = gradient
            x = x + _cut(length * direction, self.largest)
        return x

    def _step(
        self, structures: Structures, x: Tensor, direction: Tensor, gradient: Tensor, residuals: Tensor, spread: float
    ) -> Tensor:
        # One step length per system, from the curvature of the linearised problem along the direction.
        n = structures.n_systems
        together = residuals.shape[0] != n  # one spectrum for all systems: one step length
        lengths = direction.norm(dim=1)
        largest = lengths.new_zeros(n).scatter_reduce_(0, structures.system, lengths, "amax")
        if together:
            largest = largest.max().expand(n)
        probe = (1e-3 / largest.clamp(min=1e-12))[:, None]
        with torch.no_grad():
            moved = self.likelihood.residuals(structures.at(x + probe[structures.system] * direction))
        change = (moved - residuals) / (probe[:1] if together else probe)
        curvature = _per_system(direction.square(), structures) / spread**2
        if together:
            curvature = (curvature.sum() + change.square().sum()).expand(n)
            slope = -(direction * gradient).sum().expand(n)
        else:
            curvature = curvature + change.square().sum(1).to(curvature)
            slope = -_per_system(direction * gradient, structures)
        return (slope / curvature.clamp(min=1e-30))[structures.system][:, None]


def _conjugate(gradient: Tensor, previous: Tensor | None, direction: Tensor | None, structures: Structures) -> Tensor:
    # Polak-Ribiere, one factor per system: a replica's path does not depend on its batch.
    if previous is None or direction is None:
        return -gradient
    change = _per_system(gradient * (gradient - previous), structures)
    beta = (change / _per_system(previous.square(), structures).clamp(min=1e-30)).clamp(min=0)
    return -gradient + beta[structures.system][:, None] * direction


def _per_system(values: Tensor, structures: Structures) -> Tensor:
    return values.new_zeros(structures.n_systems).index_add_(0, structures.system, values.sum(1))


def _cut(displacement: Tensor, largest: float) -> Tensor:
    length = displacement.norm(dim=1, keepdim=True)
    return displacement * (largest / length.clamp(min=largest))
