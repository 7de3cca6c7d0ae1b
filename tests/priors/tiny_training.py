"""A training of seconds: eight atoms of diamond, a network of a few hundred weights.

Run as a script it trains in a process of its own: `tiny_training.py DATA OUT STATE OPTIONS`, where OPTIONS is the
JSON of the Lightning trainer's options; under "training", of fields of `TrainingConfig`; under "kill_at", of the
optimiser step at which the process kills itself.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk

from glass_ml.settings.prior import NetworkConfig, NoiseConfig

NETWORK = NetworkConfig(cutoff=3.0, features=8, layers=2, channels=2, radial=8)
NAMES = [f"quench-{k}" for k in range(6)]
NOISE = NoiseConfig(sigma_min=0.05, sigma_max=0.5, core_min=0.1, core_max=0.4)


def quenches(names: list[str], frames_each: int = 2) -> list[Atoms]:
    """Thermal diamond silicon; frames of one quench share its strain."""
    frames = []
    for name in names:
        rng = np.random.default_rng(list(name.encode()))
        crystal = bulk("Si", "diamond", a=5.43 + rng.normal(scale=0.05), cubic=True)
        for _ in range(frames_each):
            atoms = crystal.copy()
            atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
            atoms.info["quench"] = name
            frames.append(atoms)
    return frames


def train(data: Path, out: Path, state: Path, options: dict[str, Any]) -> dict[str, float]:
    """Train on a prepared folder."""
    from glass_ml.priors.dataset import StructureFile
    from glass_ml.priors.training import train_prior
    from glass_ml.settings.prior import TrainingConfig

    defaults = {"steps": 24, "batch": 2, "epoch_steps": 4, "validation_structures": 1, "warmup": 2, "seed": 5}
    options = dict(options)
    return train_prior(
        StructureFile(data),
        out,
        state,
        system="a-Si",
        network=NETWORK,
        noise=NOISE,
        training=TrainingConfig(**{**defaults, **options.pop("training", {})}),
        trainer_options={"accelerator": "cpu", "devices": 1, **options},
        progress=False,
    )


def kill_at(step: int) -> None:
    """Have this process killed, as by kill -9, when it comes to that optimiser step."""
    from glass_ml.priors.module import DenoisingModule

    original = DenoisingModule.training_step

    def training_step(self: DenoisingModule, batch: Any, batch_idx: int) -> Any:
        if self.trainer.global_step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, batch, batch_idx)

    DenoisingModule.training_step = training_step  # type: ignore[method-assign]


if __name__ == "__main__":
    chosen = json.loads(sys.argv[4])
    if "kill_at" in chosen:
        kill_at(chosen.pop("kill_at"))
    train(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), chosen)
