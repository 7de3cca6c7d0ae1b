"""Settings of a surrogate: what it sees of an atom's environment, its networks, their training."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from glass_ml.errors import InputError


@dataclass(frozen=True)
class EnvironmentConfig:
    """What of its surroundings an atom sees at first hand.

    Attributes:
        cutoff: radius of the neighbourhood, Å; message passing reaches farther, one radius a round.
        radial: Gaussian functions that describe a distance.
        coordinations: coordination numbers at which bumps of width `coordination_width` sort the neighbours; none
            leaves them unsorted.
        coordination_width: standard deviation of such a bump, in neighbours.
    """

    cutoff: float = 2.8
    radial: int = 8
    coordinations: tuple[float, ...] = (2.0, 3.0, 4.0)
    coordination_width: float = 0.45

    def __post_init__(self) -> None:
        """Reject what describes no environment."""
        if not 0 < self.cutoff < math.inf:
            raise InputError(f"cutoff {self.cutoff} is not a positive length", "environment.cutoff", "give Å")
        if self.radial < 2:
            raise InputError(f"{self.radial} is below 2", "environment.radial", "give at least 2")
        if not 0 < self.coordination_width < math.inf:
            raise InputError(f"width {self.coordination_width} is not positive", "environment.coordination_width")

    def centres(self, elements: int) -> int:
        """Numbers that describe an atom itself."""
        return elements + len(self.coordinations)

    def channels(self, elements: int) -> int:
        """Radial functions of all kinds of neighbours."""
        return elements * (1 + len(self.coordinations)) * self.radial


@dataclass(frozen=True)
class SurrogateConfig:
    """Size of the surrogate.

    Attributes:
        environment: what an atom sees at first hand.
        channels: learned products per degree of the first densities.
        features: width of the atom features.
        rounds: of message passing.
        message_channels: learned products per degree and round.
        components: principal components of the training spectra that are predicted.
        members: networks in the ensemble.
        blind_members: how many of them, the last ones, are not told coordination numbers. They err in other places, so
            that the mean is better and the spread says more.
    """

    environment: EnvironmentConfig = field(default_factory=EnvironmentConfig)
    channels: int = 24
    features: int = 64
    rounds: int = 1
    message_channels: int = 12
    components: int = 20
    members: int = 4
    blind_members: int = 2

    def __post_init__(self) -> None:
        """Reject sizes that make no surrogate."""
        least = {"channels": 1, "features": 1, "rounds": 0, "message_channels": 1, "components": 1, "members": 2}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                what = f"{getattr(self, name)} is below {smallest}"
                raise InputError(what, f"surrogate.{name}", f"give at least {smallest}")
        if not 0 <= self.blind_members <= self.members:
            what = f"{self.blind_members} of {self.members} members"
            raise InputError(what, "surrogate.blind_members", "give at most as many as there are members")

    def is_blind(self, member: int) -> bool:
        """Whether a member, counted from 0, is not told coordination numbers."""
        return member >= self.members - self.blind_members


@dataclass(frozen=True)
class SurrogateTraining:
    """How every member of a surrogate is trained.

    Attributes:
        steps: optimiser steps.
        batch: structures per step.
        learning_rate: of Adam, which trains vectors; peak of the schedule, cosine to zero over `steps`.
        matrix_rate: of the orthogonalised steps that train matrices, on the same schedule; 0 leaves them to Adam.
        decay: of the matrices, times their learning rate, at every step.
        dropout: share of features that is left out.
        averages: weight of the loss of spectra averaged over random sets of `average_size` atoms, times their size:
            it is cell averages that are measured.
        average_size: atoms of such a set.
        warmup: steps of linear warm-up.
        clip: largest norm of the gradient.
        ema: decay of the moving average of the weights, approached as (1 + n) / (10 + n).
        epoch_steps: steps between checkpoints.
        hold_out: what is held out together to measure errors: structures of one "density", or of one "label".
        threads: CPU threads; 0 leaves torch's choice.
        seed: of the initial weights, the batches and the dropout.
    """

    steps: int = 1000
    batch: int = 2
    learning_rate: float = 2e-3
    matrix_rate: float = 0.01
    decay: float = 0.5
    dropout: float = 0.15
    averages: float = 1.0
    average_size: int = 16
    warmup: int = 50
    clip: float = 1.0
    ema: float = 0.995
    epoch_steps: int = 250
    hold_out: Literal["density", "label"] = "density"
    threads: int = 1
    seed: int = 0
