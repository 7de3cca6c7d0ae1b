"""Coordination and bond angles against crystals whose answers are exact."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal

from glass_ml.analysis.coordination import choose_cutoffs, find_bonds
from glass_ml.analysis.distribution import partial_gr
from glass_ml.analysis.ensemble import Anatomy, describe, summary
from glass_ml.analysis.names import pair_name, parse_pair, triplet_name
from glass_ml.errors import InputError
from glass_ml.structures.io import from_atoms

TETRAHEDRAL = np.degrees(np.arccos(-1 / 3))


def cristobalite() -> Atoms:
    """Ideal beta-cristobalite: silicon on a diamond lattice, oxygen halfway between neighbours."""
    silicon = bulk("Si", a=7.16, cubic=True)
    bonds = find_bonds(from_atoms([silicon]), {"Si-Si": 3.3})
    once = bonds.i < bonds.j
    middle = silicon.positions[bonds.i[once]] + bonds.vector[once] / 2
    return silicon + Atoms("O" * len(middle), positions=middle)


def noisy(atoms: Atoms, sigma: float, seed: int = 0) -> Atoms:
    shaken = atoms.copy()
    shaken.positions += np.random.default_rng(seed).normal(0, sigma, shaken.positions.shape)
    return shaken


def skewed(atoms: Atoms) -> Atoms:
    """The same crystal in a sheared cell: a lattice vector added to others, atoms where they were."""
    cell = np.array([[1, 0, 0], [1, 1, 0], [-1, 2, 1]]) @ atoms.cell.array
    return Atoms(atoms.numbers, positions=atoms.positions, cell=cell, pbc=True)


@pytest.mark.parametrize("atoms", [bulk("Si"), bulk("Si", cubic=True), skewed(bulk("Si", cubic=True) * (2, 2, 2))])
def test_diamond_in_any_cell(atoms):
    found = describe(from_atoms([atoms]))
    assert found["coordination.Si"] == pytest.approx([4.0])
    assert found["nfold.Si.4"] == pytest.approx([1.0])
    assert found["angle.Si-Si-Si.mean"] == pytest.approx([TETRAHEDRAL])
    assert found["angle.Si-Si-Si.spread"] == pytest.approx([0.0], abs=1e-6)
    assert found["shortest.Si-Si"] == pytest.approx([5.43 * np.sqrt(3) / 4])
    assert found["angle.below75"] == pytest.approx([0.0])


@pytest.mark.parametrize("atoms", [bulk("Cu"), bulk("Cu", cubic=True) * (3, 3, 3), skewed(bulk("Cu", cubic=True))])
def test_fcc_has_twelve_neighbours_and_is_no_network(atoms):
    found = describe(from_atoms([atoms]))
    assert found["coordination.Cu"] == pytest.approx([12.0])
    # of the 66 pairs of neighbours 24 are at 60 degrees, 12 at 90, 24 at 120 and 6 at 180
    assert found["angle.below75"] == pytest.approx([24 / 66])
    assert found["angle.Cu-Cu-Cu.mean"] == pytest.approx([(24 * 60 + 12 * 90 + 24 * 120 + 6 * 180) / 66])
    assert not any(name.startswith("rings") for name in found)


@pytest.mark.parametrize("change", [lambda a: a, skewed, lambda a: noisy(a, 0.04)])
def test_cristobalite_is_bonded_between_unlike_atoms_only(change):
    atoms = change(cristobalite())
    anatomy = Anatomy.of(from_atoms([atoms]))
    assert list(anatomy.bonds.cutoffs) == ["Si-O"]
    assert anatomy.angles.names == ("O-Si-O", "Si-O-Si")
    found = describe(from_atoms([atoms]))
    assert found["nfold.Si.4"] == pytest.approx([1.0])
    assert found["nfold.O.2"] == pytest.approx([1.0])
    assert found["angle.O-Si-O.mean"] == pytest.approx([TETRAHEDRAL], abs=0.5)
    assert found["bond.Si-O.mean"] == pytest.approx([7.16 * np.sqrt(3) / 8], abs=0.01)


def test_bond_lengths_and_angles_have_the_spread_that_noise_gives():
    atoms = noisy(bulk("Si", cubic=True) * (4, 4, 4), 0.05)
    found = describe(from_atoms([atoms]), rings=False)
    # both ends of a bond move: its length has the variance of two displacements along it
    assert found["bond.Si-Si.spread"] == pytest.approx([0.05 * np.sqrt(2)], rel=0.05)


@pytest.mark.parametrize(
    ("atoms", "pairs"),
    [
        (bulk("NaCl", "rocksalt", a=5.64) * (2, 2, 2), {"Na-Cl"}),
        (
            crystal(["Zr", "O"], [(0, 0, 0), (0.25, 0.25, 0.25)], spacegroup=225, cellpar=[5.09] * 3 + [90] * 3),
            {"Zr-O"},
        ),
        (bulk("CuZr", "cesiumchloride", a=3.26) * (3, 3, 3), {"Zr-Cu", "Cu-Cu", "Zr-Zr"}),
        (bulk("GaAs", "zincblende", a=5.65) * (2, 2, 2), {"Ga-As"}),
    ],
)
def test_pairs_that_bond_are_derived(atoms, pairs):
    assert set(choose_cutoffs(from_atoms([noisy(atoms, 0.05)]))) == pairs


def test_hydrogen_does_not_hide_the_bonds_of_its_neighbours():
    ethane = Atoms(
        "C2H6",
        positions=[[0, 0, 0.765], [0, 0, -0.765]]
        + [[1.02 * np.cos(t), 1.02 * np.sin(t), 1.16] for t in np.radians([0, 120, 240])]
        + [[1.02 * np.cos(t), 1.02 * np.sin(t), -1.16] for t in np.radians([60, 180, 300])],
        cell=[8, 8, 8],
        pbc=True,
    )
    found = describe(from_atoms([ethane]))
    assert found["coordination.C-C"] == pytest.approx([1.0])
    assert found["coordination.C-H"] == pytest.approx([3.0])
    assert found["coordination.H"] == pytest.approx([1.0])


def test_default_cutoffs_of_shaken_crystals():
    silicon, silica = noisy(bulk("Si", cubic=True) * (3, 3, 3), 0.12), noisy(cristobalite() * (2, 2, 2), 0.05)
    assert 2.8 < choose_cutoffs(from_atoms([silicon]))["Si-Si"] < 3.0
    assert 2.0 < choose_cutoffs(from_atoms([silica]))["Si-O"] < 2.2


def test_given_cutoffs_win_in_either_order_of_the_elements():
    structures = from_atoms([cristobalite()])
    assert choose_cutoffs(structures, {"O-Si": 2.4})["Si-O"] == 2.4
    wide = describe(structures, {"Si-Si": 3.2}, rings=False)
    assert wide["coordination.Si-Si"] == pytest.approx([4.0])
    assert wide["coordination.Si"] == pytest.approx([8.0])


@pytest.mark.parametrize("cutoffs", [{"Si-Ge": 2.5}, {"Si": 2.5}, {"Si-O": 0.0}, {"Si-O": 60.0}, {"Si-Xx": 2.0}])
def test_unusable_cutoffs_are_refused(cutoffs):
    with pytest.raises(InputError):
        describe(from_atoms([cristobalite()]), cutoffs)


def test_a_random_gas_has_no_shell_and_breaks_nothing():
    rng = np.random.default_rng(3)
    gas = Atoms("Ar300", positions=rng.uniform(0, 40, (300, 3)), cell=[40, 40, 40], pbc=True)
    found = summary(describe(from_atoms([gas, gas])))
    assert found["coordination.Ar"]["mean"] == 0.0
    assert "angle.below75" not in found


def test_partial_g_of_a_random_gas_is_one():
    rng = np.random.default_rng(0)
    numbers = np.where(np.arange(4000) % 4 == 0, 14, 8)
    cell = np.array([[30, 0, 0], [7, 28, 0], [-5, 4, 33.0]])
    gas = Atoms(numbers, scaled_positions=rng.random((4000, 3)), cell=cell, pbc=True)
    distribution = partial_gr(from_atoms([gas]))
    far = distribution.r > 3
    assert distribution.names == ("Si-Si", "Si-O", "O-O")
    assert distribution.g()[0][:, far].mean(-1) == pytest.approx([1, 1, 1], abs=0.02)
    assert distribution.total()[0, far].mean() == pytest.approx(1, abs=0.01)


@pytest.mark.oracle
def test_g_agrees_with_freud():
    freud = pytest.importorskip("freud")
    atoms = noisy(bulk("Si", cubic=True) * (4, 4, 4), 0.15)
    distribution = partial_gr(from_atoms([atoms]), r_max=8.0)
    rdf = freud.density.RDF(bins=len(distribution.r), r_max=8.0, normalization_mode="finite_size")
    box = freud.box.Box.from_matrix(atoms.cell.array.T)
    rdf.compute((box, atoms.positions - atoms.cell.sum(0) / 2), reset=True)
    n = len(atoms)
    ours, theirs = distribution.g()[0, 0], rdf.rdf * (n - 1) / n
    assert ours.max() > 2
    assert np.abs(ours - theirs).max() < 0.02 * ours.max()


def test_names_follow_chemical_formulae():
    assert [pair_name(8, 14), pair_name(6, 1), pair_name(1, 8), pair_name(34, 32)] == ["Si-O", "C-H", "H-O", "Ge-Se"]
    assert triplet_name(14, 8, 14) == "Si-O-Si"
    assert triplet_name(8, 14, 16) == "S-Si-O"
    assert parse_pair(" O-Si ") == "Si-O"
