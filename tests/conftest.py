"""What the tests of several rooms share: a project in a folder of its own."""

import os
from pathlib import Path

import pytest
import torch
from small_project import git, write_small_prior, write_target

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
torch.set_num_threads(1)


@pytest.fixture()
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with models/a-Si and targets/a-Si, as the current folder."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "dvc.yaml").write_text("stages: {}\n")
    git(folder, "init", "-q")
    write_small_prior(folder / "models" / "a-Si")
    write_target(folder / "targets" / "a-Si")
    git(folder, "add", "dvc.yaml", "targets")
    git(folder, "commit", "-q", "-m", "project")
    monkeypatch.chdir(folder)
    for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return folder
