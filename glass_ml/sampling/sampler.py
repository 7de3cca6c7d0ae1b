"""The reverse process beside its papers: noise levels, the steps between them, and the one loop that takes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from glass_ml.errors import InputError
from glass_ml.sampling.guidance import Guidance
from glass_ml.settings.sampling import ScheduleConfig, StepConfig, Temperature
from glass_ml.structures.state import Structures


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


def renoise(x: Tensor, sigma: float, higher: float, noise: Tensor) -> Tensor:
    """Raise the noise level of x from `sigma` to `higher` (Å) with standard normal `noise`."""
    return x + math.sqrt(higher**2 - sigma**2) * noise


def stochastic_step(x: Tensor, clean: Tensor, sigma: float, lower: float, noise: Tensor, kept: float) -> Tensor:
    """Keep a share `kept` of the noise, between -1 and 1, and renew the others while going from `sigma` to `lower`.

        x' = x0 + lower * (kept (x - x0) / sigma + sqrt(1 - kept^2) noise)

    For a draw x0 of p(x0 | x) every `kept` leaves p(x | x0) as it is. 0 is plain Gibbs sampling of x0 and x by turns,
    as decoupled posterior sampling does it (Zhang et al. 2024, arXiv:2407.01521). Below 0, noise returns from the
    other side of x0: x goes on in the direction in which x0 left it, instead of a random walk (over-relaxation: Adler
    1981, doi:10.1103/PhysRevD.23.2901). For a mean x0, 1 is the deterministic first-order step (Song et al. 2021,
    arXiv:2010.02502, equation 12).
    """
    renewed = math.sqrt(1 - kept**2)
    return clean + lower * (kept / sigma * (x - clean) + renewed * noise)


def multistep(
    x: Tensor, clean: Tensor, before: Tensor | None, sigma_before: float, sigma: float, lower: float
) -> Tensor:
    """Second-order multistep step, with the clean estimate of the level before.

    In t = -log(sigma), with h = t(lower) - t(sigma) and r the ratio of the previous step to this one,

        x' = (lower / sigma) x - (exp(-h) - 1) ((1 + 1/2r) x0 - (1/2r) x0_before).

    Without `before` it is first-order. Source: Lu et al. 2022, arXiv:2211.01095, algorithm 2 (VE noise).
    """
    ratio = lower / sigma
    estimate = clean
    if before is not None:
        r = math.log(sigma_before / sigma) / math.log(sigma / lower)
        estimate = clean + (clean - before) / (2 * r)
    return ratio * x + (1 - ratio) * estimate


BAYES = Temperature(structure=1.0)
"""No tempering."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands: noise level index and count, its value (Å) and the clean estimate."""

    index: int
    count: int
    sigma: float
    clean: Structures


def replica_noise(structures: Structures, streams: Sequence[Generator]) -> Callable[[Tensor], Tensor]:
    """A source of noise in which every replica draws from its own stream.

    A tensor with a row per atom draws atom rows from the stream of each system; one with a row per system draws
    that row; one row for all systems draws from the first stream.
    """
    counts = structures.counts.tolist()

    def draw(like: Tensor) -> Tensor:
        rows = counts if like.shape[0] == structures.n_atoms else [1] * like.shape[0]
        drawn = [torch.randn(n, *like.shape[1:], generator=stream) for n, stream in zip(rows, streams, strict=False)]
        return torch.cat(drawn).to(like)

    return draw


def sample(
    start: Structures,
    guidance: Guidance,
    levels: Sequence[float],
    step: StepConfig,
    streams: Sequence[Generator],
    *,
    constraint: Callable[[Structures], Structures],
    temperature: Temperature = BAYES,
    report: Callable[[Progress], None] | None = None,
) -> Structures:
    """Run the reverse process from a random start to clean structures.

    Args:
        start: random structures, without noise.
        guidance: gives the clean estimate at each level.
        levels: noise levels, Å; where one is above its predecessor, noise is added (Restart).
        step: the solver.
        streams: one random stream per replica.
        constraint: applied to every clean estimate.
        temperature: variance of all noise in units of its level's. With draws of clean structures at the same T,
            samples of p(x) become samples of p(x)^(1/T): tempering commutes with noising, as exp(-|x - x0|^2 /
            (2 T sigma^2)) is the kernel of the noise to the power 1/T.
        report: called after each level.

    Returns:
        The constrained clean estimate at the last level, wrapped into the cells.
    """
    noise = replica_noise(start, streams)
    clean, before, sigma_before = start, None, levels[0]
    x = start.positions + levels[0] * temperature.at(levels[0]) ** 0.5 * noise(start.positions)
    for index, sigma in enumerate(levels):
        estimate = guidance.estimate(start.at(x), sigma, noise)
        clean = constraint(start.at(estimate))
        if report is not None:
            report(Progress(index, len(levels), sigma, clean))
        if index + 1 == len(levels):
            break
        lower = levels[index + 1]
        heat = temperature.at(lower) ** 0.5
        if lower >= sigma:
            x = renoise(x, sigma, lower, heat * noise(x))
            before = None
        elif step.solver == "multistep":
            x = multistep(x, clean.positions, before, sigma_before, sigma, lower)
            before, sigma_before = clean.positions, sigma
        else:
            fresh = heat * noise(x) if abs(step.kept) < 1 else x
            before_heat = temperature.at(sigma) ** 0.5
            if before_heat not in (0, heat):  # the noise that is kept takes the new temperature too
                x = clean.positions + heat / before_heat * (x - clean.positions)
            x = stochastic_step(x, clean.positions, sigma, lower, fresh, step.kept)
    return clean.wrapped()
