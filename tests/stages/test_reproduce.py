"""Structures made again by the code of a commit, from what their lineage names alone."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_project import TARGET, git, write_material, write_small_prior, write_target

import glass_ml
from glass_ml.cli.main import main
from glass_ml.files import sha256_file
from glass_ml.provenance.models import is_checkpoint
from glass_ml.provenance.project import code_identity
from glass_ml.provenance.recall import recall_file
from glass_ml.structures.io import read_frames, write_frames

RECIPE = """\
target: {reference: none}
sampling: {schedule: {steps: 6, sigma_max: 0.8, sigma_min: 0.1}, temperature: {structure: 0.3}}
inversion: {n_structures: 3, n_atoms: 24, processes: 1}
"""


@pytest.fixture
def inverted(project):
    """A project that holds the package and its history; an inversion made by what is committed."""
    shutil.copytree(Path(glass_ml.__file__).parent, project / "glass_ml", ignore=shutil.ignore_patterns("__pycache__"))
    write_material(project, RECIPE)
    git(project, "add", "glass_ml", "params.yaml", "materials")
    git(project, "commit", "-q", "-m", "code")
    assert not code_identity().git_dirty
    assert main(["invert", "targets/a-Si/target.yaml", "--seed", "7", "--out", "out", "--no-track"]) == 0
    return project


def reproduced(capfd, *arguments):
    capfd.readouterr()
    status = main(["reproduce", *arguments, "--json"])
    return status, json.loads(capfd.readouterr().out)


def worktrees(project):
    done = subprocess.run(["git", "worktree", "list"], cwd=project, capture_output=True, text=True, check=True)
    return len(done.stdout.splitlines())


def test_one_frame_from_elsewhere_by_the_recorded_commit(inverted, tmp_path, capfd):
    """The settings, the code and the target have moved on; the record and the history still make the same structure."""
    write_frames(tmp_path / "paper.extxyz", read_frames("out/structures.extxyz")[1:2])
    commit = git_head(inverted)
    write_material(inverted, RECIPE.replace("0.3", "0.9"))
    (inverted / "glass_ml" / "sampling" / "sampler.py").write_text("raise RuntimeError('the code of today')\n")
    git(inverted, "commit", "-q", "-a", "-m", "other code")
    status, document = reproduced(capfd, str(tmp_path / "paper.extxyz"))
    assert status == 0 and document["identical"]
    (done,) = document["reproductions"]
    assert done["code"] == f"commit {commit[:12]}" and not done["differences"]
    assert [(c["frame"], c["replica"], c["displacement"]) for c in done["compared"]] == [(0, 1, 0.0)]
    assert done["again"]["code_sha256"] == done["lineage"]["code_sha256"]
    assert worktrees(inverted) == 1 and not (inverted / "mlruns").exists()


def git_head(folder):
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.slow
def test_an_edited_or_unsigned_frame(inverted, capfd):
    frames = read_frames("out/structures.extxyz")
    frames[1].positions[3] += np.array([0.0, 0.125, 0.0])  # its stamp still says what it was
    write_frames("edited.extxyz", frames)
    status, document = reproduced(capfd, "edited.extxyz")
    (done,) = document["reproductions"]
    assert status == 1 and [c["identical"] for c in done["compared"]] == [True, False, True]
    assert done["compared"][1]["displacement"] == pytest.approx(0.125, abs=1e-6)
    frames[2].info.clear()
    write_frames("unsigned.extxyz", frames)
    assert main(["reproduce", "unsigned.extxyz"]) == 2
    assert "unsigned.extxyz: frame 2: the structure carries no glass_ml lineage" in capfd.readouterr().err


@pytest.mark.slow
def test_a_frame_of_an_ensemble_that_was_fitted_together_with_restraints(project, tmp_path, capfd):
    """Every replica depends on the others there."""
    restraints = "restraints:\n  - {coordination: Si-Si, cutoff: 2.85, number: 4}\n"
    write_target(project / "targets" / "a-Si", TARGET + restraints)
    write_material(project, RECIPE.replace("sampling: {", "sampling: {fit: ensemble, "))
    assert main(["invert", "targets/a-Si/target.yaml", "--out", "out", "--no-track"]) == 0
    write_frames(tmp_path / "paper.extxyz", read_frames("out/structures.extxyz")[:1])
    shutil.rmtree("out")
    status, document = reproduced(capfd, str(tmp_path / "paper.extxyz"))
    assert status == 0 and document["identical"]


def test_weights_out_of_the_history_come_with_their_card(inverted, tmp_path):
    from glass_ml.provenance.lineage import load_lineage

    git(inverted, "add", "-f", "models/a-Si")
    git(inverted, "commit", "-q", "-m", "model")
    weights = Path("models/a-Si/model.safetensors")
    lineage = replace(load_lineage("out"), git_commit=git_head(inverted))
    sha256 = sha256_file(weights)
    write_small_prior(inverted / "models" / "a-Si", seed=1)
    found = recall_file(str(weights), sha256, lineage, inverted, tmp_path, tmp_path / "fetched")
    assert found is not None and sha256_file(found) == sha256 and is_checkpoint(found.parent)


@pytest.mark.slow
def test_a_structure_that_was_not_made_so(inverted, capfd):
    """Another replica under the stamp of this one: the records hold, the structure does not."""
    frames = read_frames("out/structures.extxyz")
    frames[0].positions[3] += np.array([0.25, 0.0, 0.0])
    write_frames("changed.extxyz", frames)
    from glass_ml.provenance.lineage import read_stamp, stamp

    write_frames("changed.extxyz", stamp(frames, read_stamp(frames[0]).lineage))
    status, document = reproduced(capfd, "changed.extxyz", "--out", "again")
    (done,) = document["reproductions"]
    assert status == 1 and not document["identical"]
    assert [c["identical"] for c in done["compared"]] == [False, True, True]
    assert done["compared"][0]["displacement"] == pytest.approx(0.25, abs=1e-6)
    assert len(read_frames("again/structures.extxyz")) == 3
    assert main(["reproduce", "changed.extxyz", "--out", "again"]) == 2  # nothing is written over


@pytest.mark.slow
def test_files_come_out_of_the_history_though_the_registry_is_away(inverted, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody listens there
    shutil.move("out/structures.extxyz", "alone.extxyz")
    shutil.rmtree("out")
    Path("targets/a-Si/gr.csv").write_text("1.0,0.0\n1.1,0.0\n1.2,0.1\n")
    Path("targets/a-Si/target.yaml").write_text("system: a-Si\n")
    status, document = reproduced(capfd, "alone.extxyz")
    assert status == 0 and document["identical"]


def test_what_is_nowhere_is_said(inverted, capfd):
    shutil.copytree("targets/a-Si", "mine")  # in no commit
    Path("mine/gr.csv").write_text(Path("mine/gr.csv").read_text() + "6.0,1.0\n")
    Path("mine/target.yaml").write_text(Path("mine/target.yaml").read_text() + "note: mine\n")
    assert main(["invert", "mine/target.yaml", "-n", "1", "--out", "out", "--no-track"]) == 0
    shutil.move("out/structures.extxyz", "alone.extxyz")
    shutil.rmtree("out")
    write_small_prior(inverted / "models" / "a-Si", seed=1)
    assert main(["reproduce", "alone.extxyz"]) == 2
    assert "the recorded model is nowhere" in capfd.readouterr().err
    write_small_prior(inverted / "models" / "a-Si", seed=0)
    Path("mine/gr.csv").write_text("1.0,0.0\n1.1,0.0\n1.2,0.1\n")
    assert main(["reproduce", "alone.extxyz"]) == 2
    assert "the recorded file of measurement 'gr' is nowhere" in capfd.readouterr().err
    Path("mine/target.yaml").unlink()
    assert main(["reproduce", "alone.extxyz"]) == 2
    assert "the recorded target is nowhere" in capfd.readouterr().err
    assert worktrees(inverted) == 1


def test_code_that_was_never_committed(project, capfd):
    write_material(project, RECIPE)
    assert main(["invert", "targets/a-Si/target.yaml", "-n", "1", "--out", "out", "--no-track"]) == 0
    status, document = reproduced(capfd, "out/structures.extxyz")
    assert status == 0 and document["reproductions"][0]["code"] == "the code here"
    from ase.build import bulk

    write_frames("other.extxyz", [bulk("Si", cubic=True)])
    assert main(["reproduce", "other.extxyz"]) == 2
    assert "carries no glass_ml lineage" in capfd.readouterr().err
