"""The tracking server is stopped in the middle of a sweep: nothing is lost, nothing doubles."""

import json
import os
import signal
from pathlib import Path

import pytest
from mlflow_server import server, stop
from ports import free_port
from small_sweep import finished_numbers, start, stopped_worker, study_of
from waiting import until

from glass_ml.cli.main import main
from glass_ml.tracking import outbox
from glass_ml.tracking.reach import VARIABLE
from glass_ml.tracking.store import open_store

FOLDER = Path("sweeps/a-Si")
TRIALS = 6


def sweep_runs():
    store = open_store()
    runs = store.client.search_runs([store.experiments["tuning"]])
    return [r for r in runs if "study" in r.data.tags], [r for r in runs if "trial" in r.data.tags]


@pytest.mark.slow
def test_server_stopped_in_the_middle_of_a_sweep(sweep_project, tmp_path, monkeypatch, capsys):
    port, folder = free_port(), tmp_path / "server"
    folder.mkdir()
    monkeypatch.setenv(VARIABLE, f"http://127.0.0.1:{port}")
    with server(folder, port) as process:
        sweep = start("--trials", str(TRIALS), "--workers", "1")
        until(lambda: (FOLDER / "journal.log").exists() and finished_numbers(study_of(FOLDER)), sweep)
        worker = until(lambda: stopped_worker(study_of(FOLDER), FOLDER), sweep)  # trials do not run ahead of MLflow
        until(lambda: sweep_runs()[1], sweep)
        assert len(finished_numbers(study_of(FOLDER))) < TRIALS
        stop(process)
        os.kill(worker, signal.SIGCONT)
        out, error = sweep.communicate(timeout=600)
    assert sweep.returncode == 0, error
    assert "written to tuned/a-Si.yaml" in out or "they stay" in out
    lines = [line for line in error.splitlines() if "not recorded in MLflow" in line]
    assert 1 <= len(lines) <= 2 and all("sweeps/a-Si is kept for 'glass-ml sync'" in line for line in lines)
    assert "Traceback" not in error
    assert [entry.kind for entry in outbox.pending()] == ["sweep"]
    study = study_of(FOLDER)
    trials = {t.number: t for t in study.get_trials() if t.number in finished_numbers(study)}
    assert len(trials) == TRIALS
    with server(folder, port):
        assert main(["sync"]) == 0
        assert main(["sync"]) == 0 and "nothing to send" in capsys.readouterr().out
        parents, children = sweep_runs()
        (parent,) = parents
        assert parent.info.status == "FINISHED"
        assert sorted(int(c.data.tags["trial"]) for c in children) == sorted(trials)
        for child in children:
            assert child.info.status == "FINISHED"
            assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
            trial = trials[int(child.data.tags["trial"])]
            if trial.values:
                found = [child.data.metrics[name] for name in ("held_out", "realism", "calls")]
                assert found == pytest.approx(trial.values)
            for name, value in trial.params.items():
                assert child.data.params[f"sampling.{name}"] == str(value)
        result = json.loads((FOLDER / "result.json").read_text())
        winner = trials[result["winner"]]
        assert parent.data.metrics["held_out"] == pytest.approx(winner.values[0])
        assert {f.path for f in open_store().client.list_artifacts(parent.info.run_id)} >= {"result.json", "pareto.png"}
