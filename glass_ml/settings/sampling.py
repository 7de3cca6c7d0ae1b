"""Settings of an inversion: noise levels, solver, guidance, temperature."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from glass_ml.errors import InputError


@dataclass(frozen=True)
class ScheduleConfig:
    """Noise levels of one run.

    Attributes:
        steps: levels from `sigma_max` down to `sigma_min`, both included.
        sigma_max: first noise level, Å.
        sigma_min: last noise level, Å; the clean estimate made there is the result.
        rho: spacing of the grid; 1 is linear, 7 crowds the levels at small noise.
        restarts: how often the interval below is run through again.
        restart_low: noise level, Å, at which a Restart begins.
        restart_high: noise level, Å, up to which it adds noise.
        restart_steps: levels of one Restart interval.
    """

    steps: int = 600
    sigma_max: float = 0.9
    sigma_min: float = 0.05
    rho: float = 0.8
    restarts: int = 0
    restart_low: float = 0.1
    restart_high: float = 0.4
    restart_steps: int = 12


@dataclass(frozen=True)
class Temperature:
    """Temperature T of the posterior p(x | data)^(1/T) that is sampled, by noise level.

    1 is Bayes' rule for the prior as it is. A prior of cheap simulations knows structures that were quenched faster
    than those of a laboratory, frozen in at a higher temperature, with more defects. Below 1 the same prior is that
    of a colder, better annealed glass. Its vibrations are not colder: at noise levels of their own size the structure
    is decided, and the temperature can be that of the training data again.

    Attributes:
        structure: T at noise levels above `vibration`; 0 optimises.
        vibration: Å; at and below this noise level T is 1; 0 leaves the vibrations as cold as the structure.
    """

    structure: float = 0.1
    vibration: float = 0.0

    def at(self, sigma: float) -> float:
        """T at noise level `sigma` (Å)."""
        return self.structure if sigma > self.vibration else 1.0


@dataclass(frozen=True)
class StepConfig:
    """How the loop goes from one noise level to the next.

    Attributes:
        solver: "gibbs" draws clean and noisy structures by turns; "ancestral" takes mean clean structures and renews
            part of the noise; "multistep" is the deterministic second-order solver.
        kept: share of the noise that "gibbs" and "ancestral" keep, -1 to 1; see `sampler.stochastic_step`.
    """

    solver: Literal["gibbs", "ancestral", "multistep"] = "gibbs"
    kept: float = -0.6


@dataclass(frozen=True)
class GuidanceConfig:
    """How measurements steer the reverse process.

    Attributes:
        kind: "decoupled" (`Decoupled`), "dps" (`PosteriorScore` through the network), "dps-fixed" (the same without
            the network's Jacobian) or "none".
        iterations: Gauss-Newton steps of "decoupled" per noise level.
        strength: of "dps" and "dps-fixed"; factor of the likelihood's gradient.
        largest: displacement per atom and step, Å, at which guidance is cut.
    """

    kind: Literal["decoupled", "dps", "dps-fixed", "none"] = "decoupled"
    iterations: int = 2
    strength: float = 1.0
    largest: float = 0.3


@dataclass(frozen=True)
class SamplingConfig:
    """One inversion.

    Attributes:
        schedule: noise levels.
        step: solver.
        guidance: how the data enter.
        fit: "structure": every replica explains the data alone; "ensemble": their mean does.
        batch: replicas that are computed together; with fit "ensemble" all of them are.
        temperature: of the posterior that is sampled.
        minimum_distance: shortest allowed distances, as a factor of the shortest in the prior's training data;
            0 switches the constraint off.
    """

    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    step: StepConfig = field(default_factory=StepConfig)
    guidance: GuidanceConfig = field(default_factory=GuidanceConfig)
    fit: Literal["structure", "ensemble"] = "structure"
    batch: int = 1
    temperature: Temperature = field(default_factory=Temperature)
    minimum_distance: float = 1.0

    def __post_init__(self) -> None:
        """Reject settings that no inversion can have."""
        checks = {
            "batch": self.batch >= 1,
            "minimum_distance": 0 <= self.minimum_distance < 2,
            "step.kept": -1 <= self.step.kept <= 1,
            "guidance.iterations": self.guidance.iterations >= 1,
            "temperature.structure": 0 <= self.temperature.structure < math.inf,
            "temperature.vibration": 0 <= self.temperature.vibration < math.inf,
            "guidance.strength": 0 <= self.guidance.strength < math.inf,
            "guidance.largest": 0 < self.guidance.largest < math.inf,
        }
        for name, fine in checks.items():
            if not fine:
                raise InputError("value out of range", f"sampling.{name}", "see glass_ml/settings/sampling.py")
        if self.guidance.kind in ("dps", "dps-fixed") and self.step.solver == "gibbs":
            what = f"'gibbs' wants draws of clean structures, and guidance '{self.guidance.kind}' gives means"
            raise InputError(what, "sampling.step.solver", "use ancestral or multistep")
