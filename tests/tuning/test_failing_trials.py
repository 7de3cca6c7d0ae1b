"""Trials that go wrong: an error is told loudly and its settings are left behind, numbers that are none end a trial."""

import math
import os
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from glass_ml.tracking.runs import process_identity
from glass_ml.tuning.results import trial_row
from glass_ml.tuning.trials import LATE, claim, finished, give_up
from glass_ml.tuning.workers import Sweep, work

SPACE = {"x": FloatDistribution(-1, 1), "y": FloatDistribution(-1, 1)}


class Slope:
    """One objective of x and y; what happens at a trial may be stated by its number."""

    def __init__(self, **at: object):
        self.at = {int(name.removeprefix("trial_")): what for name, what in at.items()}

    def __call__(self, study: optuna.Study, trial: optuna.Trial) -> tuple[float]:
        what = self.at.get(trial.number, trial.params["x"] + trial.params["y"])
        if isinstance(what, BaseException):
            raise what
        return (what,)


def sweep_of(folder: Path, trials: int = 6, **at: object) -> Sweep:
    named = {"default": {"x": 0.5, "y": 0.0}}
    journal = str(folder / "journal.log")
    return Sweep("slope", journal, folder, SPACE, named, Slope(**at), ("loss",), trials, seed=3, startup=20)


def done(sweep: Sweep) -> list[dict]:
    return [t.params for t in finished(sweep.open())]


def test_the_next_command_goes_on_without_settings_that_fail(tmp_path: Path) -> None:
    whole = sweep_of(tmp_path / "whole", trials=8)
    work(whole)
    broken = sweep_of(tmp_path / "broken", trial_2=RuntimeError("no space"), trial_5=KeyError("table"))
    for error in (RuntimeError, KeyError):
        with pytest.raises(error):
            work(broken)
    work(broken)
    drawn = done(whole)
    assert done(broken) == [*drawn[:2], *drawn[3:5], *drawn[6:]]


@pytest.mark.parametrize("nothing", [math.nan, math.inf])
def test_a_result_that_is_no_number_ends_a_trial_for_good(tmp_path: Path, nothing: float) -> None:
    sweep = sweep_of(tmp_path, trial_2=nothing)
    work(sweep)
    trials = sweep.open().get_trials()
    assert [t.state for t in trials] == [TrialState.PRUNED if k == 2 else TrialState.COMPLETE for k in range(6)]
    assert trial_row(trials[2], ["loss"])["why"] == "no finite result"


def test_default_settings_that_fail_are_tried_again(tmp_path: Path) -> None:
    whole = sweep_of(tmp_path / "whole")
    work(whole)
    broken = sweep_of(tmp_path / "broken", trial_0=OSError("disk full"))
    with pytest.raises(OSError, match="disk full"):
        work(broken)
    work(broken)
    assert done(broken) == done(whole)


def test_after_an_error_nothing_is_drawn_twice_beside_other_workers(tmp_path: Path) -> None:
    study = sweep_of(tmp_path).open()
    trials = [claim(study, SPACE, 4, process_identity(os.getpid())) for _ in range(4)]
    give_up(study, trials[1], "RuntimeError: no space")
    again = claim(study, SPACE, 4, process_identity(os.getpid()))
    assert again.params not in [t.params for t in trials]


def test_a_trial_too_many_uses_no_draw_up(tmp_path: Path) -> None:
    study = sweep_of(tmp_path).open()
    late = [study.ask(SPACE) for _ in range(3)][2]
    give_up(study, late, LATE)
    assert study.ask(SPACE).params == late.params
