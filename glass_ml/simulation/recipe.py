"""What a simulation is made of: a potential, batches of identical melt-quenches, a recipe for a material."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from glass_ml import units

GOLDEN_RATIO = 0.6180339887498949


@dataclass(frozen=True)
class Potential:
    """An interatomic potential, as the LAMMPS commands (metal units) that define it.

    Attributes:
        name: what it is called in every frame and in the card.
        citation: the papers that publish it.
        commands: LAMMPS commands from `pair_style` on. Atom types are numbered in the order of the
            composition; a potential file is looked for in `files`, then among those that LAMMPS ships.
        files: potential files that LAMMPS does not ship: name -> text.
        charges: charge (e) of each element, for potentials with Coulomb terms.
        cost_us: CPU time of one atom and one step (µs), to order the jobs and to estimate the time left.
    """

    name: str
    citation: str
    commands: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    charges: Mapping[str, float] = field(default_factory=dict)
    cost_us: float = 1.0


@dataclass(frozen=True)
class Quench:
    """A batch of melt-quenches that differ in seed and density only.

    Each run: random close start, minimised; melt at `melt_temperature`; linear cooling to `temperature`;
    equilibration; `snapshots` thermal frames `snapshot_time` apart; minimisation of the last of them.
    Constant volume throughout, Nosé-Hoover thermostat.

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
    """

    name: str
    collection: str
    potential: Potential
    composition: Mapping[str, int]
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
        if self.n_atoms % sum(self.composition.values()):
            raise ValueError(f"{self.name}: {self.n_atoms} atoms are no whole number of formula units")
        if not 0 < self.density[0] <= self.density[1]:
            raise ValueError(f"{self.name}: density {self.density} is not a range")
        if self.role == "reference" and not self.collection.startswith("reference-"):
            raise ValueError(f"{self.name}: collection is 'train' or 'reference-<name>', not {self.collection}")

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
    """Everything that is simulated for one material."""

    system: str
    quenches: tuple[Quench, ...]

    def __post_init__(self) -> None:
        names = [quench.name for quench in self.quenches]
        if len(set(names)) < len(names):
            raise ValueError(f"{self.system}: two batches share a name")
        trained = {quench.potential.name for quench in self.quenches if quench.role == "train"}
        shared = {quench.potential.name for quench in self.quenches if quench.role == "reference"} & trained
        if shared:
            raise ValueError(f"{self.system}: training and reference share the potential {sorted(shared)}")


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
    def from_json(cls, text: str) -> "Job":
        """The job that `to_json` wrote."""
        record = json.loads(text)
        quench = record.pop("quench")
        potential = quench.pop("potential")
        potential["commands"] = tuple(potential["commands"])
        quench["density"] = tuple(quench["density"])
        return cls(quench=Quench(potential=Potential(**potential), **quench), **record)

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
