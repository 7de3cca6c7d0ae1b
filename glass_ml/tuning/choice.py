"""Which trials of sampling settings lead, and which trial of training settings wins."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from glass_ml.tuning.objective import feasible
from glass_ml.tuning.trials import is_default


def default_trial(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The complete trial of the default settings."""
    return next((t for t in trials if is_default(t) and t.state == TrialState.COMPLETE), None)


def score(trial: FrozenTrial, default: FrozenTrial) -> float:
    """Geometric mean of held-out misfit and realism, relative to the default settings: 1 is as good, less is better."""
    ratios = [value / max(reference, 1e-12) for value, reference in zip(trial.values, default.values, strict=True)]
    return float((ratios[0] * ratios[1]) ** 0.5) if len(ratios) > 1 else ratios[0]


def leaders(trials: Sequence[FrozenTrial], number: int) -> list[FrozenTrial]:
    """The trials of sampling settings that go into the finals, the best first.

    Complete ones that keep every limit, need no more network calls than the default settings and have a smaller
    `score`; where the default breaks a limit, a larger one too.
    """
    default = default_trial(trials)
    if default is None:
        return []
    complete = [t for t in trials if t.state == TrialState.COMPLETE and feasible(t) and t is not default]
    allowed = [t for t in complete if t.values[-1] <= default.values[-1]]
    better = [t for t in allowed if score(t, default) < 1 or not feasible(default)]
    return sorted(better, key=lambda t: (score(t, default), t.values[-1], t.number))[:number]


def least_loss(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The winner of a sweep of training settings; the earlier trial among equals."""
    complete = [t for t in trials if t.state == TrialState.COMPLETE]
    return min(complete, key=lambda t: (t.values[0], t.number), default=None)
