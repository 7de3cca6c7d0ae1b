"""What a protocol asks of a molecular dynamics program, whichever it is."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from typing import Protocol

import numpy as np
from ase import Atoms

from glass_ml.simulation.recipe import LammpsPotential, Potential


class Simulator(Protocol):
    """One periodic cell under one potential, at constant volume."""

    def settle(self) -> None:
        """Push apart the atoms of a random start: a short minimisation."""

    def start(self, temperature: float, seed: int, timestep: float) -> None:
        """Give the atoms velocities of a temperature (K) and choose the time step (ps)."""

    def hold(self, first: float, last: float, steps: int) -> None:
        """Run at a temperature (K) that goes linearly from `first` to `last`."""

    def minimise(self) -> None:
        """Go to the nearest minimum of the potential energy: forces below 1e-3 eV/Å in all, or 2000 steps."""

    def positions(self) -> np.ndarray:
        """Positions (N, 3) Å in the order of the atoms given, wrapped or not."""

    def energy(self) -> float:
        """Potential energy (eV)."""

    def close(self) -> None:
        """Free what the program holds."""


@contextlib.contextmanager
def simulating(atoms: Atoms, elements: list[str], potential: Potential) -> Iterator[Simulator]:
    """The program that a potential is for, with a periodic orthorhombic configuration in it.

    Args:
        atoms: the configuration.
        elements: the order of the atom types in the potential's commands.
        potential: of LAMMPS or ASE.

    Raises:
        InputError: the program is not installed, or does not know the potential.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # which receives potential files
        simulator: Simulator
        if isinstance(potential, LammpsPotential):
            from glass_ml.simulation.lammps import Lammps

            simulator = Lammps(atoms, elements, potential)
        else:
            from glass_ml.simulation.ase_dynamics import AseDynamics

            simulator = AseDynamics(atoms, potential)
        try:
            yield simulator
        finally:
            simulator.close()


def require_program(potential: Potential) -> None:
    """Check, before anything runs, that there is what a potential needs.

    Raises:
        InputError: LAMMPS is not installed, or ASE's calculator is unknown or refuses its arguments.
    """
    if isinstance(potential, LammpsPotential):
        from glass_ml.simulation.lammps import require_lammps

        require_lammps()
    else:
        from glass_ml.simulation.ase_dynamics import calculator_of

        calculator_of(potential)


def potential_energy(atoms: Atoms, potential: Potential) -> float:
    """Potential energy (eV) of a periodic orthorhombic configuration."""
    with simulating(atoms, list(dict.fromkeys(atoms.get_chemical_symbols())), potential) as simulator:
        return simulator.energy()
