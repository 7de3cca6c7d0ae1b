"""What a sweep has found, out of its storage: the numbers, the figures and the winner's file."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna import Study
from optuna.importance import get_param_importances
from optuna.trial import FrozenTrial, TrialState

from glass_ml.analysis.figures import save_png
from glass_ml.files import write_json
from glass_ml.tuning.choice import choose, default_trial, provenance, score
from glass_ml.tuning.figures import importance_figure, trial_figure
from glass_ml.tuning.objective import DEFAULT, feasible
from glass_ml.tuning.trials import FINISHED
from glass_ml.tuning.winner import Winner, write_winner

RESULT, PARETO, IMPORTANCE = "result.json", "pareto.png", "importance.png"


def write_results(
    study: Study, names: Sequence[str], folder: Path, winner_file: Path, system: str, command: str
) -> dict[str, Any]:
    """Write result.json, pareto.png and importance.png into `folder`, and the winner's file; returns the result.

    The winner's file lists the settings that differ from the default: none if the default has won. It is left as it is
    where no trial keeps the limits.
    """
    trials = study.get_trials(deepcopy=False)
    default, winner = default_trial(trials), choose(trials)
    importance = importances(study, names)
    result: dict[str, Any] = {
        "system": system,
        "study": study.study_name,
        "objectives": list(names),
        "counts": {state.name.lower(): sum(t.state == state for t in trials) for state in (*FINISHED, TrialState.FAIL)},
        "default": default.number if default else None,
        "winner": winner.number if winner else None,
        "importance": importance,
        "trials": [trial_row(t, names) for t in trials if t.state in FINISHED],
    }
    if winner and default:
        settings = {} if winner.user_attrs.get(DEFAULT) else dict(winner.params)
        origin = provenance(study.study_name, winner, default, names)
        write_winner(winner_file, Winner(system, settings, origin), command)
        result |= {"settings": settings, "score": score(winner, default), "file": winner_file.as_posix()}
    write_json(folder / RESULT, result)
    if any(t.state == TrialState.COMPLETE for t in trials):
        save_png(trial_figure(trials, names, winner), folder / PARETO)
    if importance:
        save_png(importance_figure(importance), folder / IMPORTANCE)
    return result


def trial_row(trial: FrozenTrial, names: Sequence[str]) -> dict[str, Any]:
    """A finished trial as plain numbers."""
    row: dict[str, Any] = {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "default": bool(trial.user_attrs.get(DEFAULT)),
        "settings": dict(trial.params),
    }
    if trial.state == TrialState.COMPLETE:
        row |= {"values": dict(zip(names, trial.values, strict=True)), "keeps_limits": feasible(trial)}
    else:
        row["why"] = trial.user_attrs.get("pruned", "its process died every time")
    return row


def importances(study: Study, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Objective -> setting -> its share of the variation between trials; nothing while there are too few of them.

    Network calls are left out: they follow from the settings by rule.
    """
    found = {}
    for k, name in enumerate(names):
        if name == "calls":
            continue
        values = [t.values[k] for t in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))]
        if len(values) < 4 or max(values) == min(values):
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found[name] = dict(sorted(get_param_importances(study, target=_value(k)).items()))
    return found


def _value(k: int) -> Any:
    return lambda trial: trial.values[k]


def result_text(result: Mapping[str, Any]) -> str:
    """The result in a few lines."""
    counts = result["counts"]
    lines = [f"{result['study']}: {counts['complete']} trials to the end, {counts['pruned']} ended early"]
    rows = {row["number"]: row for row in result["trials"]}
    for label in ("default", "winner"):
        if result[label] is not None:
            values = ", ".join(f"{name} {value:.4g}" for name, value in rows[result[label]]["values"].items())
            lines.append(f"{label:<8} trial {result[label]:<4} {values}")
    if result["winner"] is None:
        lines.append("no trial keeps the limits: nothing was chosen")
    elif not result["settings"]:
        lines.append("nothing is better than the default settings at their network calls: they stay")
    else:
        lines += [f"  {key}: {value:.4g}" if isinstance(value, float) else f"  {key}: {value}"
                  for key, value in result["settings"].items()]  # fmt: skip
        lines.append(f"written to {result['file']}")
    return "\n".join(lines)
