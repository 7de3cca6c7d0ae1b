"""What a simulation is made of: a potential, batches of identical melt-quenches, a recipe for a material."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from glass_ml import units
from glass_ml.config import build
from glass_ml.errors import InputError

THERMOSTAT_TIME = 0.1
"""ps, relaxation time of the thermostats of all simulators."""

GOLDEN_RATIO = 0.6180339887498949


COMMANDS = (
    "pair_style", "pair_coeff", "pair_modify", "bond_style", "bond_coeff", "angle_style", "angle_coeff",
    "dihedral_style", "dihedral_coeff", "improper_style", "improper_coeff", "special_bonds", "kspace_style",
    "kspace_modify", "dielectric", "neighbor", "neigh_modify",
)  # fmt: skip
"""LAMMPS commands that a potential may consist of. Others run programs, or read and write files."""

RUN_CODE = frozenset({"python", "mliap", "kim"})
"""Styles that load code, and so have no place in a file that comes from somebody else."""

PLAIN_NAME = re.compile(r"\w[\w.-]*")


@dataclass(frozen=True)
class LammpsPotential:
    """An interatomic potential, as the LAMMPS commands (metal units) that define it.

    Attributes:
        name: what it is called in every frame and in the card.
        citation: the papers that publish it.
        commands: LAMMPS commands from `pair_style` on. Atom types are numbered in the order of the
            composition; a potential file is looked for in `files`, then among those that LAMMPS ships.
        files: potential files that LAMMPS does not ship: name -> text.
        charges: charge (e) of each element, for potentials with Coulomb terms.
        cost_us: CPU time of one atom and one step (µs), to order the jobs and to estimate the time left.

    Raises:
        InputError: a command that does not belong to a potential, or could run code.
    """

    name: str
    citation: str
    commands: tuple[str, ...]
    files: dict[str, str] = field(default_factory=dict)
    charges: dict[str, float] = field(default_factory=dict)
    cost_us: float = 1.0

    def __post_init__(self) -> None:
        for command in self.commands:
            first, *rest = command.split() or [""]
            styles = {word.partition("/")[0] for word in rest} if first.endswith("_style") else set()
            if first not in COMMANDS or "\n" in command or "&" in command or "$" in command or styles & RUN_CODE:
                mend = f"a potential consists of {', '.join(COMMANDS)}, one a line, of styles that run no code"
                raise InputError(f"the command '{command}' is not allowed", "commands", mend)
        if not self.commands or not self.commands[0].startswith("pair_style "):
            raise InputError("no pair_style", "commands", "begin with 'pair_style ...'")
        for name in self.files:
            if PurePath(name).name != name:
                raise InputError(f"'{name}' is not a bare file name", "files", "leave out the folder")


@dataclass(frozen=True)
class AsePotential:
    """An interatomic potential, as an ASE calculator.

    Attributes:
        name: what it is called in every frame and in the card.
        citation: the papers that publish it.
        ase: name of the calculator: `emt`, `lennard-jones`, or one that `register_calculator` has made known
            (glass_ml/simulation/ase_dynamics.py); never an import path, as reading a file must not run what it names.
        arguments: of the calculator, such as {sigma: 3.4, epsilon: 0.0104, rc: 8.5}.
        cost_us: CPU time of one atom and one step (µs), to order the jobs and to estimate the time left.
    """

    name: str
    citation: str
    ase: str
    arguments: dict[str, Any] = field(default_factory=dict)
    cost_us: float = 100.0


Potential = LammpsPotential | AsePotential


def potential_from(mapping: dict[str, Any], where: str) -> Potential:
    """A potential of either kind: that of ASE has the key `ase`.

    Raises:
        InputError: an unknown or missing key, or a value of the wrong type.
    """
    if "ase" in mapping:
        return build(AsePotential, mapping, where)
    return build(LammpsPotential, mapping, where)


@dataclass(frozen=True)
class Quench:
    """A batch of melt-quenches that differ in seed and density only.

    Each run: random close start, minimised; melt at `melt_temperature`; linear cooling to `temperature`;
    equilibration; `snapshots` thermal frames `snapshot_time` apart; minimisation of the last of them.
    Constant volume throughout; Nosé-Hoover thermostat in LAMMPS, Langevin's with an ASE calculator.

    Attributes:
        name: name of the batch, unique in its recipe.
        collection: the file that its frames go to, without suffix: "train" or "reference-<name>".
        composition: element -> number of atoms in the formula unit.
        n_atoms: atoms in the cubic cell, a whole number of formula units.
        density: lowest and highest density (g/cm^3). Runs are spread between them so that the first few
            already cover the range.
        count: number of runs.
        melt_temperature: K, high enough to forget the start.
        melt_time: ps at that temperature.
        quench_time: ps of linear cooling.
        timestep: ps.
        temperature: K, of the thermal frames.
        equilibration_time: ps at `temperature` before the first thermal frame.
        snapshots: thermal frames of each run.
        snapshot_time: ps between thermal frames.

    Raises:
        InputError: a value that no simulation can have.
    """

    name: str
    collection: str
    potential: Potential
    composition: dict[str, int]
    n_atoms: int
    density: tuple[float, float]
    count: int
    melt_temperature: float
    melt_time: float
    quench_time: float
    timestep: float
    temperature: float = 300.0
    equilibration_time: float = 2.0
    snapshots: int = 3
    snapshot_time: float = 1.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, int | float) and not (value > 0 or (value == 0 and name.endswith("_time"))):
                raise InputError(f"{value} is not positive", name, "give a number above 0")
        if self.quench_time == 0 or self.snapshot_time == 0:
            raise InputError("0 ps are no time", "quench_time, snapshot_time", "give a number above 0")
        if unknown := [e for e, n in self.composition.items() if e not in atomic_numbers or n < 1]:
            raise InputError(f"'{unknown[0]}' is no element with a whole number of atoms", "composition")
        if not self.composition or self.n_atoms % sum(self.composition.values()):
            mend = f"give a multiple of {sum(self.composition.values())}"
            raise InputError(f"{self.n_atoms} atoms are no whole number of formula units", "n_atoms", mend)
        if not 0 < self.density[0] <= self.density[1]:
            raise InputError(f"{list(self.density)} is not a range", "density", "give [lowest, highest] in g/cm^3")
        if units.number_density(self.density[1], self.composition) > units.MAX_DENSITY:
            raise InputError(f"{self.density[1]} g/cm^3 is denser than any solid", "density", "give g/cm^3")
        if not PLAIN_NAME.fullmatch(self.name):
            raise InputError(f"'{self.name}' is no name", "name", "use letters, digits, '-', '_' and '.'")
        if self.collection != "train" and not re.fullmatch(rf"reference-{PLAIN_NAME.pattern}", self.collection):
            raise InputError(f"'{self.collection}' is no collection", "collection", "give train or reference-<name>")
        charges = getattr(self.potential, "charges", {})
        if charges and (missing := [e for e in self.composition if e not in charges]):
            raise InputError(f"the potential '{self.potential.name}' has no charge of {missing[0]}", "potential")

    @property
    def role(self) -> str:
        """`train`, or `reference`: what targets are simulated from and no prior ever sees."""
        return "train" if self.collection == "train" else "reference"

    @property
    def rate(self) -> float:
        """Cooling rate (K/ps)."""
        return (self.melt_temperature - self.temperature) / self.quench_time

    @property
    def steps(self) -> int:
        """Time steps of one run."""
        time = self.melt_time + self.quench_time + self.equilibration_time + self.snapshots * self.snapshot_time
        return round(time / self.timestep)

    @property
    def cost(self) -> float:
        """Estimated CPU seconds of one run."""
        return self.steps * self.n_atoms * self.potential.cost_us * 1e-6

    def density_of(self, index: int) -> float:
        """Density (g/cm^3) of run `index`: a golden-ratio sequence from the middle of the range."""
        low, high = self.density
        return round(low + (high - low) * ((0.5 + index * GOLDEN_RATIO) % 1.0), 4)


@dataclass(frozen=True)
class Recipe:
    """Everything that is simulated for one material.

    Raises:
        InputError: two batches share a name, or training and reference a potential.
    """

    system: str
    quenches: tuple[Quench, ...]

    def __post_init__(self) -> None:
        names = [quench.name for quench in self.quenches]
        if len(set(names)) < len(names):
            raise InputError("two batches share a name", self.system, "give each its own")
        trained = {quench.potential.name for quench in self.quenches if quench.role == "train"}
        shared = {quench.potential.name for quench in self.quenches if quench.role == "reference"} & trained
        if shared:
            mend = "a reference must be of another potential than what the prior learns from"
            raise InputError(f"training and reference share the potential {sorted(shared)}", self.system, mend)


@dataclass(frozen=True)
class Job:
    """One melt-quench: a run of a batch with its density (g/cm^3) and its seed."""

    system: str
    quench: Quench
    index: int
    density: float
    seed: int

    @property
    def name(self) -> str:
        """Identity of the run, shared by its frames."""
        return f"{self.quench.name}-{self.index:03d}"

    @property
    def numbers(self) -> dict[str, int]:
        """Element -> number of atoms in the cell."""
        units_in_cell = self.quench.n_atoms // sum(self.quench.composition.values())
        return {element: amount * units_in_cell for element, amount in self.quench.composition.items()}

    @property
    def cell_length(self) -> float:
        """Edge of the cubic cell (Å)."""
        return float((self.quench.n_atoms / units.number_density(self.density, self.quench.composition)) ** (1 / 3))

    def to_json(self) -> str:
        """The job as text; `from_json` reads it back. Equal jobs give equal texts."""
        return json.dumps(dataclasses.asdict(self), sort_keys=False)

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The job that `to_json` wrote."""
        record = json.loads(text)
        quench = record.pop("quench")
        potential: Potential = potential_from(quench.pop("potential"), "job")
        return cls(quench=build(Quench, quench | {"potential": potential}, "job"), **record)

    @property
    def digest(self) -> str:
        """Sixteen hex digits that change with anything that the frames depend on."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]


def jobs(recipe: Recipe, seed: int, limit: int | None = None) -> list[Job]:
    """All runs of a recipe (the first `limit` of each batch), in the order of the recipe.

    A run's own seed depends on `seed`, its batch and its index, and on no other run.
    """
    result = []
    for quench in recipe.quenches:
        for index in range(quench.count if limit is None else min(limit, quench.count)):
            key = int.from_bytes(hashlib.sha256(f"{recipe.system}/{quench.name}/{index}".encode()).digest()[:4])
            own = int(np.random.SeedSequence([seed, key]).generate_state(1)[0] % 2**30) + 1
            result.append(Job(recipe.system, quench, index, quench.density_of(index), own))
    return result
