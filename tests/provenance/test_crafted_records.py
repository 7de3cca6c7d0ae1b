"""Structure files that ask for more than to be made again: nothing in them reaches git, DVC or the name of a file."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from traced_project import git

from glass_ml.cli.main import main
from glass_ml.files import sha256_file, sha256_text
from glass_ml.provenance.data import cached, fetch_file
from glass_ml.provenance.lineage import canonical_json, load_lineage, stamp
from glass_ml.provenance.models import Measured
from glass_ml.provenance.project import code_sha256, code_sha256_at, commit_exists
from glass_ml.structures.io import read_frames, write_frames

FROZEN = Path(__file__).with_name("format-1")


@pytest.fixture
def victim(tmp_path, monkeypatch):
    """A repository with a model and, in its history alone, a target and its measured files."""
    project = tmp_path / "project"
    shutil.copytree(FROZEN / "models", project / "models")
    (project / "targets" / "a-Si").mkdir(parents=True)
    for name in ("gr.csv", "sq.csv", "target.yaml"):
        shutil.copy(FROZEN / name, project / "targets" / "a-Si")
    (project / "dvc.yaml").write_text("stages: {}\n")
    git(project, "init")
    git(project, "add", ".")
    git(project, "commit", "-m", "project")
    monkeypatch.chdir(project)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return project


def craft(project, **fields):
    """A file whose checksums fit, whatever is in its record."""
    commit = git(project, "rev-parse", "HEAD").strip()
    honest = replace(load_lineage(FROZEN), git_commit=commit, code_sha256=code_sha256())
    frames = read_frames(FROZEN / "structures.extxyz")[:1]
    write_frames("../mail/crafted.extxyz", stamp(frames, replace(honest, **fields)))
    return "../mail/crafted.extxyz"


def everything(project):
    return {
        path: sha256_file(path) for path in project.parent.rglob("*") if path.is_file() and ".git" not in path.parts
    }


def refused(project, capfd, path, words, command="reproduce", status=2):
    before = everything(project)
    capfd.readouterr()
    assert main([command, path]) == status
    assert everything(project) == before
    error = capfd.readouterr().err
    assert words in error and error.count("\n") == 1
    assert len(git(project, "worktree", "list").splitlines()) == 1


@pytest.fixture
def spied(monkeypatch):
    """Every command line that is run."""
    lines = []
    run = subprocess.run

    def spy(command, *arguments, **options):
        lines.append([str(part) for part in command])
        return run(command, *arguments, **options)

    monkeypatch.setattr(subprocess, "run", spy)
    return lines


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"git_commit": "--output=x"}, "the recorded git commit is none"),
        ({"git_commit": "HEAD"}, "the recorded git commit is none"),
        ({"git_commit": "--upload-pack=touch x"}, "the recorded git commit is none"),
        ({"git_commit": "a" * 39}, "the recorded git commit is none"),
        ({"system": "../../x"}, "the recorded system is no name"),
        ({"system": "/tmp/x"}, "the recorded system is no name"),
        ({"system": ".hidden"}, "the recorded system is no name"),
        ({"data_md5": "../../x"}, "the recorded md5 of the data is none"),
        ({"model_sha256": "../x"}, "the recorded model_sha256 is no checksum"),
        ({"target_sha256": "' OR tags.x = '"}, "the recorded target_sha256 is no checksum"),
        ({"code_sha256": "A" * 64}, "the recorded code_sha256 is no checksum"),
        ({"measurements": (Measured("gr", "gr", "fit", "gr.csv", "../x"),)}, "sha256 of gr is no checksum"),
        ({"measurements": (Measured("gr", "gr", "fit", "gr.csv", "a" * 64 + "\n"),)}, "sha256 of gr is no checksum"),
        ({"params": {}}, "its checksum does not fit"),
    ],
)
def test_what_is_no_checksum_is_refused_before_anything_runs(victim, capfd, spied, fields, words):
    path = craft(victim, **fields)
    spied.clear()
    before = everything(victim)
    assert main(["reproduce", path]) == 2
    assert not spied and everything(victim) == before
    error = capfd.readouterr().err
    assert words in error and "frame 0" in error and error.count("\n") == 1


def test_an_edited_record_is_refused_before_anything_runs(victim, capfd, spied):
    path = Path(craft(victim))
    path.write_text(path.read_text().replace("glass_ml_seed=7", "glass_ml_seed=8"))
    spied.clear()
    assert main(["reproduce", str(path)]) == 2
    assert not spied and "its checksum does not fit" in capfd.readouterr().err


@pytest.mark.parametrize(
    "file", ["--output=x", "../x", "/absent/x.csv", "-ox", "targets/../targets/a-Si/gr.csv", ".git/config"]
)
def test_paths_of_a_record_reach_no_command(victim, capfd, spied, file):
    """What the history does not list under this name is not asked for."""
    gr, sq = load_lineage(FROZEN).measurements
    for name in ("gr.csv", "sq.csv"):
        Path("targets/a-Si", name).unlink()
    path = craft(victim, measurements=(replace(gr, file=file), sq), data_path=file, model_uri=file)
    spied.clear()
    refused(victim, capfd, path, "the recorded file of measurement 'gr' is nowhere")
    named = [part for line in spied for part in line if file in part]
    assert not named, named


def test_a_target_names_no_file_that_the_record_does_not(victim, capfd):
    (gr, _) = load_lineage(FROZEN).measurements
    refused(victim, capfd, craft(victim, measurements=(gr,)), "does not name the file of measurement 'sq'")


def test_trace_writes_nothing(victim, capfd):
    before = everything(victim)
    for commit in ("--output=x", "--remote=x", "HEAD"):
        assert main(["trace", craft(victim, git_commit=commit, data_path="../x", data_md5="../x")]) in (0, 1)
        assert {p for p in everything(victim) if p.suffix != ".extxyz"} == set(before)


def test_only_whole_names_reach_git(victim, tmp_path):
    commit = git(victim, "rev-parse", "HEAD").strip()
    assert commit_exists(victim, commit)
    for text in ("HEAD", commit[:12], "main", "--output=x", f"{commit}\n"):
        assert not commit_exists(victim, text) and code_sha256_at(victim, text) is None
        assert fetch_file(victim, text, "dvc.yaml", tmp_path / "new") is None
    assert cached(victim, "../../../dvc.yaml") is None
    found = fetch_file(victim, commit, "targets/a-Si/gr.csv", tmp_path / "new")
    assert found == tmp_path / "new" / "gr.csv" and sha256_file(found) == sha256_file("targets/a-Si/gr.csv")
    assert fetch_file(victim, commit, "targets", tmp_path / "new") is None


@pytest.mark.parametrize(
    "changed", [{"n_atoms": "--out=x"}, {"n_structures": 0}, {"sampling": "x"}, {"sampling": {"batch": 0}}]
)
def test_settings_that_are_none(victim, capfd, changed):
    params = {**load_lineage(FROZEN).params, **changed}
    path = craft(victim, params=params, params_sha256=sha256_text(canonical_json(params)))
    refused(victim, capfd, path, "the recorded settings are not those of an inversion")


@pytest.mark.parametrize("text", ["- a\n", "measurements: 5\n", "measurements: [{use: fit}]\n", "{", ""])
def test_a_target_that_is_none(victim, capfd, text):
    Path("targets/a-Si/target.yaml").write_text(text)
    path = craft(victim, target_sha256=sha256_text(text))
    refused(victim, capfd, path, "the recorded target is none")
