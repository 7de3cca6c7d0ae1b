"""Every setting of an inversion, declared once; `params.yaml` holds them per system."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from glass_ml.errors import InputError
from glass_ml.sampling.guidance import Decoupled, Guidance, PosteriorScore, Unguided
from glass_ml.sampling.loop import StepConfig
from glass_ml.sampling.protocols import Denoiser, Likelihood
from glass_ml.sampling.schedules import ScheduleConfig, Temperature


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
            "temperature.structure": self.temperature.structure >= 0,
            "temperature.vibration": self.temperature.vibration >= 0,
            "guidance.strength": self.guidance.strength >= 0,
            "guidance.largest": self.guidance.largest > 0,
        }
        for name, fine in checks.items():
            if not fine:
                raise InputError("value out of range", f"sampling.{name}", "see glass_ml/sampling/config.py")
        if self.guidance.kind in ("dps", "dps-fixed") and self.step.solver == "gibbs":
            what = f"'gibbs' wants draws of clean structures, and guidance '{self.guidance.kind}' gives means"
            raise InputError(what, "sampling.step.solver", "use ancestral or multistep")


def make_guidance(config: SamplingConfig, denoiser: Denoiser, likelihood: Likelihood | None) -> Guidance:
    """The guidance that a configuration names; without a likelihood the prior alone."""
    guidance = config.guidance
    temperature = config.temperature if config.step.solver == "gibbs" else None  # the others want means, not draws
    if likelihood is None or guidance.kind == "none":
        return Unguided(denoiser, temperature)
    if guidance.kind == "decoupled":
        return Decoupled(denoiser, likelihood, guidance.iterations, temperature, guidance.largest)
    return PosteriorScore(denoiser, likelihood, guidance.kind == "dps", guidance.strength, guidance.largest)
