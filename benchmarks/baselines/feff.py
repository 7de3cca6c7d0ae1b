"""FEFF's own EXAFS of a site, and ours from the same list of neighbours."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.neighborlist import neighbor_list

from glass_ml.observables.exafs import Exafs
from glass_ml.observables.scattering_table import ScatteringTable
from glass_ml.simulation.feff import edge_parts, feff_input, run_feff, scattering_arrays

K = np.arange(3.0, 12.001, 0.05)


def table_of(atoms: Atoms, edge: str, site: int = 0) -> ScatteringTable:
    return ScatteringTable(edge, **scattering_arrays(atoms, site, edge_parts(edge)[1]), composition={}, origin="test")


def feff_chi(atoms: Atoms, site: int, edge: str, r_max: float, legs: int) -> np.ndarray:
    """chi(k) on `K` of FEFF's own path expansion: `legs` 2 is single scattering."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cards = f"RPATH {r_max}\nNLEG {legs}"
        (folder / "feff.inp").write_text(feff_input(atoms, site, edge_parts(edge)[1], cards=cards))
        run_feff(folder, "rdinp", "pot", "xsph", "pathfinder", "genfmt", "ff2x")
        k, chi = np.loadtxt(folder / "chi.dat", usecols=(0, 1)).T
    return np.interp(K, k, chi)


def our_chi(atoms: Atoms, site: int, table: ScatteringTable, r_max: float) -> np.ndarray:
    """chi(k) on `K` of one site, summed over its neighbours one by one."""
    model = Exafs(torch.from_numpy(K), table, limit=r_max, taper=1e-6)
    i, j, distance = neighbor_list("ijd", atoms, r_max)
    total = np.zeros(len(K))
    for z in set(atoms.numbers.tolist()):
        total += model.kernel(z, distance[(i == site) & (atoms.numbers[j] == z)]).sum(0)
    return total


def misfit(model: np.ndarray, reference: np.ndarray) -> float:
    """sum (k^2 (model - reference))^2 / sum (k^2 reference)^2."""
    return float(np.square(K**2 * (model - reference)).sum() / np.square(K**2 * reference).sum())
