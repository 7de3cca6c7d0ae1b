"""Noise levels of a reverse process: a grid, and Restart intervals that climb back up."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from glass_ml.errors import InputError


@dataclass(frozen=True)
class ScheduleConfig:
    """Noise levels of one run.

    Attributes:
        steps: levels from `sigma_max` down to `sigma_min`, both included.
        sigma_max: first noise level, Å.
        sigma_min: last noise level, Å; the clean estimate made there is the result.
        rho: spacing of the grid; 1 is linear, 7 crowds the levels at small noise.
        restarts: how often the interval below is run through again.
        restart_low: noise level, Å, at which a Restart begins.
        restart_high: noise level, Å, up to which it adds noise.
        restart_steps: levels of one Restart interval.
    """

    steps: int = 100
    sigma_max: float = 1.5
    sigma_min: float = 0.05
    rho: float = 7.0
    restarts: int = 0
    restart_low: float = 0.1
    restart_high: float = 0.4
    restart_steps: int = 12


@dataclass(frozen=True)
class Temperature:
    """Temperature T of the posterior p(x | data)^(1/T) that is sampled, by noise level.

    1 is Bayes' rule for the prior as it is. A prior of cheap simulations knows structures that were quenched faster
    than those of a laboratory, frozen in at a higher temperature, with more defects. Below 1 the same prior is that
    of a colder, better annealed glass. Its vibrations are not colder: at noise levels of their own size the structure
    is decided, and the temperature can be that of the training data again.

    Attributes:
        structure: T at noise levels above `vibration`; 0 optimises.
        vibration: Å; at and below this noise level T is 1; 0 leaves the vibrations as cold as the structure.
    """

    structure: float = 0.1
    vibration: float = 0.0

    def at(self, sigma: float) -> float:
        """T at noise level `sigma` (Å)."""
        return self.structure if sigma > self.vibration else 1.0


def karras_grid(steps: int, sigma_min: float, sigma_max: float, rho: float) -> list[float]:
    """Descending noise levels, evenly spaced in sigma^(1/rho).

    Source: Karras et al. 2022, arXiv:2206.00364, equation 5.
    """
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return ((high + ramp * (low - high)) ** rho).tolist()


def noise_levels(config: ScheduleConfig) -> list[float]:
    """All noise levels of a run, in order; an increase means that noise is added.

    Restart intervals stand where the grid passes `restart_low`.
    Source: Xu et al. 2023, arXiv:2306.14878.

    Raises:
        InputError: levels that are not positive and ordered, or a Restart outside them.
    """
    levels_fit = config.steps >= 2 and 0 < config.sigma_min < config.sigma_max < math.inf
    if not (levels_fit and config.rho > 0 and config.restarts >= 0):
        raise InputError(
            "needs steps >= 2, 0 < sigma_min < sigma_max, rho > 0 and restarts >= 0",
            "schedule",
            "mend the noise levels",
        )
    grid = karras_grid(config.steps, config.sigma_min, config.sigma_max, config.rho)
    if config.restarts == 0:
        return grid
    interval_fits = config.sigma_min <= config.restart_low < config.restart_high <= config.sigma_max
    if not (interval_fits and config.restart_steps >= 2):
        raise InputError(
            "needs sigma_min <= restart_low < restart_high <= sigma_max and restart_steps >= 2",
            "schedule",
            "mend the Restart interval",
        )
    interval = karras_grid(config.restart_steps, config.restart_low, config.restart_high, config.rho)
    before = [sigma for sigma in grid if sigma > config.restart_low]
    after = [sigma for sigma in grid if sigma <= config.restart_low]
    return before + [config.restart_low] + interval * config.restarts + after
