"""A project in which a sweep takes seconds."""

from pathlib import Path

import pytest
from small_sweep import write_hidden, write_recipe


@pytest.fixture
def sweep_project(project: Path) -> Path:
    """A project with hidden structures and a recipe of a sweep."""
    write_hidden(project)
    write_recipe(project)
    return project
