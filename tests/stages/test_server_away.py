"""Inversions and evaluations while the tracking server is away: nothing fails, nothing is lost, nothing doubles."""

import json
import shutil
from pathlib import Path

import pytest
from mlflow_server import server, stop
from ports import free_port
from small_project import write_quick_recipe

from glass_ml.cli.main import main
from glass_ml.errors import InputError
from glass_ml.tracking import outbox
from glass_ml.tracking.reach import VARIABLE, StoreUnreachable
from glass_ml.tracking.runs import Run
from glass_ml.tracking.store import EXPERIMENTS, open_store

INVERT = ["invert", "targets/a-Si/target.yaml", "-n", "2", "--atoms", "40", "--out", "inversions/one"]
OUT = Path("inversions/one")


@pytest.fixture(autouse=True)
def few_levels(project):
    write_quick_recipe(project)


@pytest.fixture
def away(project, monkeypatch):
    """The project with a tracking server that does not answer."""
    monkeypatch.setenv(VARIABLE, f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return project


def runs_of(store):
    found = store.client.search_runs([store.experiments["inversions"]])
    return [r for r in found if r.info.status == "FINISHED"]


def pending_kinds():
    return [entry.kind for entry in outbox.pending()]


@pytest.mark.slow
def test_inversion_and_evaluation_are_kept_and_sent_once(away, monkeypatch, capsys):
    assert main(INVERT) == 0
    assert main(INVERT) == 0  # the same again is one entry
    assert main(["evaluate", str(OUT)]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("glass-ml:")]
    assert len(lines) == 3 and all("cannot be reached; inversions/one is kept for 'glass-ml sync'" in x for x in lines)
    assert pending_kinds() == ["inversion", "evaluation"]
    assert main(["sync"]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and len(pending_kinds()) == 2
    # The project moves, and the server comes back (here: a database).
    moved = away.rename(away.with_name("moved"))
    monkeypatch.chdir(moved)
    monkeypatch.delenv(VARIABLE)
    assert main(["sync", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert [(d["kind"], d["folder"], d["sent"]) for d in done] == [
        ("inversion", "inversions/one", True),
        ("evaluation", "inversions/one", True),
    ]
    assert main(["sync"]) == 0 and capsys.readouterr().out == "nothing to send\n"
    (run,) = runs_of(open_store())
    assert run.data.tags["evaluated"] == "True"


@pytest.mark.slow
def test_killed_between_sending_and_removing_sends_once(away, monkeypatch):
    assert main(INVERT) == 0
    monkeypatch.delenv(VARIABLE)
    (entry,) = outbox.pending()
    kept = entry.path.read_bytes()
    assert main(["sync"]) == 0
    entry.path.write_bytes(kept)
    assert main(["sync"]) == 0
    assert len(runs_of(open_store())) == 1 and outbox.pending() == []


@pytest.mark.slow
def test_entries_that_cannot_be_sent_stay(away, monkeypatch, capsys):
    assert main(INVERT) == 0
    monkeypatch.delenv(VARIABLE)
    (outbox.outbox_folder() / "damaged.json").write_text("{")
    structures = OUT / "structures.extxyz"
    original = structures.read_bytes()
    structures.write_bytes(original + original)
    capsys.readouterr()
    assert main(["sync"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "holds other structures" in lines[0] and "unknown kind" in lines[1]
    shutil.rmtree(OUT)
    assert main(["sync"]) == 1
    assert "the folder is gone" in capsys.readouterr().err and len(outbox.pending()) == 2
    assert runs_of(open_store()) == []


def test_registered_models_need_the_server(away, capsys):
    assert main([*INVERT, "--model", "models:/glass-a-Si@production"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "the tracking server cannot be reached" in error
    assert not OUT.exists()


def test_doctor_notes_what_waits(away, monkeypatch):
    from glass_ml.tracking import health

    outbox.keep("inversion", folder="inversions/one")
    monkeypatch.setattr(health, "_lammps", lambda root: iter(()))
    found = {finding.name: finding for finding in health.examine(away)}
    assert found["outbox"].status == "note" and "glass-ml sync" in found["outbox"].detail


@pytest.mark.slow
def test_cross_validation_without_a_server(away, monkeypatch):
    both = (away / "targets/a-Si/target.yaml").read_text().replace("use: validate, ", "")
    (away / "targets/a-Si/both.yaml").write_text(both)
    command = ["invert", "targets/a-Si/both.yaml", "-n", "1", "--atoms", "40", "--out", "cv", "--cross-validate"]
    assert main(command) == 0
    assert pending_kinds() == ["inversion"] * 3 + ["cross-validation"]
    monkeypatch.delenv(VARIABLE)
    assert main(["sync"]) == 0
    assert main(command) == 0  # and recorded already
    runs = runs_of(open_store())
    (parent,) = [r for r in runs if "R without gr" in r.data.metrics]
    assert len(runs) == 4
    assert [r.data.tags.get("mlflow.parentRunId") for r in runs if r is not parent] == [parent.info.run_id] * 3


@pytest.mark.slow
def test_server_stopped_in_the_middle(project, tmp_path, monkeypatch, capsys):
    port, folder = free_port(), tmp_path / "server"
    folder.mkdir()
    monkeypatch.setenv(VARIABLE, f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    from glass_ml.stages import invert as stage
    from glass_ml.tracking.registry import register_prior

    with server(folder, port) as process:
        assert set(open_store().experiments) == set(EXPERIMENTS)
        register_prior("models/a-Si", system="a-Si")
        sampled = stage.run_inversions

        def sampled_then_stopped(*arguments, **options):
            stop(process)
            return sampled(*arguments, **options)

        monkeypatch.setattr(stage, "run_inversions", sampled_then_stopped)
        assert main([*INVERT, "--model", "models:/glass-a-Si@candidate"]) == 0
    monkeypatch.setattr(stage, "run_inversions", sampled)
    assert main(["evaluate", str(OUT)]) == 0
    assert "kept for 'glass-ml sync'" in capsys.readouterr().err
    with server(folder, port) as process:
        keep_file = Run.log_artifact

        def stopped_while_recording(self, path, folder=None):
            stop(process)
            keep_file(self, path, folder)

        monkeypatch.setattr(Run, "log_artifact", stopped_while_recording)
        second = [*INVERT[:-1], "inversions/two", "--seed", "7"]
        assert main(second) == 0
        monkeypatch.setattr(Run, "log_artifact", keep_file)
    assert pending_kinds() == ["inversion", "evaluation", "inversion"]
    with server(folder, port) as process:
        store = open_store()
        assert len(runs_of(store)) == 0
        assert main(["sync"]) == 0
        assert main(["sync"]) == 0
        runs = runs_of(store)
        assert sorted(r.info.run_name[:8] for r in runs) == ["a-Si one", "a-Si two"]
        everything = store.client.search_runs([store.experiments["inversions"]])
        assert len(everything) == 2  # what was begun when the server went is gone on with
        assert all("structures.extxyz" in {a.path for a in store.client.list_artifacts(r.info.run_id)} for r in runs)
        (first,) = [r for r in runs if r.info.run_name.startswith("a-Si one ")]
        assert first.data.tags["evaluated"] == "True"
        assert first.data.tags["model_version"] == "glass-a-Si/1"


def test_open_store_says_that_the_server_is_away(away):
    with pytest.raises(StoreUnreachable, match="cannot be reached") as caught:
        open_store()
    assert isinstance(caught.value, InputError)
