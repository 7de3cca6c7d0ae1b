"""Noise levels of a reverse process: a grid, and Restart intervals that climb back up."""

from __future__ import annotations

import math

import torch

from glass_ml.errors import InputError
from glass_ml.settings.sampling import ScheduleConfig


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
