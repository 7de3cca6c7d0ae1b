"""A project in which a sweep takes seconds."""

import shutil
from pathlib import Path

import pytest
from small_sweep import write_hidden, write_recipe


@pytest.fixture
def sweep_project(project: Path) -> Path:
    """A project with reference structures and a recipe of a sweep."""
    shutil.copytree(project / "models" / "a-Si", project / "trained" / "a-Si")
    write_hidden(project)
    write_recipe(project)
    return project
