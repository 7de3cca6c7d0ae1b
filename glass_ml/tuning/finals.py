"""The finals of a sweep: which of its leading trials beats the default settings where luck has chosen nobody."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from glass_ml.errors import InputError
from glass_ml.settings.tuning import Finals, TuningConfig
from glass_ml.tuning.choice import leaders
from glass_ml.tuning.objective import OBJECTIVES, feasible, items_of
from glass_ml.tuning.pairs import COMPARED, chance, items_needed, log_ratios
from glass_ml.tuning.trials import STATED, finished, stated
from glass_ml.tuning.workers import Sweep, run_sweep

TIE = 0.01
"""Scores that differ by less than this fraction are taken as equal."""


@dataclass(frozen=True)
class FinalRound:
    """What is needed to hold the finals.

    Attributes:
        sweep: a sweep of its own, whose items are those of the finals; the default settings are stated.
        rules: who takes part, and who wins.
    """

    sweep: Sweep
    rules: Finals

    def hold(
        self, trials: Sequence[FrozenTrial], workers: int, *, progress: bool, heard: Callable[[], None]
    ) -> dict[str, Any] | None:
        """Have the finalists do the items of the finals, as far as they have not; None if no trial leads.

        Args:
            trials: of the sweep.
            workers: processes.
            progress: show a bar.
            heard: called whenever one is done.

        Returns:
            "study", "p" as asked for, "winner" (number of a trial, or None: the default settings stay, if they keep the
            limits) and "rows": of the default and of every candidate its "trial" (None for the default), "state",
            "items" (target, seed and numbers of each) and, where it came to the end, "values" and "keeps_limits". A
            candidate has, beside the default, "ratios" (geometric means over items of held-out misfit and realism, and
            "score", that of both), the standard "errors" of their logarithms, "p", the `chance` that its misfit is no
            smaller, and "p_worse", that its realism is no worse.
        """
        chosen = leaders(trials, self.rules.candidates)
        if not chosen:
            return None
        names = {final_name(t.number): t.params for t in chosen}
        sweep = replace(self.sweep, stated={**self.sweep.stated, **names})
        study = sweep.open()
        while not {*sweep.stated} <= {t.user_attrs.get(STATED) for t in finished(study)}:
            # Those of an earlier end of the sweep, or of one that ends elsewhere, are there too.
            run_sweep(replace(sweep, trials=len(stated(study))), workers, unit="final", progress=progress, heard=heard)
        by_name = {t.user_attrs.get(STATED): t for t in finished(study)}
        default, *others = (by_name[name] for name in sweep.stated)
        rows = [_row(default, None)]
        rows += [_beside(_row(t, c.number), rows[0], len(chosen)) for t, c in zip(others, chosen, strict=True)]
        winner = winner_of(rows, self.rules.p)
        return {"study": study.study_name, "p": self.rules.p, "winner": winner, "rows": rows}


def require_winnable(tuning: TuningConfig, where: str) -> None:
    """Check the finals that a sweep of sampling settings declares.

    Raises:
        InputError: nobody takes part, `p` is none, inversions that trials are chosen by, or too few for anybody to win.
    """
    rules = tuning.finals
    if rules.candidates < 1:
        raise InputError(f"{rules.candidates}", f"{where}.candidates", "give at least one")
    if not 0 < rules.p < 1:
        raise InputError(f"{rules.p:g} is no chance", f"{where}.p", "give one between 0 and 1, such as 0.1")
    targets = rules.targets or tuning.targets
    known = {(target, seed) for target in tuning.targets.values() for seed in tuning.seeds}
    for name, seed in [(n, s) for n, target in targets.items() for s in rules.seeds if (target, s) in known]:
        mend = "give others: the trials are chosen by this one"
        raise InputError(f"seed {seed} of target '{name}' is that of the trials", f"{where}.seeds", mend)
    items, needed = len(targets) * len(rules.seeds), items_needed(rules.p, rules.candidates)
    if 0 < items < needed:  # none at all are refused where they are made
        what = f"targets x seeds is {items}: nobody can win with candidates {rules.candidates} and p {rules.p:g}"
        raise InputError(what, where, f"have at least {needed}, fewer candidates or a larger p")


def final_name(number: int) -> str:
    """What the settings of a trial are called in the finals."""
    return f"trial {number}"


def _row(trial: FrozenTrial, number: int | None) -> dict[str, Any]:
    row: dict[str, Any] = {"trial": number, "state": trial.state.name.lower(), "items": items_of(trial.user_attrs)}
    if trial.state == TrialState.COMPLETE:
        values = dict(zip(OBJECTIVES, trial.values, strict=True))
        return row | {"values": values, "keeps_limits": feasible(trial)}
    return row | {"why": trial.user_attrs.get("pruned", "its process died every time")}


def _beside(row: dict[str, Any], default: Mapping[str, Any], candidates: int) -> dict[str, Any]:
    """A candidate's row with what it comes to beside the default, if both have come to the end."""
    if "values" not in row or "values" not in default:
        return row
    logs = {name: np.array(log_ratios(row["items"], default["items"], name)) for name in COMPARED}
    logs["score"] = np.mean(list(logs.values()), axis=0)
    n = len(row["items"])
    errors = {name: float(found.std(ddof=1) / n**0.5) if n > 1 else 0.0 for name, found in logs.items()}
    ratios = {name: float(np.exp(found.mean())) for name, found in logs.items()}
    chances = {"p": chance(logs["held_out"], candidates), "p_worse": chance(-logs["realism"])}
    return {**row, "ratios": ratios, "errors": errors, **chances}


def winner_of(rows: Sequence[Mapping[str, Any]], p: float) -> int | None:
    """The trial that wins the finals; None: the default settings stay, if they keep the limits.

    It keeps every limit, its held-out misfit is smaller than that of the default beyond a `chance` of `p`, and its
    realism is not worse beyond the same chance. Of several that with the least score; within 1 % of it fewer calls
    win, then the earlier trial. Where the default breaks a limit, any candidate that keeps them may win.

    Args:
        rows: of the default and of the candidates, as `FinalRound.hold` returns them.
        p: asked for.
    """
    default, *others = rows
    kept = [row for row in others if row.get("keeps_limits")]
    if default.get("keeps_limits"):
        kept = [row for row in kept if row["p"] <= p < row["p_worse"]]
    if not kept:
        return None

    def key(row: Mapping[str, Any]) -> float:
        return float(row["values"]["held_out"] * row["values"]["realism"]) ** 0.5

    equal = [row for row in kept if key(row) <= (1 + TIE) * min(map(key, kept))]
    return int(min(equal, key=lambda row: (row["values"]["calls"], row["trial"]))["trial"])
