"""The one sampling loop: noise levels, clean estimates and steps, for a batch of replicas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from glass_ml.sampling.guidance import Guidance
from glass_ml.sampling.steps import multistep, renoise, stochastic_step
from glass_ml.settings.sampling import StepConfig, Temperature
from glass_ml.structures.state import Structures

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
