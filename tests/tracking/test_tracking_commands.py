"""The commands around the registry and the store, as a person calls them."""

import json
import socket
import subprocess
import sys

import pytest
from ports import free_port
from waiting import answer

from glass_ml.cli.main import main
from glass_ml.tracking.health import examine
from glass_ml.tracking.inversions import log_evaluation
from glass_ml.tracking.registry import register_prior
from glass_ml.tracking.versions import get_version, version_folder


def findings(root):
    return {finding.name: finding for finding in examine(root)}


def test_models_before_there_is_a_store(project, capsys):
    (project / "mlruns" / "mlflow.db").unlink()
    assert main(["models", "list"]) == 0
    assert main(["models", "list", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == [] and "no registered priors yet" in captured.err
    for command in (["show", "glass-a-Si"], ["promote", "glass-a-Si", "1", "--to", "champion"]):
        assert main(["models", *command]) == 2
    assert not (project / "mlruns" / "mlflow.db").exists()


def test_models(project, store, tools, capsys):
    register_prior("models/a-Si", system="a-Si", store=store)
    assert main(["models", "list"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["MODEL", "VERSION", "ALIASES"] and row.split()[:3] == ["glass-a-Si", "1", "candidate"]
    assert main(["models", "show", "glass-a-Si", "--json"]) == 0
    assert tools.run_json(capsys)["metrics"]["held_out_loss/0.12"] == "0.21"
    log_evaluation(tools.write_inversion("out/one"), {"r": 0.2}, store=store)
    assert main(["models", "show", "glass-a-Si", "candidate"]) == 0
    text = capsys.readouterr().out
    assert "aliases           candidate" in text and "one/r" in text
    assert main(["models", "card", "glass-a-Si", "1"]) == 0
    assert "| 0.12 | 0.210 |" in capsys.readouterr().out
    for wrong in (["show", "glass-C"], ["show", "glass-a-Si", "9"], ["promote", "glass-a-Si", "1", "--to", "best"]):
        assert main(["models", *wrong]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_doctor(project, store, tools, capsys, monkeypatch):
    done = register_prior("models/a-Si", system="a-Si", store=store)
    found = findings(project)
    assert {f.status for f in found.values()} == {"ok"}, found
    assert {"python", "torch", "lammps", "git", "dvc", "data", "model a-Si", "mlflow"} == set(found)
    monkeypatch.setattr("glass_ml.tracking.health._lammps", lambda root: iter(()))
    (version_folder(store, get_version(store, done.name, 1)) / "model.json").unlink()
    (project / "models" / "a-Si" / "model.safetensors").write_bytes(b"not weights")
    (project / "data" / "a-Si" / "low.extxyz").write_text("edited")
    found = findings(project)
    assert {name for name, f in found.items() if f.status == "wrong"} == {"model a-Si", "glass-a-Si/1"}
    assert found["data"].status == "note"
    assert main(["doctor", "--json"]) == 1
    assert {f["name"] for f in tools.run_json(capsys)} == set(found)
    (project / "mlruns" / "mlflow.db").write_bytes(b"damaged" * 1000)
    assert findings(project)["store"].status == "wrong"
    assert main(["doctor"]) == 1


def test_doctor_finds_what_is_there_twice(project, store, tools):
    from glass_ml.tracking.runs import start_run
    from glass_ml.tracking.versions import IDENTITY

    for _ in range(2):
        with start_run(stage="invert", system="x", name="n", store=store, tags={IDENTITY: "same"}):
            pass
    assert findings(project)["inversions"].status == "wrong"


def test_doctor_outside_a_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("glass_ml.tracking.health._lammps", lambda root: iter(()))
    found = findings(None)
    assert {f.status for f in found.values()} == {"ok", "note"} and found["mlflow"].status == "note"
    assert list(tmp_path.iterdir()) == []


def test_ui_answers_on_loopback(project, store):
    register_prior("models/a-Si", system="a-Si", store=store)
    port = free_port()
    command = [sys.executable, "-m", "glass_ml.cli.main", "ui", "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as page:
        try:
            found = json.loads(answer(f"http://127.0.0.1:{port}/api/2.0/mlflow/registered-models/search", page))
            assert [m["name"] for m in found["registered_models"]] == ["glass-a-Si"]
        finally:
            page.terminate()


@pytest.mark.parametrize("port", ["0", "70000"])
def test_ui_refuses_a_wrong_port(project, port, capsys):
    assert main(["ui", "--port", port]) == 2
    assert "is not a port" in capsys.readouterr().err


def test_ui_refuses_a_taken_port(project, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["ui", "--port", str(taken.getsockname()[1])]) == 2
    assert "give another one" in capsys.readouterr().err
