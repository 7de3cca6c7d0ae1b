"""Replicas of an inversion: each from its own random stream, side by side in processes, none lost to a kill."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from glass_ml.errors import InputError
from glass_ml.files import atomic_path
from glass_ml.measurements.likelihood import build_likelihood
from glass_ml.measurements.target import Target
from glass_ml.sampling.config import SamplingConfig, make_guidance
from glass_ml.sampling.constraints import MinimumDistance
from glass_ml.sampling.loop import Progress, sample
from glass_ml.sampling.protocols import Denoiser
from glass_ml.sampling.schedules import noise_levels
from glass_ml.structures.packing import random_packing
from glass_ml.structures.random import generator
from glass_ml.structures.state import Structures, concatenate

REPORT_EVERY = 5  # noise levels between two messages of a replica


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
    report: Callable[[int, float, dict[str, float]], None] | None = None,
    device: str = "cpu",
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
            make_guidance(config.guidance, denoiser, likelihood),
            noise_levels(config.schedule),
            config.step,
            streams,
            constraint=MinimumDistance(limits),
            report=message,
        )


def sample_prior(
    denoiser: Denoiser,
    composition: Mapping[str, float],
    density: float,
    n_atoms: int,
    n_structures: int,
    seed: int,
    config: SamplingConfig | None = None,
) -> Structures:
    """Structures from the prior alone, in this process; arguments as `sample_batch`."""
    return concatenate(_in_process(denoiser, composition, density, n_atoms, n_structures, seed, config, None))


def invert_target(
    target: Target, denoiser: Denoiser, n_structures: int, n_atoms: int, seed: int, config: SamplingConfig | None = None
) -> Structures:
    """Structures that explain a target, in this process, one batch after the other."""
    batches = _in_process(denoiser, target.composition, target.density, n_atoms, n_structures, seed, config, target)
    return concatenate(batches)


def _in_process(
    denoiser: Denoiser,
    composition: Mapping[str, float],
    density: float,
    n_atoms: int,
    n_structures: int,
    seed: int,
    config: SamplingConfig | None,
    target: Target | None,
) -> list[Structures]:
    config = config or SamplingConfig()
    return [
        sample_batch(denoiser, composition, density, n_atoms, replicas, seed, config, target=target)
        for replicas in batches_of(n_structures, config)
    ]


def batches_of(n_structures: int, config: SamplingConfig) -> list[list[int]]:
    """Replica numbers of each batch: fixed by the settings alone, so that processes cannot change a result.

    Raises:
        InputError: fewer than one structure.
    """
    if n_structures < 1:
        raise InputError(f"{n_structures} structures asked for", mend="ask for at least one")
    size = n_structures if config.fit == "ensemble" else config.batch
    return [list(range(first, min(first + size, n_structures))) for first in range(0, n_structures, size)]


def run_replicas(
    job: Mapping[str, Any],
    n_structures: int,
    config: SamplingConfig,
    scratch: Path | str,
    *,
    processes: int = 1,
    progress: bool = True,
) -> Structures:
    """All replicas, in several processes with one thread each; finished batches are kept in `scratch`.

    Called again with the same `scratch`, it computes only what is missing; the caller makes sure that `scratch`
    belongs to the same job, and removes it in the end.

    Args:
        job: arguments of `sample_batch` but `replicas`, `config` and `report`.
        n_structures: replicas in all.
        config: all settings.
        scratch: folder of finished batches.
        processes: computed side by side.
        progress: show a bar with noise level, chi-square per point and network calls on stderr.
    """
    scratch = Path(scratch)
    batches = batches_of(n_structures, config)
    files = [scratch / f"replicas-{b[0]:04d}-{b[-1]:04d}.npz" for b in batches]
    missing = [k for k, file in enumerate(files) if not file.exists()]
    if missing:
        scratch.mkdir(parents=True, exist_ok=True)
        levels = len(noise_levels(config.schedule))
        with (
            tqdm(total=levels * len(batches), unit="call", disable=not progress, smoothing=0.05) as bar,
            _workers(job, config, min(processes, len(missing))) as (submit, messages),
        ):
            bar.update(levels * (len(batches) - len(missing)))
            done = {k: submit(batches[k], str(files[k])) for k in missing}
            _watch(done, messages, bar)
    return concatenate([_load(file) for file in files])


def _load(file: Path) -> Structures:
    with np.load(file, allow_pickle=False) as stored:
        return Structures(*(torch.from_numpy(stored[name]) for name in ("positions", "cell", "numbers", "system")))


@contextmanager
def _workers(job: Mapping[str, Any], config: SamplingConfig, processes: int) -> Any:
    # Spawned, because forking a process that has run torch threads can hang.
    context = multiprocessing.get_context("spawn")
    messages = context.Queue()
    pool = ProcessPoolExecutor(processes, context, _start_worker, (pickle.dumps((dict(job), config)), messages))
    try:
        yield (lambda replicas, file: pool.submit(_work, replicas, file)), messages
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


_state: dict[str, Any] = {}


def _start_worker(job: bytes, messages: Any) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    _state["job"], _state["config"] = pickle.loads(job)
    _state["messages"] = messages


def _end_with_parent() -> None:
    # A parent that is killed cannot tell its workers; alone they would go on for nobody.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(replicas: list[int], file: str) -> None:
    def report(done: int, sigma: float, chi2: dict[str, float]) -> None:
        _state["messages"].put((replicas[0], done, sigma, chi2))

    structures = sample_batch(replicas=replicas, config=_state["config"], report=report, **_state["job"])
    with atomic_path(file) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            positions=structures.positions.cpu().double().numpy(),
            cell=structures.cell.cpu().double().numpy(),
            numbers=structures.numbers.cpu().numpy(),
            system=structures.system.cpu().numpy(),
        )


def _watch(done: dict[int, Future[None]], messages: Any, bar: tqdm) -> None:
    calls: dict[int, int] = {}
    while True:
        pending = [future for future in done.values() if not future.done()]
        try:
            replica, level, sigma, chi2 = messages.get(timeout=0.2)
        except queue.Empty:
            for future in done.values():
                if future.done():
                    future.result()
            if not pending:
                return
            continue
        bar.update(level - calls.get(replica, 0))
        calls[replica] = level
        fits = ", ".join(f"{name} chi2/n {value:.2f}" for name, value in chi2.items())
        bar.set_postfix_str(f"replica {replica}, sigma {sigma:.3f} Å, {fits}")
