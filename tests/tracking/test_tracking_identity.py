"""Identities of code and data, against git and DVC themselves."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from glass_ml.errors import InputError
from glass_ml.provenance.data import content_md5, data_identity, recorded_data
from glass_ml.provenance.project import (
    PACKAGE,
    code_identity,
    code_sha256,
    code_sha256_at,
    commit_exists,
    project_root,
    worktree,
)


def test_worktree_is_the_nearest_project_and_dvc_names_the_root(project, monkeypatch, tmp_path):
    assert worktree(project / "targets") == worktree() == project_root() == project.resolve()
    monkeypatch.chdir(tmp_path)
    assert worktree() == project_root() == tmp_path.resolve()
    monkeypatch.setenv("DVC_ROOT", str(project))
    assert project_root() == project.resolve() and worktree() == tmp_path.resolve()


def test_code_identity_follows_git(project, tools, tmp_path):
    clean = code_identity()
    assert clean.git_commit == tools.git(project, "rev-parse", "HEAD").strip() and not clean.git_dirty
    (project / "dvc.lock").write_text("written by DVC while it runs\n")
    (project / "mine.yaml").write_text("a target that git does not know\n")
    assert not code_identity().git_dirty
    (project / "dvc.yaml").write_text("stages: {changed: {}}\n")
    assert code_identity().git_dirty
    outside = code_identity(tmp_path)
    assert (outside.git_commit, outside.git_dirty) == ("unknown", True)
    assert commit_exists(project, clean.git_commit) and not commit_exists(project, "0" * 40)


def test_code_hash_equals_that_of_the_commit(tmp_path, tools):
    package = tmp_path / "glass_ml"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    tools.git(tmp_path, "init")
    tools.git(tmp_path, "add", ".")
    tools.git(tmp_path, "commit", "-m", "code")
    identity = code_sha256(package)
    assert code_sha256_at(tmp_path, "HEAD") == identity
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "x.pyc").write_bytes(b"byte code")
    (package / ".hidden").write_text("an editor's file")
    assert code_sha256(package) == identity
    (package / "errors.py").write_text((package / "errors.py").read_text() + "\n")
    changed = code_sha256(package)
    assert changed != identity
    (package / "errors.py").rename(package / "mistakes.py")
    assert code_sha256(package) not in (changed, identity)
    assert code_sha256_at(tmp_path, "0" * 40) is None


@pytest.mark.oracle
def test_data_md5_is_the_one_of_dvc(tmp_path, monkeypatch):
    data = tmp_path / "data"
    for name in ("b/low.extxyz", "b-c/x", "a.csv", "Ångström/ü.json", ".hidden", "b/skip.tmp"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text(f"content of {name}\r\n")
    (data / "empty").mkdir()
    (tmp_path / ".dvcignore").write_text("# patterns\n*.tmp\n")
    dvc = [sys.executable, "-m", "dvc"]
    environment = {"DVC_NO_ANALYTICS": "true", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    for command in (["init", "--no-scm", "-q"], ["add", "data", "-q"]):
        # DVC writes its own .dvcignore unless there is one.
        subprocess.run([*dvc, *command], cwd=tmp_path, check=True, env=environment)
    expected = yaml.safe_load((tmp_path / "data.dvc").read_text())["outs"][0]["md5"]
    assert content_md5(data, tmp_path) == expected
    assert recorded_data("data/b", tmp_path) == data_identity("data", tmp_path)
    assert recorded_data("data", tmp_path).md5 == expected
    (tmp_path / ".dvcignore").unlink()
    assert content_md5(data, tmp_path) != expected


def test_data_identity_tells_the_truth(project, monkeypatch):
    recorded = recorded_data("data")
    part = data_identity("data/a-Si")
    assert data_identity() == recorded != part and part.path == "data/a-Si"
    (project / "data" / "other").write_text("not a part of it\n")
    assert data_identity("data/a-Si") == part and data_identity() != recorded
    (project / "data" / "other").unlink()
    (project / "data" / "a-Si" / "low.extxyz").write_text("edited\n")
    assert data_identity().md5 != recorded.md5
    monkeypatch.setenv("DVC_STAGE", "train")
    assert data_identity() == recorded
    monkeypatch.delenv("DVC_STAGE")
    (project / "data.dvc").unlink()
    assert data_identity().path == "data" and data_identity().md5.endswith(".dir")
    with pytest.raises(InputError, match="no such data"):
        data_identity("nowhere")
    Path("data.dvc").write_text("outs: []\n")
    with pytest.raises(InputError, match="not a DVC file"):
        data_identity()
