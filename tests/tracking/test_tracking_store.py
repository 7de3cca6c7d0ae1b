"""The store and its runs, with real MLflow and real processes."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from glass_ml.errors import InputError
from glass_ml.provenance.data import DataIdentity
from glass_ml.tracking.runs import find_run, flatten, reap, start_run
from glass_ml.tracking.store import EXPERIMENTS, open_store, store_exists, tracking_uri

# Records every attempt to reach the network, in threads too, and refuses it.
OFFLINE = """
import atexit, socket
attempts = []
def refuse(self, address):
    if self.family != socket.AF_UNIX:
        attempts.append(address)
        raise OSError("no network")
socket.socket.connect = refuse
def name(host, *rest, **more):
    attempts.append(host)
    raise OSError("no network")
socket.getaddrinfo = name
atexit.register(lambda: print("attempts", attempts))
"""
REGISTER = """
from glass_ml.tracking.registry import register_prior
done = register_prior("models/a-Si", system="a-Si")
print("registered", done.version, done.created)
"""


def environment():
    """That of a person at a terminal: what marks a test or a CI switches telemetry off by itself."""
    markers = ("PYTEST_CURRENT_TEST", "CI", "GITHUB_ACTIONS", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK")
    return {k: v for k, v in os.environ.items() if k not in markers}


def python(code, folder, **options):
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True, **options
    )


def test_two_processes_make_one_store_and_one_version_without_network(project):
    shutil.rmtree(project / "mlruns")
    (project / "mlruns").mkdir()
    (project / "mlruns" / "mlflow.draft").write_bytes(b"left by a killed process")
    assert not store_exists()
    processes = [python(OFFLINE + REGISTER, project, stderr=subprocess.PIPE) for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert sorted(out.splitlines()[0] for out, _ in outputs) == ["registered 1 False", "registered 1 True"]
    assert [out.splitlines()[1] for out, _ in outputs] == ["attempts []"] * 2
    assert [err for _, err in outputs] == [""] * 2
    store = open_store()
    assert set(store.experiments) == set(EXPERIMENTS)
    assert len({e.name for e in store.client.search_experiments()}) == len(EXPERIMENTS) + 1  # and MLflow's Default
    runs = store.client.search_runs(list(store.experiments.values()))
    assert [run.info.status for run in runs] == ["FINISHED"]
    assert not (project / "mlflow.db").exists() and not list(project.glob("mlruns/*.draft"))


def test_uri(project, monkeypatch, tmp_path):
    assert tracking_uri() == f"sqlite:///{project.resolve()}/mlruns/mlflow.db"
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "original"))
    assert tracking_uri() == f"sqlite:///{tmp_path.resolve()}/original/mlruns/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://somewhere/x")
    assert tracking_uri() == "postgresql://somewhere/x"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")
    with pytest.raises(InputError, match="is a folder"):
        tracking_uri()


def test_damaged_database_is_one_clear_error(project):
    (project / "mlruns" / "mlflow.db").write_bytes(b"x" * 5000)
    with pytest.raises(InputError, match="cannot be opened: file is not a database"):
        open_store()


def test_deleted_experiment_comes_back(store):
    store.client.delete_experiment(store.experiments["priors"])
    again = open_store()
    assert again.client.get_experiment(again.experiments["priors"]).lifecycle_stage == "active"


def test_store_moves_with_its_project(project, store, tmp_path, monkeypatch):
    with start_run(stage="train", system="a-Si", name="before", store=store, params={"a": 1}) as run:
        pass
    moved = tmp_path / "elsewhere" / "renamed"
    moved.parent.mkdir()
    project.rename(moved)
    monkeypatch.chdir(moved)
    again = open_store()
    assert again.client.get_run(run.id).info.artifact_uri.startswith(moved.as_uri())
    assert again.client.list_artifacts(run.id)[0].path == "params.json"
    with start_run(stage="train", system="a-Si", name="after", params={"a": 2}):
        pass
    assert not project.exists()
    text = "".join(sqlite3.connect(moved / "mlruns" / "mlflow.db").iterdump())
    assert project.as_uri() not in text


def test_run_records_what_a_person_looks_for(store, project, tools, monkeypatch):
    monkeypatch.setenv("DVC_STAGE", "train")
    monkeypatch.setenv("DVC_EXP_NAME", "wise-owl")
    long = "ä" * 7000
    data = DataIdentity("data", "ab" * 16 + ".dir")
    params = {"network": {"layers": 4, "widths": [1, 2]}, "text": "y" * 3000, "note": long}
    with start_run(stage="train", system="a-Si", name="prior a-Si", store=store, params=params, data=data) as run:
        run.log_metrics({"val": {"loss": 0.5}, "name": "no number", "good": True}, step=3)
    found = store.client.get_run(run.id)
    assert found.info.status == "FINISHED" and found.info.run_name == "prior a-Si"
    tags = found.data.tags
    expected = {"stage": "train", "system": "a-Si", "DVC_STAGE": "train", "DVC_EXP_NAME": "wise-owl"}
    assert expected.items() <= tags.items() and tags["data_md5"] == data.md5
    assert tags["git_commit"] == tags["mlflow.source.git.commit"] == tools.git(project, "rev-parse", "HEAD").strip()
    assert found.data.metrics == {"val/loss": 0.5, "good": 1.0}
    shown = found.data.params
    assert shown["network.layers"] == "4" and shown["network.widths"] == "[1, 2]" and shown["text"] == "y" * 3000
    assert shown["note"].endswith("(whole in params.json)")
    artifacts = Path(found.info.artifact_uri.removeprefix("file://"))
    assert json.loads((artifacts / "params.json").read_text()) == params
    (dataset,) = found.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("a-Si", data.md5)
    assert dataset.tags[0].value == "train"


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_run_says_how_it_ended(store, error, status):
    with pytest.raises(error), start_run(stage="invert", system="x", name="n", store=store) as run:
        raise error("what went wrong")
    found = store.client.get_run(run.id)
    assert found.info.status == status and found.info.end_time
    assert found.data.tags.get("error") == ("ValueError: what went wrong" if error is ValueError else None)


def test_killed_processes(store, project):
    code = (
        "import time, signal\nfrom glass_ml.tracking.runs import start_run\n"
        "with start_run(stage='train', system='x', name='n', key='{0}') as run:\n"
        "    print(run.id, flush=True)\n    time.sleep(60)\n"
    )
    ids = {}
    processes = {number: python(code.format(number.name), project) for number in (signal.SIGTERM, signal.SIGKILL)}
    for number, process in processes.items():
        ids[number] = process.stdout.readline().strip()
        assert reap(store) == []  # both are alive
    for number, process in processes.items():
        process.send_signal(number)
        assert process.wait(timeout=30) != 0
    status = {number: store.client.get_run(ids[number]).info.status for number in ids}
    assert status == {signal.SIGTERM: "KILLED", signal.SIGKILL: "RUNNING"}
    # The next run finds the one that died without a word; the same work goes on in the same run.
    with start_run(stage="train", system="x", name="n", store=store, key="SIGKILL") as run:
        assert run.id == ids[signal.SIGKILL]
    assert store.client.get_run(run.id).info.status == "FINISHED"
    with start_run(stage="train", system="x", name="n", store=store, key="SIGKILL") as run:
        assert run.id == ids[signal.SIGKILL]  # the same work done again is the same run


@pytest.mark.parametrize("before", [None, "sqlite:////elsewhere/mlflow.db"])
def test_a_training_leaves_the_store_of_the_process_as_it_was(store, monkeypatch, before):
    from pytorch_lightning.loggers import MLFlowLogger

    if before:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", before)
    with start_run(stage="train", system="x", name="n", store=store) as run, store.current():
        MLFlowLogger(tracking_uri=store.uri, run_id=run.id).log_metrics({"loss": 1.0}, 5)
    assert os.environ.get("MLFLOW_TRACKING_URI") == before
    assert [m.step for m in store.client.get_metric_history(run.id, "loss")] == [5]


def test_find_run_takes_finished_ones(store):
    with start_run(stage="tune", system="x", name="n", store=store, tags={"mark": "m"}) as run:
        assert find_run(store, "mark", "m") is None
    assert find_run(store, "mark", "m") == run.id


def test_flatten_cleans_names():
    content = {"coordination(Si-O=4)": {"mean": 1}, "a": [1, {"b": 2}]}
    assert flatten(content, "/") == {"coordination_Si-O_4_/mean": 1, "a": '[1, {"b": 2}]'}


def test_help_does_not_import_mlflow():
    code = "import sys, glass_ml.tracking.store, glass_ml.cli.main; print({'mlflow', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
