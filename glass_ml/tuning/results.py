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
from glass_ml.settings.winner import Winner, write_winner
from glass_ml.tuning.figures import finals_figure, importance_figure, trial_figure
from glass_ml.tuning.finals import default_trial, least_loss, score
from glass_ml.tuning.objective import feasible, outcome
from glass_ml.tuning.score import COMPARED
from glass_ml.tuning.trials import FINISHED, is_default

RESULT, PARETO, IMPORTANCE, FINALS = "result.json", "pareto.png", "importance.png", "finals.png"


def write_results(
    study: Study,
    names: Sequence[str],
    finals: Mapping[str, Any] | None,
    folder: Path,
    winner_file: Path,
    system: str,
    command: str,
) -> dict[str, Any]:
    """Write result.json, the figures and the winner's file; returns the result.

    The winner's file lists the settings that differ from the default: none if the default has won. It is left as it is
    where nothing keeps the limits.

    Args:
        study: of the sweep, with all its trials.
        names: of the objectives.
        finals: what `FinalRound.hold` returns.
        folder: receives result.json, pareto.png, importance.png and finals.png.
        winner_file: receives the winner's settings.
        system: the material.
        command: of the sweep, for the head of that file.
    """
    trials = study.get_trials(deepcopy=False)
    default, winner = default_trial(trials), _winner(trials, finals)
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
        "finals": finals,
    }
    if winner and default:
        settings = {} if is_default(winner) else dict(winner.params)
        result |= {"settings": settings, "score": _score(winner, default, finals), "file": winner_file.as_posix()}
        write_winner(winner_file, Winner(system, settings, provenance(result)), command)
    write_json(folder / RESULT, result)
    if any(t.state == TrialState.COMPLETE for t in trials):
        save_png(trial_figure(trials, names, winner), folder / PARETO)
    if importance:
        save_png(importance_figure(importance), folder / IMPORTANCE)
    if finals:
        save_png(finals_figure(finals), folder / FINALS)
    else:
        (folder / FINALS).unlink(missing_ok=True)  # of an earlier end of the sweep
    return result


def _winner(trials: Sequence[FrozenTrial], finals: Mapping[str, Any] | None) -> FrozenTrial | None:
    """The trial that has won; None where nothing keeps the limits."""
    default = default_trial(trials)
    if default is None or len(default.values) == 1:
        return least_loss(trials) if default else None
    if finals and finals["winner"] is not None:
        return next(t for t in trials if t.number == finals["winner"])
    keeps = finals["rows"][0].get("keeps_limits", False) if finals else feasible(default)
    return default if keeps else None


def _score(winner: FrozenTrial, default: FrozenTrial, finals: Mapping[str, Any] | None) -> float | None:
    """The winner's score beside the default: that of the finals; None if the default has not come to their end."""
    if not finals or winner is default:
        return score(winner, default)
    found = _final_row(finals, winner.number)
    return found["ratios"]["score"] if "ratios" in found else None


def _final_row(finals: Mapping[str, Any], trial: int) -> Mapping[str, Any]:
    return next(row for row in finals["rows"] if row["trial"] == trial)


def final_values(result: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """ "winner" and "default" -> objectives, both measured alike: in the finals, or in the trials if none were held."""
    if finals := result["finals"]:
        rows = {row["trial"]: row for row in finals["rows"]}
        numbers = {"winner": finals["winner"], "default": None}
    else:
        rows = {row["number"]: row for row in result["trials"]}
        numbers = {label: result[label] for label in ("winner", "default")}
    found = {label: rows[number]["values"] for label, number in numbers.items() if "values" in rows.get(number, {})}
    return found if result["winner"] is not None else {k: v for k, v in found.items() if k == "default"}


def provenance(result: Mapping[str, Any]) -> dict[str, Any]:
    """What a winner's file says of its origin."""
    values = {
        label: {name: float(f"{value:.6g}") for name, value in found.items()}
        for label, found in final_values(result).items()
    }
    origin = {"study": result["study"], "trial": result["winner"], "values": values.pop("winner"), **values}
    if (finals := result["finals"]) and finals["winner"] is not None:
        row = _final_row(finals, finals["winner"])
        chances = {name: float(f"{row[name]:.3g}") for name in ("p", "p_worse") if name in row}
        origin["finals"] = {"items": len(row["items"]), **chances}
    return origin


def trial_row(trial: FrozenTrial, names: Sequence[str]) -> dict[str, Any]:
    """A finished trial as plain numbers."""
    own = {"number": trial.number, "default": is_default(trial), "settings": dict(trial.params)}
    return {**own, **outcome(trial, names)}


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
    lines += finals_lines(result)
    for label, found in sorted(final_values(result).items()):
        values = ", ".join(f"{name} {value:.4g}" for name, value in found.items())
        lines.append(f"{label:<8} trial {result[label]:<4} {values}")
    if result["winner"] is None:
        lines.append("no trial keeps the limits: nothing was chosen")
    elif not result["settings"]:
        lines.append("nothing is significantly better than the default settings at their network calls: they stay")
    else:
        lines += [f"  {key}: {value:.4g}" if isinstance(value, float) else f"  {key}: {value}"
                  for key, value in result["settings"].items()]  # fmt: skip
        lines.append(f"written to {result['file']}")
    return "\n".join(lines)


def finals_lines(result: Mapping[str, Any]) -> list[str]:
    """How the candidates did in the finals beside the default, a line each."""
    if not (finals := result["finals"]):
        return []
    lines = [f"finals of {len(finals['rows']) - 1} candidates, {len(finals['rows'][0]['items'])} items:"]
    for row in finals["rows"][1:]:
        if "ratios" in row:
            better, worse = (f"{row['ratios'][name]:.3f} of the default's" for name in COMPARED)
            told = f"held_out {better} (p {row['p']:.2g}), realism {worse} (worse: p {row['p_worse']:.2g})"
            told += "" if row["keeps_limits"] else ", breaks a limit"
        else:
            told = row.get("why", "the default has not come to the end")
        lines.append(f"  trial {row['trial']:<4} {told}")
    return lines


def sweep_note(result: Mapping[str, Any]) -> str:
    """The result as the text that the run of a sweep opens with, Markdown."""
    rows = {row["number"]: row for row in result["trials"]}
    values = final_values(result)
    if result["winner"] is None or "winner" not in values:
        return "**No trial keeps the limits: nothing was chosen.**"
    chosen = [label for label in ("winner", "default") if label in values]
    tuned = result["settings"]
    answer = f"Trial {result['winner']} is better than the default" if tuned else "Nothing is better than the default"
    if result["finals"]:
        answer += ", measured on what no trial was chosen by" if tuned else " by a significant margin"
    heads = [f"{label} (trial {result[label]})" for label in chosen]
    lines = [f"**{answer}**; all numbers are better when small.", "", f"| | {' | '.join(heads)} |"]
    lines.append("|---" * (len(chosen) + 1) + "|")
    for name in result["objectives"]:
        shown = (f"{values[label][name]:.4g}" for label in chosen)
        lines.append(f"| {name} | {' | '.join(shown)} |")
    for name in rows[result["winner"]]["settings"]:
        settings = (rows[result[label]]["settings"][name] for label in chosen)
        shown = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in settings)
        lines.append(f"| {name} | {' | '.join(shown)} |")
    if told := finals_lines(result):
        lines += ["", "```", *told, "```"]
    where = f"Trials against each other: artifact `{PARETO}`; which settings matter: `{IMPORTANCE}`"
    return "\n".join([*lines, "", f"{where}{f'; the finals: `{FINALS}`' if result['finals'] else ''}."])
