"""What the tests of several rooms share: a project in a folder of its own."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.layout_engine import ConstrainedLayoutEngine
from small_project import git, write_small_prior, write_target
from sqlalchemy import event
from sqlalchemy.engine import Engine

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
def quick_databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """MLflow's schema takes a second to make and a part of one to check: both once, and copied for every other store.

    Nor does SQLite wait for the disk: what a killed process has committed is there without that. Other processes that
    a test starts make their stores as they do elsewhere.
    """
    made, create = tmp_path_factory.mktemp("schema") / "mlflow.db", store._create

    def copy(file: Path) -> None:
        if not made.exists():
            create(made)
            from mlflow.store.db import utils

            patch.setattr(utils, "_get_latest_schema_revision", cache(utils._get_latest_schema_revision))
        shutil.copyfile(made, file)

    def connected(connection: Any, record: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", connected)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_create", copy)
        yield
    event.remove(Engine, "connect", connected)


@pytest.fixture(scope="module", autouse=True)
def quick_layout(request: pytest.FixtureRequest) -> Iterator[None]:
    """Figures are drawn without the search for a good layout, half of what they cost, except for the marker `figures`.

    The marker is for whole files.
    """
    with pytest.MonkeyPatch.context() as patch:
        if request.node.get_closest_marker("figures") is None:
            patch.setattr(ConstrainedLayoutEngine, "execute", lambda self, figure: None)
        yield
