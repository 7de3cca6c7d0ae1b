"""What the tests of several rooms share: a project in a folder of its own."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from matplotlib.layout_engine import ConstrainedLayoutEngine
from small_project import git, write_small_prior, write_target

from glass_ml.tracking import store

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


@pytest.fixture(scope="session", autouse=True)
def databases_are_copied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """MLflow's schema takes a second to make: it is made once, and copied for every other store of these processes.

    Stores that other processes make are made by MLflow.
    """
    made, create = tmp_path_factory.mktemp("schema") / "mlflow.db", store._create

    def copy(file: Path) -> None:
        if not made.exists():
            create(made)
        shutil.copyfile(made, file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_create", copy)
        yield


@pytest.fixture(scope="module", autouse=True)
def quick_layout(request: pytest.FixtureRequest) -> Iterator[None]:
    """Figures are drawn without the search for a good layout, half of what they cost, except for the marker `figures`.

    The marker is for whole files.
    """
    with pytest.MonkeyPatch.context() as patch:
        if request.node.get_closest_marker("figures") is None:
            patch.setattr(ConstrainedLayoutEngine, "execute", lambda self, figure: None)
        yield
