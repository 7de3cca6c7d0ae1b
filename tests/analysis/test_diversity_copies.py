"""Copies are found through noise, rotation, supercells and in parts; independent structures are none."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, make_supercell
from scipy.spatial.transform import Rotation
from scipy.special import eval_legendre
from test_shells_and_angles import noisy

from glass_ml.analysis.diversity import copies, diversity, pairwise_distances
from glass_ml.analysis.surroundings import CUTOFF, DEGREE, RADII, WIDTH, descriptors
from glass_ml.cli.main import main
from glass_ml.errors import InputError
from glass_ml.structures.io import from_atoms, read_frames, to_atoms, write_frames
from glass_ml.structures.random import generator, random_packing

DATA = Path(__file__).parents[2] / "data"


def packings(n: int, start: int = 0, n_atoms: int = 108, composition=None) -> list[Atoms]:
    streams = [generator(seed, "test") for seed in range(start, start + n)]
    return to_atoms(random_packing(composition or {"Si": 1}, 0.05, n_atoms, streams))


def moved(atoms: Atoms, seed: int = 0) -> Atoms:
    """The same structure turned, shifted, in another order and in a larger, skewed cell."""
    rng = np.random.default_rng(seed)
    changed = make_supercell(atoms, [[1, 0, 0], [1, 1, 0], [0, -1, 2]])
    turn = Rotation.random(random_state=seed).as_matrix()
    changed.set_cell(changed.cell.array @ turn, scale_atoms=True)
    changed.positions += rng.uniform(0, 20, 3)
    changed.wrap()
    return changed[rng.permutation(len(changed))]


def test_descriptors_are_legendre_sums_over_pairs_of_neighbours():
    rng = np.random.default_rng(1)
    vectors, numbers = rng.normal(0, 1.6, (7, 3)), np.array([8, 14, 8, 14, 14, 8, 14])
    cluster = Atoms(np.append(numbers, 14), positions=np.vstack([vectors, np.zeros(3)]), cell=[40, 40, 40], pbc=True)
    found = descriptors(from_atoms([cluster]))[-1].view(DEGREE + 1, 2, len(RADII), len(RADII)).numpy()
    r = np.linalg.norm(vectors, axis=1)
    inside = r < CUTOFF
    radial = (
        np.exp(-(((r[:, None] - RADII) / WIDTH) ** 2) / 2) * ((1 + np.cos(np.pi * r / CUTOFF)) / 2 * inside)[:, None]
    )
    cosine = (vectors @ vectors.T) / np.outer(r, r)
    for ell in range(DEGREE + 1):
        angular = (2 * ell + 1) / (4 * np.pi) * eval_legendre(ell, cosine)
        for e, z in enumerate((8, 14)):
            expected = (radial * (numbers == z)[:, None]).T @ angular @ radial
            np.testing.assert_allclose(found[ell, e], expected, atol=2e-5)


def test_descriptors_do_not_depend_on_how_a_structure_is_written():
    atoms = packings(1, n_atoms=50, composition={"Si": 1, "O": 2})[0]
    plain, other = (descriptors(from_atoms([a])).double() for a in (atoms, moved(atoms)))
    distance = torch.cdist(other, plain, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distance.min(1)
    assert nearest.values.max() < 1e-3 < 0.1 * distance.median()
    assert torch.bincount(nearest.indices).tolist() == [2] * 50


def test_some_atoms_alone_have_the_same_descriptors():
    structures = from_atoms(packings(2, n_atoms=40))
    atoms = torch.tensor([3, 17, 39, 40, 71])
    assert torch.allclose(descriptors(structures, atoms=atoms), descriptors(structures)[atoms], atol=1e-5)


def test_an_atom_without_neighbours_has_zeros():
    assert (descriptors(from_atoms([Atoms("Ar", cell=[20, 20, 20], pbc=True)])) == 0).all()


def test_pairwise_distances_tell_copies_from_independent_structures():
    a, b = packings(2)
    d = pairwise_distances(from_atoms([a, b, moved(a), noisy(a, 0.05), noisy(moved(b, 1), 0.05)]))
    assert (d == d.T).all() and (np.diag(d) == 0).all()
    assert d[0, 2] < 0.01
    assert 0.1 < d[0, 3] < 0.65 and 0.1 < d[1, 4] < 0.65
    independent = [d[0, 1], d[0, 4], d[2, 1], d[3, 4], d[2, 4]]
    assert min(independent) > 0.85 and max(independent) < 1.15


def test_another_material_is_further_away_than_another_structure():
    glass = packings(2)
    d = pairwise_distances(from_atoms([*glass, noisy(bulk("Si", cubic=True) * (2, 2, 2), 0.1)]))
    assert d[0, 2] > 1.5 * d[0, 1] and d[1, 2] > 1.5 * d[0, 1]


def test_diversity_is_relative_to_a_reference():
    reference = from_atoms(packings(3))
    alike = diversity(from_atoms(packings(3, start=10)), reference)
    assert alike["mean"] == pytest.approx(1, abs=0.12) and alike["relative"] == pytest.approx(1, abs=0.1)
    one = packings(1)[0]
    collapsed = diversity(from_atoms([noisy(one, 0.03, seed) for seed in range(3)]), reference)
    assert collapsed["relative"] < 0.5 and collapsed["min"] <= collapsed["mean"] < 0.5
    assert diversity(from_atoms([bulk("Si", cubic=True)] * 2)) == pytest.approx({"mean": 0, "min": 0}, abs=1e-6)


def half_copied(a: Atoms, b: Atoms) -> Atoms:
    """Left half of one structure and right half of the other."""
    x, y = (s.get_scaled_positions()[:, 0] for s in (a, b))
    return a[x < 0.5] + b[y >= 0.5]


def test_copies_in_synthetic_structures():
    quenches = packings(8, n_atoms=216)
    training = [
        frame for k, q in enumerate(quenches) for frame in (q, noisy(q, 0.05, 2 * k), noisy(q, 0.05, 2 * k + 1))
    ]
    fresh = packings(3, start=100, n_atoms=216)
    asked = [*fresh, noisy(moved(quenches[3]), 0.05, 50), half_copied(quenches[5], fresh[0])]
    found = copies(from_atoms(asked), from_atoms(training))
    assert found.independent == 8
    assert (found.fraction[:3] < 0.02).all()
    assert found.fraction[3] > 0.98 and found.nearest[3] // 3 == 3
    assert found.fraction[4] > 0.04 and found.nearest[4] // 3 == 5


def test_a_crystal_with_thermal_motion_copies_no_other():
    crystal = bulk("Si", cubic=True) * (2, 2, 2)
    shaken = [noisy(crystal, 0.1, seed) for seed in range(8)]
    found = copies(from_atoms(shaken[:2]), from_atoms(shaken[2:]))
    assert (found.fraction < 0.04).all()


@pytest.mark.parametrize(("system", "reference"), [("a-Si", "modified-sw"), ("a-SiO2", "bks")])
def test_copies_in_the_data_of_the_project(system, reference):
    if not (DATA / system / "train.extxyz").is_file():
        pytest.skip(f"data/{system} is not here (dvc pull)")
    frames = [a for a in read_frames(DATA / system / "train.extxyz") if len(a) <= 250]
    names = list(dict.fromkeys(a.info["quench"] for a in frames))
    training = [a for a in frames if a.info["quench"] in names[:10] and a.info["state"] == "thermal"]
    minimised = [a for a in frames if a.info["quench"] == names[4] and a.info["state"] == "minimised"]
    others = [a for a in frames if a.info["quench"] in names[10:13]][::4]
    unlike = read_frames(DATA / system / f"reference-{reference}.extxyz")[::4][:2]
    copied = [*minimised, moved(noisy(training[6], 0.05)), half_copied(training[15], others[0])]
    found = copies(from_atoms([*others, *unlike, *copied]), from_atoms(training))
    assert found.independent == 10
    assert (found.fraction[:5] < 0.02).all()
    assert (found.fraction[5:7] > 0.9).all() and found.fraction[7] > 0.04
    assert [int(k) // 3 for k in found.nearest[5:]] == [4, 2, 5]
    d = pairwise_distances(from_atoms([*others, *training[:2], training[3]]))
    assert d[3, 4] < 0.75 and d[np.triu_indices(6, 1)].mean() > 0.9
    assert min(d[a, b] for a in range(6) for b in range(a) if (a, b) != (4, 3)) > 0.85


def test_what_cannot_be_compared_is_named():
    silicon, silica = packings(1)[0], packings(1, composition={"Si": 1, "O": 2})[0]
    with pytest.raises(InputError, match="elements"):
        pairwise_distances(from_atoms([silicon, silica]))
    with pytest.raises(InputError, match="one structure"):
        diversity(from_atoms([silicon]))
    with pytest.raises(InputError, match="2 independent training structures"):
        copies(from_atoms([silicon]), from_atoms(packings(2)))


def test_analyse_command_looks_for_copies(tmp_path, capsys):
    write_frames(tmp_path / "training.extxyz", packings(4, n_atoms=40))
    write_frames(tmp_path / "asked.extxyz", packings(2, start=3, n_atoms=40))
    asked = str(tmp_path / "asked.extxyz")
    command = ["analyse", asked, "--no-rings", "--json", "--training", str(tmp_path / "training.extxyz")]
    assert main(command) == 0
    copied = json.loads(capsys.readouterr().out)[asked]["values"]["copied"]
    assert copied[0] == 1 and copied[1] < 0.1
