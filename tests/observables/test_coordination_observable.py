"""Coordination distributions against crystals, an ideal gas, our own analysis and neighbours found by ASE."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.neighborlist import neighbor_list
from model_crystals import SHEAR, crystal, thermal

from glass_ml.analysis.coordination import coordination_fractions, find_bonds
from glass_ml.observables.coordination import CoordinationDistribution, parse_neighbours
from glass_ml.structures.io import from_atoms

NUMBERS = torch.arange(0.0, 21, dtype=torch.float64)
SALT = make_supercell(bulk("NaCl", "rocksalt", a=5.64), SHEAR)
CRYSTALS = [
    (crystal("Cu", "fcc", 3.6), "Cu-Cu", 3.0, 12),
    (crystal("Cu", "fcc", 3.6, shear=False), "Cu-Cu", 3.9, 18),  # one atom, all of them its own images
    (crystal("Si", "diamond", 5.43), "Si-*", 2.8, 4),
    (SALT, "Na-Cl", 3.3, 6),
    (SALT, "Na-Na", 4.4, 12),
    (SALT, "Na-Cl", 4.4, 6),
    (SALT, "Na-*", 4.4, 18),
    (SALT, "Na-*", {"Na-Cl": 3.3, "Na-Na": 4.4, "Cl-Cl": 9.0}, 18),
    (SALT, "Na-*", {"Na-Cl": 4.4}, 6),
]


@pytest.mark.parametrize("atoms, pair, cutoff, n", CRYSTALS, ids=lambda v: str(v) if isinstance(v, str | int) else None)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_coordination_of_crystals(atoms, pair, cutoff, n, dtype):
    model, structures = CoordinationDistribution(NUMBERS, pair, cutoff), from_atoms([atoms], dtype)
    expected = torch.zeros(1, len(NUMBERS), dtype=dtype)
    expected[0, n] = 1
    torch.testing.assert_close(model.forward(structures), expected, rtol=0, atol=1e-6)
    assert float(model.mean(structures)) == pytest.approx(n)


def test_a_pair_is_directed(silica_like):
    """Every Si has four O, every O two Si."""
    for pair, n in (("Si-O", 4), ("O-Si", 2)):
        y = CoordinationDistribution(NUMBERS, pair, 2.3, 0.1).forward(silica_like)[0]
        assert int(y.argmax()) == n and float(y[n]) > 0.9


def pair_of(r: float, symbols: str = "SiO") -> Atoms:
    return Atoms(symbols, [[5, 5, 5], [5 + r, 5, 5]], cell=[10, 10, 10], pbc=True)


@pytest.mark.parametrize("r, n", [(1.7, 1.0), (1.85, 0.8964844), (2.0, 0.5), (2.15, 0.1035156), (2.3, 0.0)])
def test_a_bond_ends_smoothly_and_is_shared_by_the_two_nearest_numbers(r, n):
    model, structures = CoordinationDistribution(NUMBERS, "Si-O", 2.0, 0.3), from_atoms([pair_of(r)])
    assert float(model.mean(structures)) == pytest.approx(n, abs=1e-6)
    y = model.forward(structures)[0]
    assert float(y[1]) == pytest.approx(np.sin(np.pi / 2 * n) ** 2, abs=1e-6)
    assert float(y[0] + y[1]) == pytest.approx(1, abs=1e-12)


def test_fractions_add_up_and_points_beyond_the_grid_are_lost(binary):
    whole = CoordinationDistribution(NUMBERS, "Si-O", 3.3, 0.7).forward(binary)
    torch.testing.assert_close(whole.sum(1), torch.ones(2).double())
    assert int((whole[0] > 1e-3).sum()) > 2
    few = CoordinationDistribution(NUMBERS[3:6], "Si-O", 3.3, 0.7).forward(binary)
    torch.testing.assert_close(few, whole[:, 3:6])


def test_mean_coordination_of_an_ideal_gas():
    rng = np.random.default_rng(1)
    cell = np.array([[14.0, 0, 0], [5, 13, 0], [-4, 3, 12]])
    frames = [Atoms("Ar100Ne300", scaled_positions=rng.random((400, 3)), cell=cell, pbc=True) for _ in range(12)]
    gas, cutoff, width = from_atoms(frames), 3.2, 0.8
    mean = CoordinationDistribution(NUMBERS, "Ar-Ne", cutoff, width).mean(gas)
    # -ds/dr is a density about the cutoff with variance width^2/7: the volume is 4 pi/3 <r^3>
    volume = 4 * np.pi / 3 * (cutoff**3 + 3 * cutoff * width**2 / 7)
    expected = 300 / float(gas.volume[0]) * volume
    error = float(mean.std()) / 12**0.5
    assert error < 0.02 * expected and abs(float(mean.mean()) - expected) < 3.5 * error


def test_sharp_bonds_are_those_of_the_analysis():
    structures = from_atoms([thermal(crystal("Si", "diamond", 5.43).repeat(2), 0.3, seed) for seed in (0, 1)])
    fractions = coordination_fractions(find_bonds(structures, {"Si-Si": 2.8}))[14]
    y = CoordinationDistribution(NUMBERS, "Si-Si", 2.8, 1e-6).forward(structures).numpy()
    assert (fractions > 0.02).sum() > 6  # disordered enough to say something
    assert np.abs(y[:, : fractions.shape[1]] - fractions).max() < 1e-12
    assert y[:, fractions.shape[1] :].max() < 1e-12


@pytest.mark.oracle
@pytest.mark.parametrize("pair, cutoff", [("Si-O", 3.1), ("O-Si", 4.5), ("O-O", 2.7), ("Si-*", 3.0)])
def test_smooth_numbers_of_neighbours_found_by_ase(binary, pair, cutoff):
    width = 0.5
    model = CoordinationDistribution(NUMBERS, pair, cutoff, width)
    y, mean = model.forward(binary).numpy(), model.mean(binary).numpy()
    a, b = pair.split("-")
    for s, one in enumerate(binary.split()):
        atoms = Atoms(one.numbers.numpy(), one.positions.numpy(), cell=one.cell[0].numpy(), pbc=True)
        i, j, d = neighbor_list("ijd", atoms, cutoff + width)
        symbols = np.array(atoms.get_chemical_symbols())
        t = np.clip((d - cutoff + width) / (2 * width), 0, 1)
        weight = (1 - 10 * t**3 + 15 * t**4 - 6 * t**5) * ((symbols[j] == b) | (b == "*"))
        n = np.bincount(i, weight, minlength=len(atoms))[symbols == a]
        away = np.abs(n[:, None] - NUMBERS.numpy())
        expected = np.where(away < 1, np.cos(np.pi / 2 * away) ** 2, 0).mean(0)
        np.testing.assert_allclose(y[s], expected, atol=1e-12)
        assert mean[s] == pytest.approx(n.mean(), abs=1e-12)


def test_the_mean_has_its_gradient(binary):
    model = CoordinationDistribution(NUMBERS, "Si-O", 3.0, 0.5)
    x = binary.positions.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: model.mean(binary.at(p)), x, eps=1e-5, atol=1e-7, rtol=1e-4)


def test_without_the_element_there_is_nothing():
    structures = from_atoms([pair_of(1.9), pair_of(1.9, "Ar2")])
    model = CoordinationDistribution(NUMBERS, "Si-O", 2.0, 0.3)
    x = structures.positions.clone().requires_grad_()
    y = model.forward(structures.at(x))
    (y.square().sum() + model.mean(structures.at(x)).sum()).backward()
    y = y.detach()
    assert float(y[0].sum()) == pytest.approx(1) and float(y[1].abs().max()) == 0
    assert float(model.mean(structures)[1]) == 0
    assert float(x.grad[:2].abs().max()) > 0.1 and float(x.grad[2:].abs().max()) == 0
    assert float(model.jacobian(structures)[:, 2:].abs().max()) == 0
    alone = CoordinationDistribution(NUMBERS, "Si-Ar", 2.0).forward(structures[0])
    assert float(alone[0, 0]) == 1  # Si is there, and has no Ar


def test_parse_neighbours():
    assert parse_neighbours("Si-O") == (14, 8)
    assert parse_neighbours("O-Si") == (8, 14)
    assert parse_neighbours("Zr-*") == (40, None)
