"""Which trial of a sweep wins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from glass_ml.tuning.objective import DEFAULT, feasible

TIE = 0.01
"""Scores that differ by less than this fraction are taken as equal."""


def default_trial(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The complete trial of the default settings."""
    found = (t for t in trials if t.user_attrs.get(DEFAULT) and t.state == TrialState.COMPLETE)
    return next(found, None)


def score(trial: FrozenTrial, default: FrozenTrial) -> float:
    """Geometric mean of held-out misfit and realism, relative to the default settings: 1 is as good, less is better."""
    ratios = [value / max(reference, 1e-12) for value, reference in zip(trial.values, default.values, strict=True)]
    return float((ratios[0] * ratios[1]) ** 0.5) if len(ratios) > 1 else ratios[0]


def choose(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The winner of a sweep.

    Of the complete trials that keep every limit and need no more network calls than the default settings, the one of
    the least `score`. Scores within 1 % of it count as equal; then fewer calls win, then the default, then the earlier
    trial. Of a sweep of training settings, the least loss wins. None if no trial keeps the limits.
    """
    default = default_trial(trials)
    if default is None:
        return None
    complete = [t for t in trials if t.state == TrialState.COMPLETE and feasible(t)]
    allowed = [t for t in complete if t.values[-1] <= default.values[-1]] if len(default.values) > 1 else complete
    if not allowed:
        return None
    if len(default.values) == 1:
        return min(allowed, key=lambda t: (t.values[0], t.number))
    best = min(score(t, default) for t in allowed)
    equal = [t for t in allowed if score(t, default) <= (1 + TIE) * best]
    return min(equal, key=lambda t: (t.values[-1], not t.user_attrs.get(DEFAULT), t.number))


def provenance(study: str, trial: FrozenTrial, default: FrozenTrial, names: Sequence[str]) -> dict[str, Any]:
    """What a winner's file says of its origin."""

    def shown(t: FrozenTrial) -> dict[str, float]:
        return {name: float(f"{value:.6g}") for name, value in zip(names, t.values, strict=True)}

    return {"study": study, "trial": trial.number, "values": shown(trial), "default": shown(default)}
