"""Records made again after the database is lost, from files and from DVC's history."""

import json
import shutil
from pathlib import Path

import yaml

from glass_ml.cli.main import main
from glass_ml.provenance.data import content_md5, file_md5, folder_entries
from glass_ml.provenance.lineage import model_sha256
from glass_ml.stages.rebuild import rebuild
from glass_ml.tracking.registry import aliases, register_prior, versions
from glass_ml.tracking.store import open_store


def commit_model(root, tools, keep=True):
    """models/a-Si as `dvc.lock` of a new commit names it; with `keep`, its content in DVC's cache."""
    folder = root / "models" / "a-Si"
    md5, entries = content_md5(folder, root), folder_entries(folder, root)
    lock = {"stages": {"train": {"cmd": "train", "outs": [{"path": "models/a-Si", "md5": md5}]}}}
    (root / "dvc.lock").write_text(yaml.safe_dump(lock))
    tools.git(root, "add", "dvc.lock")
    tools.git(root, "commit", "-m", "trained")
    if keep:
        cache = root / ".dvc/cache/files/md5"
        for entry in entries:
            place = cache / entry["md5"][:2] / entry["md5"][2:]
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / entry["relpath"], place)
            assert file_md5(place) == entry["md5"]
        (cache / md5[:2]).mkdir(parents=True, exist_ok=True)
        (cache / md5[:2] / md5[2:]).write_text(json.dumps(entries, sort_keys=True))
    return model_sha256(folder)


def test_a_lost_database_is_rebuilt_once(project, tools, monkeypatch):
    card = {"data_md5": "ab" * 16 + ".dir"}
    known = []
    for seed in (1, 2):
        tools.write_prior(project / "models/a-Si", seed=seed, **card)
        known.append(commit_model(project, tools))
    register_prior("models/a-Si", system="a-Si")
    inversion = tools.write_inversion("out/one")
    evaluation = {
        "measurements": {"sq": {"r_factor": 0.17, "chi2_reduced": 1.2}},
        "reference": {"angle.rmse": {"mean": 0.5}},
    }
    (inversion / "evaluation.json").write_text(json.dumps(evaluation))
    shutil.rmtree(project / "mlruns")
    monkeypatch.chdir(project.rename(project.with_name("moved")))  # MLflow holds the lost file open under its old name
    first = list(rebuild())
    assert [(item.kind, item.status) for item in first] == [
        ("model", "recorded"), ("model", "recorded"), ("model", "recorded"), ("inversion", "recorded"),
        ("evaluation", "recorded"),
    ]  # fmt: skip
    assert [item.status for item in rebuild()] == ["recorded"] * 5
    store = open_store()
    found = versions(store)
    assert [(int(v.version), v.tags["model_sha256"]) for v in found] == [(2, known[1]), (1, known[0])]
    assert aliases(store, "glass-a-Si")["candidate"] == 2
    (run,) = store.client.search_runs([store.experiments["inversions"]])
    assert run.data.tags["model_version"] == "glass-a-Si/2" and run.data.metrics["angle.rmse"] == 0.5
    noted = {key: value for key, value in found[0].tags.items() if key.startswith("evaluation/one/")}
    assert noted["evaluation/one/reference.angle.rmse"] == "0.5" and noted["evaluation/one/sq.r_factor"] == "0.17"


def test_the_candidate_stays_where_older_ones_are_found(project, tools, store):
    for seed in (1, 2):
        tools.write_prior(project / "models/a-Si", seed=seed)
        commit_model(project, tools)
    latest = register_prior("models/a-Si", system="a-Si", store=store)
    assert [item.status for item in rebuild()] == ["recorded"] * 3
    assert len(versions(store)) == 2 and aliases(store, "glass-a-Si")["candidate"] == latest.version


def test_what_dvc_has_no_longer_is_said(project, tools, capsys):
    tools.write_prior(project / "models/a-Si", seed=3)
    commit_model(project, tools, keep=False)
    shutil.rmtree(project / "models")
    assert main(["registry", "rebuild", str(Path("out"))]) == 1
    captured = capsys.readouterr()
    assert "neither DVC's cache nor its remote has its files" in captured.err and "0 recorded, 1 lost" in captured.out
