"""Crystals, at rest and moving."""

import numpy as np
from ase import Atoms
from ase.build import bulk, make_supercell

SHEAR = np.array([[3, 1, 0], [0, 3, 1], [1, 0, 4]])


def crystal(name: str, lattice: str, a: float, *, shear: bool = True) -> Atoms:
    """A crystal in a triclinic supercell."""
    cell = bulk(name, lattice, a=a, covera=(8 / 3) ** 0.5) if lattice == "hcp" else bulk(name, lattice, a=a)
    return make_supercell(cell, SHEAR if shear else np.eye(3))


def thermal(atoms: Atoms, amplitude: float = 0.1, seed: int = 0) -> Atoms:
    """Every atom displaced by a Gaussian of that standard deviation per direction, Å."""
    moved = atoms.copy()
    moved.positions += np.random.default_rng(seed).normal(scale=amplitude, size=moved.positions.shape)
    return moved
