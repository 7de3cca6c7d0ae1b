"""Pairwise pruning: what ends a trial early, and that a bad one does end."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from optuna.distributions import FloatDistribution
from small_sweep import TUNING, write_recipe

from glass_ml.analysis.ensemble import Anatomy
from glass_ml.settings.recipe import system_config
from glass_ml.settings.tuning import Limits, Pruning
from glass_ml.stages.tune import make_items
from glass_ml.tuning.objective import SamplingObjective, items_of
from glass_ml.tuning.score import Finished, beaten_by, defects, geometric_mean, score, total

GOOD = [{"held_out": 0.1, "realism": 2.0}, {"held_out": 0.4, "realism": 1.0}, {"held_out": 0.2, "realism": 4.0}]
RULES = Pruning(after=2, p=0.1, margin=0.05)


def scaled(held_out: list[float], realism: list[float]) -> list[dict]:
    """The good items with both numbers multiplied."""
    rows = zip(GOOD, held_out, realism, strict=False)
    return [{"held_out": g["held_out"] * a, "realism": g["realism"] * b} for g, a, b in rows]


@pytest.mark.parametrize(
    "calls, items, ended",
    [
        (100, scaled([1.5, 1.45], [1.3, 1.32]), True),
        (100, scaled([1.5], [1.3]), False),  # one item says nothing
        (100, scaled([1.5, 1.45], [0.9, 0.95]), False),  # more realistic: a compromise
        (60, scaled([1.5, 1.45], [1.3, 1.32]), False),  # cheaper: another one
        (100, scaled([1.5, 0.98], [1.3, 1.32]), False),  # once better, once worse
        (100, scaled([1.5, 1.4, 0.98], [1.3, 1.1, 1.2]), True),
        (100, scaled([1.01, 1.011, 1.01], [1.3, 1.31, 1.29]), False),  # sure, but not worth it
    ],
)
def test_a_trial_ends_when_another_is_better_beyond_doubt(calls: int, items: list[dict], ended: bool) -> None:
    found = beaten_by(calls, items, [Finished(7, 80, GOOD)], RULES)
    assert found == (7 if ended else None)


def test_targets_count_by_ratio_and_not_by_size() -> None:
    """Unpaired, the spread between targets hides what every pair shows."""
    worse = scaled([1.2, 1.21], [1.2, 1.19])
    spread = np.std([g["held_out"] for g in GOOD])
    assert spread > 5 * (worse[0]["held_out"] - GOOD[0]["held_out"])
    assert beaten_by(100, worse, [Finished(0, 100, GOOD)], RULES) == 0


@pytest.fixture
def objective(sweep_project: Path) -> SamplingObjective:
    write_recipe(sweep_project)
    config = system_config("a-Si")
    tuning = config.tuning
    items = make_items("a-Si", config.study, tuning.targets, tuning.seeds, Path("targets-of-sweep"), "here")
    return SamplingObjective(items, config.sampling, Path("models/a-Si"), 1, 32, tuning.limits, RULES)


def test_a_bad_trial_is_ended_and_the_default_never_is(objective: SamplingObjective) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=["minimize"] * 3)
    space = {"guidance.largest": FloatDistribution(1e-4, 1.0)}
    for largest, default in ((0.3, False), (1e-4, False), (1e-4, True)):
        study.enqueue_trial({"guidance.largest": largest}, user_attrs={"stated": "default"} if default else {})
    good, bad, default = (study.ask(space) for _ in range(3))
    study.tell(good, objective(study, good))
    with pytest.raises(optuna.TrialPruned, match="trial 0 is better on the same 2 items"):
        objective(study, bad)  # guidance that can move nothing
    assert len(items_of(bad.user_attrs)) == 2 and len(items_of(good.user_attrs)) == 3
    study.tell(default, objective(study, default))
    values = [study.get_trials()[k].values for k in (0, 2)]
    assert values[0][0] < values[1][0] and values[0][2] == values[1][2] == 8
    assert [set(t.constraints) for t in study.get_trials()] == [
        {"too_close", "defects"},
        set(),
        {"too_close", "defects"},
    ]


def test_items_that_are_done_are_not_done_again(objective: SamplingObjective) -> None:
    study = optuna.create_study(directions=["minimize"] * 3)
    kept = {f"item {k}": {"held_out": 0.5, "realism": 2.0, "angle.rmse": 1.0, "coordination.emd": 1.0,
                          "too_close": 0.0, "defects": 0.0} for k in range(3)}  # fmt: skip
    study.enqueue_trial({}, user_attrs=kept)
    assert objective(study, study.ask()) == pytest.approx((0.5, 2.0, 8.0))


def test_settings_that_exclude_each_other_end_a_trial(objective: SamplingObjective) -> None:
    study = optuna.create_study(directions=["minimize"] * 3)
    trial = study.ask({"schedule.sigma_max": FloatDistribution(0.01, 0.02)})
    with pytest.raises(optuna.TrialPruned, match="impossible settings: schedule: needs"):
        objective(study, trial)


def test_steps_that_explode_end_a_trial_and_other_errors_do_not(
    objective: SamplingObjective, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = optuna.create_study(directions=["minimize"] * 3)
    hidden = objective.items[0].reference[0]
    monkeypatch.setattr("glass_ml.tuning.objective.sample_prior", lambda *_: hidden.at(hidden.positions * torch.nan))
    with pytest.raises(optuna.TrialPruned, match=r"g\(r\), seed 0: .*non-finite"):
        objective(study, study.ask())
    monkeypatch.setattr("glass_ml.tuning.objective.sample_prior", lambda *_: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="inconsistent tensor size"):
        objective(study, study.ask())


def test_the_hidden_structures_score_best(objective: SamplingObjective) -> None:
    item = objective.items[0]
    shortest = [[14, 14, 1.9]]
    own = score(item, item.reference, shortest, Limits())
    shaken = item.reference.at(
        item.reference.positions + 0.3 * torch.from_numpy(np.random.default_rng(0).normal(size=(256, 3)))
    )
    other = score(item, shaken, shortest, Limits())
    assert set(own) >= {"R X-ray", "R EXAFS Si K", "held_out", "realism", "too_close", "defects"}
    assert own["held_out"] < 0.5 * other["held_out"] and own["realism"] < 0.2 * other["realism"]
    assert (
        own["too_close"] == 0 < other["too_close"]
        and defects(item.reference, Anatomy.of(item.reference)) == 0 < other["defects"]
    )
    assert other["held_out"] == pytest.approx(geometric_mean([v for k, v in other.items() if k.startswith("R ")]))
    assert total([own, other])["held_out"] == pytest.approx((own["held_out"] * other["held_out"]) ** 0.5)


def test_only_named_quenches_and_probes_are_seen(sweep_project: Path) -> None:
    config = system_config("a-Si")
    target = replace(config.tuning.targets["g(r)"], quenches=(1,))
    (item,) = make_items("a-Si", config.study, {"one": target}, (4,), Path("targets-of-sweep"), "here")
    assert item.reference.n_systems == 2 and item.seed == 4
    assert [(m.name, m.use) for m in item.target.measurements] == [("g(r)", "fit")]
    assert [(m.name, m.use) for m in item.judge.measurements] == [("X-ray", "validate"), ("EXAFS Si K", "validate")]
    assert TUNING.count("quenches") == 0
