"""Replicas of an inversion: each from its own random stream, side by side in processes, none lost to a kill."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from glass_ml.errors import InputError
from glass_ml.files import atomic_path
from glass_ml.measurements.likelihood import build_likelihood
from glass_ml.measurements.target import Target
from glass_ml.sampling.constraints import MinimumDistance
from glass_ml.sampling.guidance import make_guidance
from glass_ml.sampling.loop import Progress, sample
from glass_ml.sampling.protocols import Denoiser
from glass_ml.sampling.schedules import noise_levels
from glass_ml.settings.sampling import SamplingConfig
from glass_ml.structures.packing import random_packing
from glass_ml.structures.random import generator
from glass_ml.structures.state import Structures, concatenate

REPORT_EVERY = 20  # noise levels between two messages of a replica
FIELDS = ("positions", "cell", "numbers", "system")
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
            make_guidance(config, denoiser, likelihood),
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
    config: SamplingConfig | None = None,
    target: Target | None = None,
) -> Structures:
    """Structures in this process, one batch after the other; arguments as `sample_batch`."""
    config = config or SamplingConfig()
    return concatenate(
        [
            sample_batch(denoiser, composition, density, n_atoms, replicas, seed, config, target=target)
            for replicas in batches_of(n_structures, config)
        ]
    )


def invert_target(
    target: Target, denoiser: Denoiser, n_structures: int, n_atoms: int, seed: int, config: SamplingConfig | None = None
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


@dataclass(frozen=True)
class Replicas:
    """The batches of an inversion, each computed by whoever comes to it, and kept in a file of its own.

    What computes them, and where, does not matter to the files. The caller makes sure that `scratch` belongs to the
    same job, and removes it in the end.

    Attributes:
        job: arguments of `sample_batch` but `replicas`, `config`, `report` and `device`.
        n_structures: replicas in all.
        config: all settings.
        scratch: folder of finished batches.
    """

    job: Mapping[str, Any]
    n_structures: int
    config: SamplingConfig
    scratch: Path

    def batches(self) -> list[list[int]]:
        """Replica numbers of every batch."""
        return batches_of(self.n_structures, self.config)

    def missing(self) -> list[list[int]]:
        """The batches that are not finished."""
        return [batch for batch in self.batches() if not self._file(batch).exists()]

    def compute(self, batch: list[int], report: Report | None = None, device: torch.device | str = "cpu") -> None:
        """Compute a batch and keep it."""
        structures = sample_batch(replicas=batch, config=self.config, report=report, device=device, **self.job)
        arrays = {name: getattr(structures, name).cpu() for name in FIELDS}
        arrays |= {name: arrays[name].double() for name in ("positions", "cell")}
        with atomic_path(self._file(batch)) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **{name: array.numpy() for name, array in arrays.items()})

    def collect(self) -> Structures:
        """All replicas, out of their files."""
        return concatenate([_load(self._file(batch)) for batch in self.batches()])

    def _file(self, batch: list[int]) -> Path:
        return self.scratch / f"replicas-{batch[0]:04d}-{batch[-1]:04d}.npz"


def _load(file: Path) -> Structures:
    with np.load(file, allow_pickle=False) as stored:
        return Structures(*(torch.from_numpy(stored[name]) for name in FIELDS))


class Bar:
    """A bar on stderr: network calls, noise level and chi-square per point of the last replica heard of.

    Args:
        replicas: one of the inversions; all have its number of noise levels.
        batches: in all.
        done: batches that are there already.
        show: whether there is a bar.
    """

    def __init__(self, replicas: Replicas, batches: int, done: int = 0, *, show: bool = True):
        self.levels = len(noise_levels(replicas.config.schedule))
        self._seen: dict[tuple[int, int], int] = {}
        self._bar = tqdm(total=self.levels * batches, unit="call", disable=not show, smoothing=0.05)
        self._bar.update(self.levels * done)

    def __call__(self, replica: int, level: int, sigma: float, chi2: Mapping[str, float], inversion: int = 0) -> None:
        """Take a message of a batch: its first replica, what `sample_batch` reports, the number of its inversion."""
        self._bar.update(level - self._seen.get((inversion, replica), 0))
        self._seen[inversion, replica] = level
        fits = ", ".join(f"{name} chi2/n {value:.2f}" for name, value in chi2.items())
        self._bar.set_postfix_str(f"replica {replica}, sigma {sigma:.3f} Å, {fits}")

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


def run_replicas(
    job: Mapping[str, Any],
    n_structures: int,
    config: SamplingConfig,
    scratch: Path | str,
    *,
    processes: int = 1,
    progress: bool = True,
) -> Structures:
    """All replicas, in several processes of this machine with one thread each; arguments as `Replicas`.

    Called again with the same `scratch`, it computes only what is missing.

    Args:
        job, n_structures, config, scratch: see `Replicas`.
        processes: computed side by side.
        progress: show a bar.
    """
    return run_inversions([Replicas(job, n_structures, config, Path(scratch))], processes=processes, progress=progress)[
        0
    ]


def run_inversions(inversions: Sequence[Replicas], *, processes: int = 1, progress: bool = True) -> list[Structures]:
    """The replicas of several inversions, all side by side in one set of processes; otherwise as `run_replicas`.

    Args:
        inversions: with the same noise levels.
        processes: computed side by side.
        progress: show a bar.
    """
    missing = [(k, batch) for k, replicas in enumerate(inversions) for batch in replicas.missing()]
    if missing:
        count = sum(len(replicas.batches()) for replicas in inversions)
        bar = Bar(inversions[0], count, count - len(missing), show=progress)
        with closing(bar), _workers(inversions, min(processes, len(missing))) as (submit, messages):
            _watch([submit(k, batch) for k, batch in missing], messages, bar)
    return [replicas.collect() for replicas in inversions]


@contextmanager
def _workers(inversions: Sequence[Replicas], processes: int) -> Any:
    # Spawned, because forking a process that has run torch threads can hang.
    context = multiprocessing.get_context("spawn")
    messages = context.Queue()
    pool = ProcessPoolExecutor(processes, context, _start_worker, (pickle.dumps(list(inversions)), messages))
    try:
        yield (lambda k, batch: pool.submit(_work, k, batch)), messages
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


_state: dict[str, Any] = {}


def _start_worker(inversions: bytes, messages: Any) -> None:
    threading.Thread(target=end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    _state["inversions"], _state["messages"] = pickle.loads(inversions), messages


def end_with_parent() -> None:
    """Wait for the end of the process that has spawned this one, then end it too.

    A parent that is killed cannot tell its workers; alone they would go on for nobody.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(inversion: int, batch: list[int]) -> None:
    def report(level: int, sigma: float, chi2: dict[str, float]) -> None:
        _state["messages"].put((batch[0], level, sigma, chi2, inversion))

    _state["inversions"][inversion].compute(batch, report)


def _watch(done: list[Future[None]], messages: Any, bar: Bar) -> None:
    while True:
        pending = [future for future in done if not future.done()]
        try:
            bar(*messages.get(timeout=0.2))
        except queue.Empty:
            for future in done:
                if future.done():
                    future.result()
            if not pending:
                return
