"""Sweeps that follow each other in one folder while the tracking server is away: each is sent as it was."""

import json
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial
from small_sweep import write_recipe

from glass_ml.cli.main import main
from glass_ml.files import write_json
from glass_ml.tracking import outbox
from glass_ml.tracking.reach import VARIABLE
from glass_ml.tracking.store import open_store
from glass_ml.tuning import record
from glass_ml.tuning.record import try_to_record, write_manifest
from glass_ml.tuning.storage import open_storage

FOLDER = Path("sweeps/a-Si")
LOSSES = {"a-Si-one": [0.5, 0.25], "a-Si-two": [0.75, 0.125, 0.625]}
AWAY = "http://127.0.0.1:9"  # nobody listens on the discard port


@pytest.fixture
def away(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, AWAY)
    return project


def begin(study: str) -> None:
    """What a sweep writes before and while it does its trials, with losses known in advance."""
    manifest = {
        "system": "a-Si", "name": "tune a-Si", "study": study, "finals": None, "storage": "journal.log",
        "objectives": ["loss"], "trials": len(LOSSES[study]), "settings": {}, "base": {}, "model": {}, "data": None,
    }  # fmt: skip
    write_manifest(FOLDER, manifest)
    storage = open_storage(str(FOLDER / "journal.log"))
    trials = optuna.create_study(study_name=study, storage=storage, load_if_exists=True)
    for loss in LOSSES[study][len(trials.trials) :]:
        trials.add_trial(
            create_trial(params={"step.kept": loss}, distributions={"step.kept": FloatDistribution(-1, 1)}, value=loss)
        )


def end(study: str) -> bool:
    """What a sweep writes when its trials are done; whether that is recorded."""
    losses = LOSSES[study]
    best = losses.index(min(losses))
    rows = [{"number": k, "settings": {}, "values": {"loss": loss}} for k, loss in enumerate(losses)]
    result = {
        "study": study, "objectives": ["loss"], "default": 0, "winner": best, "settings": {"step.kept": min(losses)},
        "trials": rows, "finals": None,
    }  # fmt: skip
    write_json(FOLDER / "result.json", result)
    (FOLDER / "pareto.png").write_text(study)
    return try_to_record(FOLDER, study)


def recorded() -> dict[str, tuple[str, list[float], float | None, str]]:
    """Study -> status, losses of its trials, that of its winner, and whose figure its run holds."""
    store, found = open_store(), {}
    runs = store.client.search_runs([store.experiments["tuning"]])
    for run in [r for r in runs if "study" in r.data.tags]:
        own = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == run.info.run_id]
        own.sort(key=lambda r: int(r.data.tags["trial"]))
        figure = ""
        if any(f.path == "pareto.png" for f in store.client.list_artifacts(run.info.run_id)):
            figure = Path(store.client.download_artifacts(run.info.run_id, "pareto.png")).read_text()
        study = run.data.tags["study"]
        assert study not in found
        losses = [r.data.metrics["loss"] for r in own]
        found[study] = (run.info.status, losses, run.data.metrics.get("loss"), figure)
    return found


ALL = {study: ("FINISHED", losses, min(losses), study) for study, losses in LOSSES.items()}


def sync(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.delenv(VARIABLE, raising=False)
    return main(["sync"])


def test_a_second_sweep_does_not_take_the_place_of_the_first_in_the_outbox(
    away: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for study in LOSSES:
        begin(study)
        assert not end(study)
    assert json.loads((FOLDER / "sweep.json").read_text())["study"] == "a-Si-two"  # the latest has the usual place
    assert json.loads((FOLDER / "result.json").read_text())["study"] == "a-Si-two"
    assert len(outbox.pending()) == 2
    monkeypatch.chdir(away.rename(away.with_name("moved")))
    assert sync(monkeypatch) == 0
    assert recorded() == ALL and not outbox.pending()
    assert json.loads((FOLDER / "earlier" / "a-Si-one" / "result.json").read_text())["winner"] == 1


def test_sweeps_that_take_turns_in_a_folder_are_each_sent(away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for study in (*LOSSES, "a-Si-one"):
        begin(study)
        end(study)
    begin("a-Si-two")  # killed before it ends again: what it came to is known from before
    begin("a-Si-one")
    assert sync(monkeypatch) == 0
    assert recorded() == ALL and not outbox.pending()


def test_the_end_of_a_sweep_is_found_wherever_it_lies(away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin("a-Si-one")
    begin("a-Si-two")  # from another terminal
    end("a-Si-one")
    end("a-Si-two")
    begin("a-Si-one")  # killed before it ends again
    assert sync(monkeypatch) == 0
    assert recorded()["a-Si-two"] == ALL["a-Si-two"]
    monkeypatch.setenv(VARIABLE, AWAY)
    end("a-Si-one")
    begin("a-Si-two")
    end("a-Si-two")
    begin("a-Si-one")
    assert sync(monkeypatch) == 0
    assert recorded() == ALL and not outbox.pending()


@pytest.mark.parametrize("last", ["result.json", "pareto.png", "sweep.json", "a new sweep.json"])
def test_a_kill_while_the_next_sweep_begins_loses_nothing(
    away: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    begin("a-Si-one")
    end("a-Si-one")

    def copy(source: Path, place: Path, to: object = record.shutil.copyfile) -> None:
        if Path(source).name == last:
            raise KeyboardInterrupt
        to(source, place)

    def write(path: Path, content: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(record.shutil, "copyfile", copy)
        patch.setattr(record, "write_json", write)
        begin("a-Si-two")
    assert sync(monkeypatch) == 0
    assert recorded() == {"a-Si-one": ALL["a-Si-one"]} and not outbox.pending()


def test_an_entry_that_names_no_study_is_sent(away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin("a-Si-one")
    end("a-Si-one")
    outbox.forget("sweep", folder="sweeps/a-Si", study="a-Si-one")
    outbox.keep("sweep", folder="sweeps/a-Si")
    assert sync(monkeypatch) == 0
    assert recorded() == {"a-Si-one": ALL["a-Si-one"]} and not outbox.pending()


def test_an_entry_that_names_no_study_means_the_sweep_that_was_there(
    away: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin("a-Si-one")
    end("a-Si-one")
    outbox.forget("sweep", folder="sweeps/a-Si", study="a-Si-one")
    outbox.keep("sweep", folder="sweeps/a-Si")
    begin("a-Si-two")
    end("a-Si-two")
    assert sync(monkeypatch) == 0
    assert recorded() == ALL and not outbox.pending()


def test_an_entry_goes_when_its_sweep_is_recorded_otherwise(away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for study in LOSSES:
        begin(study)
        end(study)
    monkeypatch.delenv(VARIABLE)
    begin("a-Si-one")
    assert try_to_record(FOLDER, "a-Si-one", running=True) and len(outbox.pending()) == 2  # it goes on
    assert end("a-Si-one")
    assert [entry.payload["study"] for entry in outbox.pending()] == ["a-Si-two"]
    assert sync(monkeypatch) == 0 and recorded() == ALL


def test_a_sweep_that_is_nowhere_stays_in_the_outbox(
    away: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    begin("a-Si-two")
    outbox.keep("sweep", folder="sweeps/a-Si", study="a-Si-one")
    assert sync(monkeypatch) == 1
    error = capsys.readouterr().err
    assert "a-Si-one: no sweep here" in error and len(outbox.pending()) == 1 and not recorded()


@pytest.mark.slow
def test_the_space_is_changed_while_the_server_is_away(sweep_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, AWAY)
    results = []
    for largest in (0.3, 0.2):
        write_recipe(sweep_project, largest=largest)
        assert main(["tune", "a-Si", "--trials", "1", "--workers", "1"]) == 0
        results.append(json.loads((FOLDER / "result.json").read_text()))
    assert sync(monkeypatch) == 0 and not outbox.pending()
    store = open_store()
    runs = store.client.search_runs([store.experiments["tuning"]])
    for result in results:
        (parent,) = [r for r in runs if r.data.tags.get("study") == result["study"]]
        own = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
        (trial,) = [r for r in own if r.data.tags["round"] == "trials"]
        assert parent.info.status == "FINISHED"
        assert trial.data.metrics["held_out"] == pytest.approx(result["trials"][0]["values"]["held_out"])
        told = Path(store.client.download_artifacts(parent.info.run_id, "result.json")).read_text()
        assert json.loads(told) == result
