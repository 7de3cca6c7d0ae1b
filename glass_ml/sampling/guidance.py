"""How measurements enter a reverse step: the clean estimate given the noisy structure and the data.

Every guidance answers one question, `estimate(structures, sigma, noise)`: where are the clean atoms, given noisy
ones and whatever was measured? The loop does not know which it uses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from glass_ml.settings.sampling import SamplingConfig, Temperature
from glass_ml.structures.state import Structures


class Denoiser(Protocol):
    """A prior over structures, seen through its denoiser; the score is (denoise(x) - x) / sigma^2.

    Attributes:
        shortest: rows (Z1, Z2, Å) of the shortest distance that each pair of elements has in its data.
    """

    @property
    def shortest(self) -> Sequence[Sequence[float]]:
        """See the class."""
        ...

    def denoise(self, structures: Structures, sigma: float) -> Tensor:
        """Expected clean positions (N, 3), Å, of structures with Gaussian noise `sigma` (Å) per coordinate."""
        ...

    def spread(self, sigma: float) -> float:
        """Standard deviation (Å) per coordinate of the clean positions around that expectation."""
        ...


class Likelihood(Protocol):
    """How well structures explain the fitted measurements."""

    def residuals(self, structures: Structures) -> Tensor:
        """Weighted residuals (R, n), each of unit variance under the measurement's uncertainty.

        R is the number of systems, or one where the mean over the systems is fitted. Differentiable in the
        positions.
        """
        ...

    def linearise(self, structures: Structures) -> tuple[Tensor, Tensor]:
        """Residuals (R, k), as few as carry the same information, and their derivatives (k, N, 3).

        The derivative in an atom is that of its own system's residuals. Their sum of squares may differ from that of
        `residuals` by a constant.
        """
        ...


NoiseSource = Callable[[Tensor], Tensor]
"""Standard normal numbers of the shape of its argument, from the run's random streams."""


class Guidance(Protocol):
    """Clean positions given noisy structures and, where there are any, measurements."""

    def estimate(self, structures: Structures, sigma: float, noise: NoiseSource) -> Tensor:
        """Clean positions (N, 3), Å."""
        ...


@dataclass(frozen=True)
class Unguided:
    """The prior alone: its mean estimate, or at a temperature a draw around it."""

    denoiser: Denoiser
    temperature: Temperature | None = None

    def estimate(self, structures: Structures, sigma: float, noise: NoiseSource) -> Tensor:
        """The clean positions."""
        with torch.no_grad():
            mean = self.denoiser.denoise(structures, sigma)
            heat = _heat(self.temperature, sigma)
            return mean + heat * self.denoiser.spread(sigma) * noise(mean) if heat > 0 else mean


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

    by Gauss-Newton steps. With residuals r and Jacobian J at the present x0, the linearised minimum is

        D(x) + t s e - s^2 J^T (1 + s^2 J J^T)^-1 (r + t e' - J (x0 - D(x) - t s e)):

    exact for a linear forward model, and solved in the space of the data, which is small however many atoms there
    are. The measurement weighs in with the variance sigma_y^2 + s^2 J J^T that follows from it, without a tuned
    strength.
    Sources: Zhang et al. 2024, arXiv:2407.01521 (decoupling); Bardsley et al. 2014, doi:10.1137/140964023
    (randomise, then optimise); Song et al. 2023, openreview 9_gsMA8MRKQ (variance of the data given x).

    Attributes:
        denoiser: the prior.
        likelihood: of the measurements.
        iterations: Gauss-Newton steps.
        temperature: 1 draws from the posterior; 0, or None, returns its mode.
        largest: displacement per atom and step, Å, beyond which a step is cut.
    """

    denoiser: Denoiser
    likelihood: Likelihood
    iterations: int
    temperature: Temperature | None
    largest: float

    def estimate(self, structures: Structures, sigma: float, noise: NoiseSource) -> Tensor:
        """A draw of the clean positions."""
        with torch.no_grad():
            mean = self.denoiser.denoise(structures, sigma)
            spread = self.denoiser.spread(sigma)
            heat = _heat(self.temperature, sigma)
            if heat > 0:
                mean = mean + heat * spread * noise(mean)
            x = mean
            shift: Tensor | float = 0.0
            for iteration in range(self.iterations):
                residuals, jacobian = self.likelihood.linearise(structures.at(x))
                if heat > 0 and iteration == 0:
                    shift = heat * noise(residuals)
                best = mean + _least_squares(residuals + shift, jacobian, x - mean, spread, structures.counts.tolist())
                x = x + _cut(best - x, self.largest)
        return x


def _heat(temperature: Temperature | None, sigma: float) -> float:
    return temperature.at(sigma) ** 0.5 if temperature else 0.0


def _least_squares(residuals: Tensor, jacobian: Tensor, moved: Tensor, spread: float, counts: list[int]) -> Tensor:
    """Displacements (N, 3) from the mean that minimise the linearised U, of every system or, with one row, of all.

    Args:
        residuals: at the displacements `moved`, (R, k).
        jacobian: (k, N, 3).
        moved: present displacements from the mean, (N, 3), Å.
        spread: standard deviation of the displacements without data, Å.
        counts: atoms of each system.
    """
    sizes = counts if len(residuals) == len(counts) else [sum(counts)]
    found = []
    for row, slope, before in zip(residuals, jacobian.split(sizes, dim=1), moved.split(sizes), strict=True):
        # Strong data on many atoms: the condition number asks for more than single precision.
        wide = slope.flatten(1).double()
        pull = row.double() - wide @ before.flatten().double()
        gram = (wide @ wide.T).mul_(spread**2)
        gram.diagonal().add_(1.0)
        weight = torch.cholesky_solve(pull[:, None], torch.linalg.cholesky(gram))[:, 0]
        found.append((-(spread**2) * (weight @ wide)).to(slope).view(-1, 3))
    return torch.cat(found)


def _cut(displacement: Tensor, largest: float) -> Tensor:
    length = displacement.norm(dim=1, keepdim=True)
    return displacement * (largest / length.clamp(min=largest))


def make_guidance(config: SamplingConfig, denoiser: Denoiser, likelihood: Likelihood | None) -> Guidance:
    """The guidance that a configuration names; without a likelihood the prior alone."""
    guidance = config.guidance
    temperature = config.temperature if config.step.solver == "gibbs" else None  # the others want means, not draws
    if likelihood is None or guidance.kind == "none":
        return Unguided(denoiser, temperature)
    if guidance.kind == "decoupled":
        return Decoupled(denoiser, likelihood, guidance.iterations, temperature, guidance.largest)
    return PosteriorScore(denoiser, likelihood, guidance.kind == "dps", guidance.strength, guidance.largest)
