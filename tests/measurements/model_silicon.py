"""Silicon with thermal disorder."""

import numpy as np
from ase.build import bulk

from glass_ml.structures.io import from_atoms


def disordered_silicon(repeat=2, amplitude=0.15, copies=1):
    """Thermal diamond silicon: sharp shells, decaying correlations; (Structures, float64)."""
    frames = []
    for k in range(copies):
        atoms = bulk("Si", "diamond", a=5.43, cubic=True).repeat(repeat)
        atoms.positions += np.random.default_rng(k).normal(scale=amplitude, size=atoms.positions.shape)
        frames.append(atoms)
    return from_atoms(frames)
