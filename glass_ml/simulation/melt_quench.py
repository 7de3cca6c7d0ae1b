"""A melt-quench by any program. Run as a module, it is the child process that a crash of the program stays within."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from glass_ml.simulation.ase_dynamics import CALCULATORS
from glass_ml.simulation.recipe import AsePotential, Job
from glass_ml.simulation.simulator import simulating

MIN_DISTANCE = 1.6
"""Å between the atoms of a random start: no potential here is singular there."""


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


def melt_quench(job: Job) -> list[Atoms]:
    """The thermal frames of a job and, last, its minimised frame. Positions are wrapped and rounded to 1e-5 Å."""
    quench = job.quench
    symbols = [element for element, number in job.numbers.items() for _ in range(number)]
    start = random_start(quench.n_atoms, job.cell_length, np.random.default_rng(job.seed))
    atoms = Atoms(symbols, start, cell=[job.cell_length] * 3, pbc=True)

    def frame(positions: np.ndarray, state: str) -> Atoms:
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

    with simulating(atoms, list(quench.composition), quench.potential) as simulator:

        def hold(first: float, last: float, time: float) -> None:
            simulator.hold(first, last, round(time / quench.timestep))

        simulator.settle()
        simulator.start(quench.melt_temperature, job.seed, quench.timestep)
        hold(quench.melt_temperature, quench.melt_temperature, quench.melt_time)
        hold(quench.melt_temperature, quench.temperature, quench.quench_time)
        hold(quench.temperature, quench.temperature, quench.equilibration_time)
        frames = []
        for _ in range(quench.snapshots):
            hold(quench.temperature, quench.temperature, quench.snapshot_time)
            frames.append(frame(simulator.positions(), "thermal"))
        simulator.minimise()
        frames.append(frame(simulator.positions(), "minimised"))
    return frames


def main() -> None:
    """Read a job from stdin, write its frames to the path of the first argument, whole or not at all.

    A second argument is where the calculator of the job is to be imported from: see `register_calculator`.
    """
    target = Path(sys.argv[1]).resolve()
    beside = target.with_name(f"{target.stem}.{os.getpid()}.tmp")
    job = Job.from_json(sys.stdin.read())
    if isinstance(job.quench.potential, AsePotential):
        CALCULATORS[job.quench.potential.ase] = sys.argv[2]
    ase.io.write(beside, melt_quench(job), format="extxyz")
    beside.replace(target)


if __name__ == "__main__":
    main()
