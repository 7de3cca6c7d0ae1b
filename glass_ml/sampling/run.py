"""Replicas of an inversion, each from its own random stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from glass_ml.errors import InputError
from glass_ml.measurements.likelihood import build_likelihood
from glass_ml.measurements.target import Target
from glass_ml.sampling.constraints import MinimumDistance
from glass_ml.sampling.guidance import Denoiser, make_guidance
from glass_ml.sampling.sampler import Progress, noise_levels, sample
from glass_ml.settings.sampling import SamplingConfig
from glass_ml.structures.random import generator, random_packing
from glass_ml.structures.state import Structures, concatenate

REPORT_EVERY = 20  # noise levels between two messages of a replica
Report = Callable[[int, float, dict[str, float]], None]


def sample_batch(
    denoiser: Denoiser,
    composition: Mapping[str, float],
    density: float,
    n_atoms: int,
    replicas: Sequence[int],
    seed: int,
    config: SamplingConfig,
    *,
    target: Target | None = None,
    report: Report | None = None,
    device: torch.device | str = "cpu",
) -> Structures:
    """Replicas computed together.

    Args:
        denoiser: the prior.
        composition: element symbol -> amount.
        density: number density, atoms/Å^3.
        n_atoms: atoms of each replica.
        replicas: their numbers; with `seed` they fix the random streams.
        seed: of the inversion.
        config: all settings.
        target: the measurements; None samples the prior alone.
        report: called every few levels with the levels done, the noise level (Å) and the chi-square per point of
            every measurement by name.
        device: where to compute.
    """
    streams = [generator(seed, "replica", k) for k in replicas]
    start = random_packing(composition, density, n_atoms, streams).to(device)
    likelihood = build_likelihood(target, start, ensemble=config.fit == "ensemble") if target else None
    limits = {(int(a), int(b)): config.minimum_distance * r for a, b, r in denoiser.shortest}

    def message(progress: Progress) -> None:
        last = progress.index + 1 == progress.count
        if report is not None and (last or (progress.index + 1) % REPORT_EVERY == 0):
            fits = likelihood.compare(progress.clean).measurements if likelihood else ()
            report(progress.index + 1, progress.sigma, {m.name: m.chi2_reduced for m in fits})

    with torch.no_grad():
        return sample(
            start,
            make_guidance(config, denoiser, likelihood if likelihood and likelihood.fitted else None),
            noise_levels(config.schedule),
            config.step,
            streams,
            constraint=MinimumDistance(limits),
            temperature=config.temperature,
            report=message,
        )


def sample_prior(
    denoiser: Denoiser,
    composition: Mapping[str, float],
    density: float,
    n_atoms: int,
    n_structures: int,
    seed: int,
    config: SamplingConfig,
    target: Target | None = None,
) -> Structures:
    """Structures in this process, one batch after the other; arguments as `sample_batch`."""
    with same_arithmetic():
        return concatenate(
            [
                sample_batch(denoiser, composition, density, n_atoms, replicas, seed, config, target=target)
                for replicas in batches_of(n_structures, config)
            ]
        )


@contextmanager
def same_arithmetic() -> Iterator[None]:
    """One thread and no denormal numbers, as in every process of an inversion; afterwards torch is as it was."""
    threads = torch.get_num_threads()
    smallest = torch.tensor(5e-324, dtype=torch.float64)
    flushed = bool(smallest * 1 == 0)  # torch does not say
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed)
        torch.set_num_threads(threads)


def invert_target(
    target: Target, denoiser: Denoiser, n_structures: int, n_atoms: int, seed: int, config: SamplingConfig
) -> Structures:
    """Structures that explain a target, in this process, with its composition and density."""
    return sample_prior(denoiser, target.composition, target.density, n_atoms, n_structures, seed, config, target)


def batches_of(n_structures: int, config: SamplingConfig) -> list[list[int]]:
    """Replica numbers of each batch: fixed by the settings alone, so that processes cannot change a result.

    Raises:
        InputError: fewer than one structure.
    """
    if n_structures < 1:
        raise InputError(f"{n_structures} structures asked for", mend="ask for at least one")
    size = n_structures if config.fit == "ensemble" else config.batch
    return [list(range(first, min(first + size, n_structures))) for first in range(0, n_structures, size)]
