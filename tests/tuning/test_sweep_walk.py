"""A whole sweep on the command line: counted, recorded once, killed and gone on with."""

import json
import os
import signal
from pathlib import Path

import pytest
from optuna.trial import TrialState
from small_sweep import finished_numbers, start, stopped_worker, study_of, wait_for

from glass_ml.cli.main import main
from glass_ml.settings.recipe import system_config
from glass_ml.settings.winner import read_winner
from glass_ml.tracking.store import open_store
from glass_ml.tuning import record
from glass_ml.tuning.record import record_sweep

FOLDER = Path("sweeps/a-Si")


def runs_of(study: str) -> tuple[list, list]:
    """Parent and child runs of a sweep in MLflow, but for those of its finals."""
    store = open_store()
    runs = store.client.search_runs([store.experiments["tuning"]])
    parents = [r for r in runs if r.data.tags.get("study") == study]
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") in {p.info.run_id for p in parents}]
    return parents, [r for r in children if r.data.tags["round"] == "trials"]


@pytest.mark.slow
def test_two_workers_do_what_is_asked_and_it_is_recorded_once(
    sweep_project: Path, capsys: pytest.CaptureFixture
) -> None:
    command = ["tune", "a-Si", "--trials", "5", "--workers", "2"]
    assert main([*command, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    study = study_of(FOLDER)
    assert result["counts"]["complete"] + result["counts"]["pruned"] == 5 == len(finished_numbers(study))
    first = study.get_trials()[0]
    assert first.user_attrs["stated"] == "default" and first.state == TrialState.COMPLETE
    assert first.params == {"guidance.largest": 0.3, "step.kept": -0.6, "schedule.steps": 8}
    assert json.loads((FOLDER / "result.json").read_text()) == result
    for figure in ("pareto.png", "importance.png"):
        assert (FOLDER / figure).read_bytes().startswith(b"\x89PNG") and (FOLDER / figure).stat().st_size > 10_000

    winner = read_winner(Path("tuned/a-Si.yaml"), "a-Si")
    assert winner.provenance["study"] == study.study_name and winner.provenance["trial"] == result["winner"]
    chosen = study.get_trials()[result["winner"]]
    expected = {} if result["winner"] == 0 else chosen.params
    assert winner.settings == expected and chosen.values[2] <= 8
    assert system_config("a-Si").sampling.step.kept == chosen.params["step.kept"]

    parents, children = runs_of(study.study_name)
    assert len(parents) == 1 and len(children) == 5
    assert {r.info.status for r in (*parents, *children)} == {"FINISHED"}
    by_name = {r.info.run_name: r.data for r in children}
    assert by_name["trial 0"].params["sampling.step.kept"] == "-0.6"
    assert by_name["trial 0"].params["sampling.guidance.iterations"] == "2"
    assert by_name["trial 0"].metrics["held_out"] == pytest.approx(first.values[0])
    files = {f.path for f in open_store().client.list_artifacts(parents[0].info.run_id)}
    assert files >= {"result.json", "pareto.png", "importance.png"}

    before = (FOLDER / "journal.log").read_bytes()
    record_sweep(FOLDER)
    assert main(command) == 0  # nothing is left to do
    assert (FOLDER / "journal.log").read_bytes() == before
    assert [len(r) for r in runs_of(study.study_name)] == [1, 5]
    assert main(["tune", "a-Si", "--trials", "6"]) == 0  # one more
    assert len(finished_numbers(study)) == 6
    assert [len(r) for r in runs_of(study.study_name)] == [1, 6]


@pytest.mark.slow
def test_killed_workers_and_parents_lose_and_double_nothing(sweep_project: Path) -> None:
    sweep = start("--trials", "5", "--workers", "2")
    wait_for(lambda: (FOLDER / "journal.log").exists() and finished_numbers(study_of(FOLDER)), sweep)
    study = study_of(FOLDER)
    os.kill(wait_for(lambda: stopped_worker(study, FOLDER), sweep), signal.SIGKILL)
    _, err = sweep.communicate(timeout=120)
    assert sweep.returncode == 0, err
    assert "died (signal 9): another takes over" in err
    assert len(finished_numbers(study)) == 5
    lost = [t for t in study.get_trials() if t.state == TrialState.FAIL]
    again = [t for t in study.get_trials() if "retry_of" in t.user_attrs]
    assert [t.user_attrs["retry_of"] for t in again] == [t.number for t in lost]
    assert [t.params for t in again] == [t.params for t in lost] and lost

    parent = start("--trials", "8", "--workers", "2")
    wait_for(lambda: len(finished_numbers(study)) > 5, parent)
    parent.kill()
    parent.wait()
    for stream in (parent.stdout, parent.stderr):
        stream.close()
    assert main(["tune", "a-Si", "--trials", "8"]) == 0
    done = [t for t in study.get_trials() if t.number in finished_numbers(study)]
    assert len(done) == 8 and all(t.user_attrs.keys() >= {"process"} for t in done)
    assert sum(t.user_attrs.get("stated") == "default" for t in done) == 1
    parents, children = runs_of(study.study_name)
    assert len(parents) == 1 and sorted(r.info.run_name for r in children) == sorted(f"trial {t.number}" for t in done)


@pytest.mark.slow
def test_without_mlflow_a_sweep_goes_on_and_is_recorded_later(
    sweep_project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody listens on the discard port
    assert main(["tune", "a-Si", "--trials", "2"]) == 0
    said = "not recorded in MLflow: http://127.0.0.1:9: the tracking server cannot be reached"
    assert said in capsys.readouterr().err
    study = study_of(FOLDER)
    assert len(finished_numbers(study)) == 2 and Path("tuned/a-Si.yaml").is_file()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert record.try_to_record(FOLDER, study.study_name)
    assert [len(r) for r in runs_of(study.study_name)] == [1, 2]
