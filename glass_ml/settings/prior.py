"""Settings of a prior: its network, the noise that it learns from, its training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from glass_ml.errors import InputError


@dataclass(frozen=True)
class PrepareConfig:
    """Which structures become training data.

    Attributes:
        states: "thermal" snapshots, "minimised" structures, or "all".
        validation_share: chance of a quench to be held out; which are is decided by a hash of their names.
    """

    states: Literal["thermal", "minimised", "all"] = "thermal"
    validation_share: float = 0.1


@dataclass(frozen=True)
class NetworkConfig:
    """Size of the network.

    Attributes:
        cutoff: radius of the neighbourhood, Å.
        features: width of the atom and edge features.
        layers: number of angular message-passing layers.
        channels: independent neighbour densities per layer.
        radial: Gaussian functions that describe a distance.
    """

    cutoff: float = 4.5
    features: int = 64
    layers: int = 4
    channels: int = 8
    radial: int = 24

    def __post_init__(self) -> None:
        """Reject sizes that make no network."""
        if not 0 < self.cutoff < math.inf:
            raise InputError(f"cutoff {self.cutoff} is not a positive length", "network.cutoff", "give Å")
        for name, least in (("features", 1), ("layers", 1), ("channels", 1), ("radial", 2)):
            if getattr(self, name) < least:
                raise InputError(f"{getattr(self, name)} is below {least}", f"network.{name}", f"give at least {least}")


@dataclass(frozen=True)
class NoiseConfig:
    """Distribution of the training noise.

    Attributes:
        sigma_min: smallest noise level, Å.
        sigma_max: largest noise level, Å.
        core_min: lower end of the range that most samples come from, Å.
        core_max: upper end of that range, Å.
        core_share: share of the samples that are log-uniform in [core_min, core_max]; the others are
            log-uniform in [sigma_min, sigma_max].
    """

    sigma_min: float = 0.02
    sigma_max: float = 1.8
    core_min: float = 0.08
    core_max: float = 0.9
    core_share: float = 0.75


@dataclass(frozen=True)
class TrainingConfig:
    """How a prior is trained.

    Attributes:
        steps: optimiser steps.
        batch: structures per step and process.
        learning_rate: of Adam, which trains vectors and thin matrices; peak of the schedule, cosine to zero over
            `steps`.
        matrix_rate: of the orthogonalised steps that train weight matrices (`MatrixOptimiser`), on the same schedule;
            0 leaves them to Adam.
        warmup: steps of linear warm-up.
        clip: largest norm of the gradient.
        ema: decay of the moving average of the weights, approached as (1 + n) / (10 + n).
        epoch_steps: steps between validations and checkpoints.
        validation_structures: held-out structures used at most.
        threads: CPU threads; 0 leaves torch's choice.
        precision: of the training steps; "bf16-mixed" computes matrix products in bfloat16, where the processor has it.
            Held-out losses and the weights that are kept are float32.
        compile: whether torch.compile makes the training steps; where it fails they go on without.
        seed: of the initial weights and of the noise.
    """

    steps: int = 24000
    batch: int = 2
    learning_rate: float = 2e-3
    matrix_rate: float = 0.01
    warmup: int = 200
    clip: float = 1.0
    ema: float = 0.999
    epoch_steps: int = 500
    validation_structures: int = 8
    threads: int = 1
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    compile: bool = False
    seed: int = 0
