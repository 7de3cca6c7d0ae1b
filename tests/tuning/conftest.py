"""A project in which a sweep takes seconds."""

from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import write
from small_sweep import write_recipe


@pytest.fixture
def sweep_project(project: Path) -> Path:
    """A project whose hidden structures are crystals with a little disorder, of two quenches."""
    frames = []
    for seed in range(4):
        atoms = bulk("Si", "diamond", 5.43, cubic=True).repeat(2)
        atoms.rattle(0.1, seed=seed)
        atoms.info["quench"] = f"quench-{seed // 2}"
        frames.append(atoms)
    folder = project / "data" / "a-Si"
    folder.mkdir(parents=True)
    write(folder / "hidden.extxyz", frames)
    write_recipe(project)
    return project
