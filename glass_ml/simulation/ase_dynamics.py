"""Molecular dynamics with an ASE calculator as the potential.

A file names a calculator and its arguments, never a module: reading it must not run what it chooses. `emt` and
`lennard-jones` are known; a calculator of one's own is made known in Python, before `generate`:

    from glass_ml.simulation.ase_dynamics import register_calculator
    from my_potentials import Tuned            # a class or function of a module that can be imported
    register_calculator("tuned", Tuned)        # potentials: {mine: {citation: ..., ase: tuned, arguments: {...}}}
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
from ase.optimize import FIRE

from glass_ml.config import reject_unknown
from glass_ml.errors import InputError
from glass_ml.simulation.recipe import THERMOSTAT_TIME, AsePotential

CALCULATORS = {"emt": "ase.calculators.emt:EMT", "lennard-jones": "ase.calculators.lj:LennardJones"}
"""Name -> where it is imported from, "module:name": every melt-quench is a process of its own and imports it anew."""

STRIDE = 10  # steps between two changes of the temperature of a ramp


def register_calculator(name: str, factory: Callable[..., Any]) -> None:
    """Let potentials name a calculator of one's own.

    Args:
        name: what the key `ase` of a potential says.
        factory: class or function at the top of an importable module (not of a script that runs); called with the
            potential's `arguments`.

    Raises:
        InputError: the name is taken, or the factory cannot be imported by another process.
    """
    place = f"{factory.__module__}:{factory.__qualname__}"
    if CALCULATORS.get(name, place) != place:
        raise InputError(f"the calculator '{name}' is {CALCULATORS[name]}", "name", "choose another")
    if factory.__module__ == "__main__" or "." in factory.__qualname__:
        raise InputError(f"{place} cannot be imported by another process", "factory", "put it at the top of a module")
    CALCULATORS[name] = place


def calculator_of(potential: AsePotential) -> Any:
    """The ASE calculator of a potential.

    Raises:
        InputError: it is not known, or refuses its arguments.
    """
    if potential.ase not in CALCULATORS:
        mend = f"known: {', '.join(CALCULATORS)}; register_calculator makes others known"
        raise InputError(f"no ASE calculator '{potential.ase}'", f"potential {potential.name}: ase", mend)
    module, _, name = CALCULATORS[potential.ase].partition(":")
    factory = getattr(importlib.import_module(module), name)
    try:
        calculator = factory(**potential.arguments)
    except (TypeError, ValueError) as error:
        raise InputError(f"{potential.ase}: {error}", f"potential {potential.name}: arguments") from None
    # ASE's own calculators take any argument and ignore what they do not know.
    if known := getattr(calculator, "default_parameters", None):
        reject_unknown(potential.arguments, known, f"potential {potential.name}: arguments")
    return calculator


class AseDynamics:
    """A `Simulator`: FIRE for the minima, Langevin dynamics for the rest (ase.md.langevin)."""

    def __init__(self, atoms: Atoms, potential: AsePotential) -> None:
        self.atoms = atoms.copy()
        self.atoms.calc = calculator_of(potential)

    def settle(self) -> None:
        """Push apart the atoms of a random start: a short minimisation."""
        self._minimise(200, energy=1e-4)

    def start(self, temperature: float, seed: int, timestep: float) -> None:
        """Give the atoms velocities of a temperature (K) and choose the time step (ps)."""
        rng = np.random.default_rng(seed)
        MaxwellBoltzmannDistribution(self.atoms, temperature_K=temperature, rng=rng)
        Stationary(self.atoms)
        ps = 1000 * units.fs
        self.dynamics = Langevin(
            self.atoms, timestep * ps, temperature_K=temperature, friction=1 / (THERMOSTAT_TIME * ps),
            fixcm=False, rng=rng,
        )  # fmt: skip

    def hold(self, first: float, last: float, steps: int) -> None:
        """Run at a temperature (K) that goes linearly from `first` to `last`."""
        for done in range(0, steps, STRIDE):
            count = min(STRIDE, steps - done)
            self.dynamics.set_temperature(temperature_K=first + (last - first) * (done + count / 2) / steps)
            self.dynamics.run(count)

    def minimise(self) -> None:
        """Go to the nearest minimum of the potential energy: forces below 1e-3 eV/Å in all, or 2000 steps."""
        self._minimise(2000, force=1e-3)

    def _minimise(self, steps: int, energy: float = 0.0, force: float = 0.0) -> None:
        last = np.inf
        for _ in FIRE(self.atoms, logfile=None).irun(fmax=0.0, steps=steps):
            now = self.energy()
            if np.linalg.norm(self.atoms.get_forces()) < force or abs(last - now) < energy * abs(now):
                break
            last = now

    def positions(self) -> np.ndarray:
        """Positions (N, 3) Å."""
        return self.atoms.get_positions()

    def energy(self) -> float:
        """Potential energy (eV)."""
        return float(self.atoms.get_potential_energy())

    def close(self) -> None:
        """Nothing is held."""
