"""The finals of a sweep: who takes part, who wins, and that a kill loses and doubles nothing."""

import json
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.stats import ttest_1samp
from small_sweep import TUNING, finished_numbers, start, stopped_worker, study_of, write_recipe
from waiting import until

from glass_ml.cli.main import main
from glass_ml.config import build
from glass_ml.settings.tuning import TuningConfig
from glass_ml.settings.winner import read_winner
from glass_ml.tracking.store import open_store
from glass_ml.tuning import finals
from glass_ml.tuning.finals import _beside, require_winnable, winner_of
from glass_ml.tuning.record import record_sweep
from glass_ml.tuning.results import finals_lines
from glass_ml.tuning.score import chance, items_needed
from glass_ml.tuning.trials import finished

FOLDER = Path("sweeps/a-Si")
WEAK = 1e-3  # guidance that moves next to nothing: trials with more lead
ONE_AXIS = """
      winner: tuned/a-Si.yaml
      space: {guidance.largest: {low: 0.001, high: 0.5}}
      targets: {g(r): {reference: hidden.extxyz, fit: [g(r)], validate: [X-ray, EXAFS]}}
      seeds: [0]
      n_atoms: 32
      startup: 3
      limits: {too_close: 2.0, defects: 2.0}
      finals: {candidates: 2, seeds: [10, 11, 12, 13, 14, 15]}
"""


def row(number: int | None, held_out: list[float], realism: list[float], calls: int = 100, keeps: bool = True) -> dict:
    """A finalist with these numbers, item by item."""
    values = {"held_out": np.exp(np.mean(np.log(held_out))), "realism": np.exp(np.mean(np.log(realism)))}
    items = [{"held_out": a, "realism": b} for a, b in zip(held_out, realism, strict=True)]
    return {"trial": number, "items": items, "values": {**values, "calls": calls}, "keeps_limits": keeps}


N = 8
NOISE = np.exp(0.02 * np.random.default_rng(0).normal(size=(4, N)))
DEFAULT = row(None, list(0.1 * NOISE[0]), list(2.0 * NOISE[1]))
SAME = {"held_out": list(0.1 * NOISE[2]), "realism": list(2.0 * NOISE[3])}


def judged(*rows: dict, default: dict = DEFAULT, p: float = 0.1) -> int | None:
    return winner_of([default, *(_beside(r, default, len(rows)) for r in rows)], p)


@pytest.mark.parametrize(
    ("candidates", "winner"),
    [
        ([row(3, list(0.09 * NOISE[2]), list(1.9 * NOISE[3]))], 3),
        ([row(3, **SAME)], None),  # not significantly better
        ([row(3, list(0.09 * NOISE[2]), list(2.0 * NOISE[1][::-1]))], 3),  # as realistic
        ([row(3, list(0.05 * NOISE[2]), list(2.1 * NOISE[3]))], None),  # it fits, but is less realistic
        ([row(3, list(0.11 * NOISE[2]), list(1.0 * NOISE[3]))], None),  # the other way round
        ([row(3, list(0.05 * NOISE[2]), list(1.5 * NOISE[3]), keeps=False)], None),
        ([row(3, [0.09] * N, [1.9] * N), row(5, [0.07] * N, [1.9] * N)], 5),
        ([row(3, [0.09] * N, [1.9] * N), row(5, [0.0901] * N, [1.9] * N, calls=50)], 5),  # as good, for fewer calls
        ([row(3, [0.05] * 2 + [0.107] * 6, [1.5] * 2 + [2.05] * 6)], None),  # twice much better, else worse
    ],
)
def test_the_rule_of_the_finals(candidates: list[dict], winner: int | None) -> None:
    assert judged(*candidates) == winner


def test_a_default_that_breaks_a_limit_gives_way() -> None:
    broken = row(None, [0.1] * N, [2.0] * N, keeps=False)
    worse = [row(2, [0.2] * N, [2.0] * N), row(4, [0.15] * N, [2.0] * N)]
    assert judged(*worse, default=broken) == 4
    assert judged(*(r | {"keeps_limits": False} for r in worse), default=broken) is None
    exploded = {"trial": None, "items": [], "state": "pruned", "why": "steps that have exploded"}
    assert judged(*worse, default=exploded) == 4
    assert "the default has not come to the end" in finals_lines({"finals": {"rows": [exploded, *worse]}})[1]


def test_luck_among_candidates_is_allowed_for() -> None:
    """Settings that are no better pass about as seldom as asked for, however many of them take part."""
    draws = np.random.default_rng(1).normal(size=(1000, 5, 12))
    passed = [min(chance(logs, 5) for logs in draw) <= 0.1 for draw in draws]
    assert 0.05 < np.mean(passed) < 0.13
    better = draws[0, 0] - 1.0
    assert chance(better, 1) == pytest.approx(ttest_1samp(better, 0.0, alternative="less").pvalue, abs=0.02)
    assert chance(better, 4) == pytest.approx(4 * chance(better, 1)) and chance(np.zeros(5), 1) == 1.0


@pytest.mark.parametrize(("candidates", "p"), [(1, 0.5), (1, 0.1), (3, 0.1), (5, 0.01)])
def test_as_few_inversions_as_are_asked_for_can_prove_something(candidates: int, p: float) -> None:
    needed = items_needed(p, candidates)
    best = -np.arange(1.0, needed + 1)  # all better
    assert chance(best, candidates) <= p < chance(best[:-1], candidates)


def test_the_finals_of_params_and_of_the_documentation_can_be_won() -> None:
    root = Path(__file__).parents[2]
    (example,) = re.findall(r"```yaml\n(.*?)```", (root / "docs" / "sweeps.md").read_text(), re.DOTALL)
    shipped = [file.read_text() for file in sorted((root / "materials").glob("*.yaml"))]
    sections = [yaml.safe_load(text)["tuning"] for text in (example, *shipped)]
    for number, section in enumerate(sections):
        require_winnable(build(TuningConfig, section, "tuning"), f"{number}")
    assert len(sections) == 3


def runs() -> dict[str, list]:
    """Name -> runs in MLflow of the finals."""
    store = open_store()
    found = store.client.search_runs([store.experiments["tuning"]], "tags.round = 'finals'")
    return {r.info.run_name: [s for s in found if s.info.run_name == r.info.run_name] for r in found}


@pytest.mark.slow
def test_who_wins_the_finals_is_written_and_recorded(
    sweep_project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(finals, "winner_of", lambda rows, p: rows[1]["trial"])  # by an untrained prior nothing is sure
    write_recipe(sweep_project, ONE_AXIS, largest=WEAK)
    command = ["tune", "a-Si", "--trials", "4", "--workers", "2"]
    assert main([*command, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    default, *others = result["finals"]["rows"]
    assert default["trial"] is None and 1 <= len(others) <= 2
    won = others[0]
    assert won["trial"] == result["winner"]
    for name in ("held_out", "realism"):
        ratios = [mine[name] / item[name] for mine, item in zip(won["items"], default["items"], strict=True)]
        assert won["ratios"][name] == pytest.approx(np.exp(np.mean(np.log(ratios))))
    assert [item["seed"] for item in default["items"]] == [10, 11, 12, 13, 14, 15]
    assert result["score"] == won["ratios"]["score"] and 0 < won["p"] <= 1 and 0 < won["p_worse"] <= 1
    origin = read_winner(Path("tuned/a-Si.yaml"), "a-Si").provenance
    assert origin["trial"] == result["winner"] and origin["finals"]["items"] == 6
    assert origin["values"]["held_out"] == pytest.approx(won["values"]["held_out"], rel=1e-5)
    assert (FOLDER / "finals.png").stat().st_size > 10_000

    found = runs()
    assert set(found) == {"final of default", *(f"final of trial {r['trial']}" for r in others)}
    assert all(len(same) == 1 for same in found.values())
    run = found[f"final of trial {result['winner']}"][0]
    assert run.data.tags["trial"] == str(result["winner"]) and run.info.status == "FINISHED"
    assert run.data.metrics["held_out"] == pytest.approx(won["values"]["held_out"])
    parent = open_store().client.get_run(run.data.tags["mlflow.parentRunId"])
    assert parent.data.metrics["held_out"] == pytest.approx(won["values"]["held_out"])
    assert parent.data.metrics["default/held_out"] == pytest.approx(default["values"]["held_out"])
    assert "measured on what no trial was chosen by" in parent.data.tags["mlflow.note.content"]

    before = (FOLDER / "journal.log").read_bytes()
    assert main(command) == 0  # nothing is left to do
    assert (FOLDER / "journal.log").read_bytes() == before
    assert f"trial {result['winner']}" in capsys.readouterr().out


@pytest.mark.slow
def test_killed_finals_lose_and_double_nothing(sweep_project: Path) -> None:
    write_recipe(sweep_project, ONE_AXIS, largest=WEAK)
    sweep = start("--trials", "4", "--workers", "2")
    until(lambda: (FOLDER / "journal.log").exists() and b"-finals-" in (FOLDER / "journal.log").read_bytes(), sweep)
    sweep.kill()
    sweep.communicate()
    assert len(finished_numbers(study_of(FOLDER))) == 4 and not (FOLDER / "result.json").exists()
    parent = open_store().client.get_run(record_sweep(FOLDER))
    assert parent.info.status == "KILLED"  # all trials are there, and no winner yet
    again = start("--trials", "4", "--workers", "2")
    os.kill(until(lambda: stopped_worker(study_of(FOLDER, "finals"), FOLDER), again), signal.SIGKILL)
    _, err = again.communicate(timeout=600)
    assert again.returncode == 0, err
    result = json.loads((FOLDER / "result.json").read_text())
    names = sorted(t.user_attrs["stated"] for t in finished(study_of(FOLDER, "finals")))
    assert names == sorted(["default", *(f"trial {r['trial']}" for r in result["finals"]["rows"][1:])])
    assert all(len(same) == 1 for same in runs().values()) and len(runs()) == len(names)
    assert open_store().client.get_run(parent.info.run_id).info.status == "FINISHED"


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{candidates: 0}", r"finals\.candidates: 0 \(give at least one\)"),
        ("{seeds: [5, 1]}", r"finals\.seeds: seed 1 of target 'g\(r\)' is that of the trials"),
        ("{seeds: []}", r"finals\.targets: nothing to invert"),
        ("{p: 0}", r"finals\.p: 0 is no chance"),
        ("{p: 1}", r"finals\.p: 1 is no chance"),
        ("{}", r"finals: targets x seeds is 4: nobody can win with candidates 3 and p 0\.1 \(have at least 5,"),
        ("{candidates: 3, seeds: [10], p: 0.4}", r"seeds is 1: nobody can win .*at least 3"),
    ],
)
def test_finals_that_prove_nothing_are_refused(
    sweep_project: Path, capsys: pytest.CaptureFixture, section: str, message: str
) -> None:
    write_recipe(sweep_project, TUNING.replace("{candidates: 1, seeds: [10, 11], p: 0.3}", section))
    assert main(["tune", "a-Si"]) == 2
    assert not (FOLDER / "journal.log").exists()
    error = capsys.readouterr().err
    assert re.search(message, error) and error.count("\n") == 1, error
