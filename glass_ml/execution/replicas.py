"""Replicas of an inversion, each batch kept in a file of its own: none is lost to a kill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from glass_ml.files import atomic_path
from glass_ml.sampling.run import Report, batches_of, sample_batch
from glass_ml.sampling.sampler import noise_levels
from glass_ml.settings.sampling import SamplingConfig
from glass_ml.structures.state import Structures, concatenate

FIELDS = ("positions", "cell", "numbers", "system")


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
