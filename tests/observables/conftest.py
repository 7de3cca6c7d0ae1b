"""Structures that the tests of the forward models share."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from model_crystals import thermal

from glass_ml.structures.io import from_atoms
from glass_ml.structures.state import Structures


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def binary() -> Structures:
    """Two small random triclinic systems of Si and O with different cells and compositions, float64."""
    rng = np.random.default_rng(3)
    frames = []
    for n, symbols in ((12, "Si4O8"), (10, "Si5O5")):
        cell = 6.5 * np.eye(3) + rng.uniform(-0.8, 0.8, (3, 3))
        frames.append(Atoms(symbols, scaled_positions=rng.random((n, 3)), cell=cell, pbc=True))
    return from_atoms(frames)


@pytest.fixture
def silica_like() -> Structures:
    """One disordered binary system of 192 atoms: alpha-cristobalite-like beta-SiO2 with thermal motion, float64."""
    cristobalite = bulk("Si", "diamond", a=7.16, cubic=True)
    silicon = cristobalite.positions
    bonds = []
    for k in range(len(silicon)):
        for other in range(k + 1, len(silicon)):
            d = cristobalite.get_distance(k, other, mic=True, vector=True)
            if np.linalg.norm(d) < 3.3:
                bonds.append(silicon[k] + d / 2)
    atoms = cristobalite + Atoms(f"O{len(bonds)}", positions=bonds)
    return from_atoms([thermal(atoms.repeat(2), 0.12)])
