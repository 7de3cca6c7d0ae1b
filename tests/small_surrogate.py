"""A surrogate in small: random weights, or trained on a toy whose spectra are known functions of the environment."""

from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.io import write

from glass_ml.observables.surrogate import Scales, Surrogate
from glass_ml.settings.surrogate import EnvironmentConfig, SurrogateConfig
from glass_ml.structures.io import from_atoms
from glass_ml.structures.state import Structures

CONFIG = SurrogateConfig(
    EnvironmentConfig(cutoff=2.6, radial=5),
    channels=4,
    features=8,
    rounds=2,
    message_channels=3,
    components=3,
    members=3,
    blind_members=1,
)
ENERGIES = torch.linspace(280.0, 300.0, 11, dtype=torch.float64)


def random_surrogate(elements: tuple[int, ...] = (6,), absorber: int = 6, seed: int = 0) -> Surrogate:
    """Weights, basis and scales of random numbers."""
    torch.manual_seed(seed)
    blank = Surrogate(absorber, elements, CONFIG, ENERGIES)
    scales = Scales(
        torch.rand_like(blank.density_scale) + 0.5,
        torch.rand(len(ENERGIES)),
        torch.randn(CONFIG.components, len(ENERGIES)),
        torch.rand_like(blank.centre),
        torch.eye(len(blank.centre)),
        torch.tensor(3.0),
    )
    surrogate = Surrogate(absorber, elements, CONFIG, ENERGIES, scales, calibration=(1.5, 2.0))
    return surrogate.eval().requires_grad_(False)


def carbon(seed: int = 0, repeat: int = 1, a: float = 3.57, noise: float = 0.1) -> Atoms:
    """Distorted diamond in a triclinic cell."""
    atoms = bulk("C", "diamond", a=a, cubic=True).repeat(repeat)
    shear = np.eye(3) + np.array([[0, 0.03, 0.02], [0, 0, -0.04], [0, 0, 0.05]])
    atoms.set_cell(atoms.cell.array @ shear, scale_atoms=True)
    atoms.positions += np.random.default_rng(seed).normal(scale=noise, size=atoms.positions.shape)
    return atoms


def batch(*frames: Atoms) -> Structures:
    """Frames as one batch, float64."""
    return from_atoms(list(frames))


def toy_spectra(atoms: Atoms, energies: np.ndarray) -> np.ndarray:
    """A line per atom whose place is the mean distance of its four nearest neighbours."""
    distances = np.sort(atoms.get_all_distances(mic=True), axis=1)[:, 1:5].mean(axis=1)
    place = 290.0 + 40.0 * (distances - 1.55)
    return np.exp(-0.5 * ((energies[None] - place[:, None]) / 3.0) ** 2)


def write_toy(folder: Path, densities: tuple[float, ...] = (3.4, 3.57, 3.7), each: int = 2) -> Path:
    """A data folder of distorted diamond at a few lattice constants, named aDENSITY_N."""
    (folder / "structures").mkdir(parents=True)
    (folder / "xanes").mkdir()
    for a in densities:
        for k in range(each):
            atoms = carbon(seed=k + int(100 * a), a=a)
            write(folder / "structures" / f"a{a}_{k}.extxyz", atoms)
            np.savetxt(folder / "xanes" / f"a{a}_{k}.txt", toy_spectra(atoms, ENERGIES.numpy()), fmt="%.6f")
    np.savetxt(folder / "energies.txt", ENERGIES.numpy())
    return folder
