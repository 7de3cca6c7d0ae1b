"""Random starts: counts, density, distances; random streams; densities in the units that people write."""

import numpy as np
import pytest
import torch
from ase.build import bulk

from glass_ml import units
from glass_ml.errors import InputError
from glass_ml.structures.neighbours import neighbour_pairs
from glass_ml.structures.random import atom_counts, generator, random_packing


def test_counts_of_a_composition():
    assert atom_counts({"Si": 1, "O": 2}, 600) == {"Si": 200, "O": 400}
    assert atom_counts({"Si": 1 / 3, "O": 2 / 3}, 216) == {"Si": 72, "O": 144}
    # exact shares 3.33, 3.33, 3.33: the remainder goes to the first; 4.7, 2.9, 2.4: to the largest remainders
    assert atom_counts({"Ge": 1, "Sb": 1, "Te": 1}, 10) == {"Ge": 4, "Sb": 3, "Te": 3}
    assert atom_counts({"Ge": 47, "Sb": 29, "Te": 24}, 10) == {"Ge": 5, "Sb": 3, "Te": 2}
    assert atom_counts({"Ge": 0.001, "Si": 1}, 20) == {"Ge": 1, "Si": 19}  # an element asked for is there


@pytest.mark.parametrize("shares", [(1.0, 2.0, 4.5), (0.31, 0.33, 0.36), (5.0, 3.0, 2.0)])
@pytest.mark.parametrize("n", [11, 64])
def test_counts_are_the_closest_whole_numbers(shares, n):
    counts = atom_counts(dict(zip(("Si", "O", "Na"), shares, strict=True)), n)
    exact = n * np.array(shares) / sum(shares)
    error = np.abs(np.array(list(counts.values())) - exact).sum()
    others = (np.abs(np.array([a, b, n - a - b]) - exact).sum() for a in range(1, n) for b in range(1, n - a))
    assert sum(counts.values()) == n
    assert error <= min(others) + 1e-9


@pytest.mark.parametrize(("composition", "n"), [({"Si": 1, "O": 2}, 1), ({"Si": 1, "O": 0}, 9), ({"Si": -1}, 9)])
def test_impossible_counts(composition, n):
    with pytest.raises(InputError):
        atom_counts(composition, n)


def test_packing_has_the_atoms_the_density_and_no_overlaps():
    composition, density, n = {"Si": 1, "O": 2}, 0.0664, 150
    packing = random_packing(composition, density, n, [generator(7, "test", k) for k in range(2)])
    assert packing.n_systems == 2
    for single in packing.split():
        symbols = single.numbers.bincount(minlength=15)
        assert symbols[14] == 50 and symbols[8] == 100
    torch.testing.assert_close(packing.density, torch.full((2,), density), rtol=1e-5, atol=0)
    spacing = 2 ** (1 / 6) * density ** (-1 / 3)  # nearest distance in the close packing of that density
    half = neighbour_pairs(packing, 0.75 * spacing, full=False)
    assert len(half.i) == 0
    fractional = packing.positions / packing.cell[0, 0, 0]
    assert fractional.min() >= 0 and fractional.max() <= 1
    assert not torch.equal(packing[0].positions, packing[1].positions)


def test_packing_of_a_stream_does_not_depend_on_its_company():
    composition, density = {"Si": 1}, 0.0489

    def pack(*numbers):
        return random_packing(composition, density, 32, [generator(1, "replica", k) for k in numbers])

    together = pack(0, 1, 2)
    for k in range(3):
        torch.testing.assert_close(pack(k).positions, together[k].positions, rtol=0, atol=0)
    torch.testing.assert_close(pack(2, 0)[1].positions, together[0].positions, rtol=0, atol=0)


def test_streams_depend_on_seed_and_purpose_only():
    def draw(*key):
        return tuple(torch.rand(4, generator=generator(*key)).tolist())

    keys = [(0,), (1,), (0, "replica", 1), (0, "replica", 11), (0, "replica", 1, 1), (0, "train", 1), (0, "1", 1)]
    first = {key: draw(*key) for key in keys}
    assert len(set(first.values())) == len(keys)
    assert {key: draw(*key) for key in reversed(keys)} == first
    torch.manual_seed(99)
    assert draw(0) == first[(0,)]


def test_streams_of_different_purpose_are_uncorrelated():
    samples = torch.stack([torch.randn(4000, generator=generator(0, "replica", k)) for k in range(6)])
    correlation = torch.corrcoef(samples) - torch.eye(6)
    assert correlation.abs().max() < 5 / 4000**0.5


def test_density_of_silicon_and_silica():
    # 2.28 g/cm3 of amorphous silicon (Custer 1994), 2.20 g/cm3 of vitreous silica: values that textbooks give
    assert units.number_density(2.28, {"Si": 1}) == pytest.approx(0.0489, abs=5e-5)
    assert units.number_density(2.20, {"Si": 1, "O": 2}) == pytest.approx(0.0662, abs=1e-4)
    diamond = bulk("C", "diamond", a=3.567)
    assert units.mass_density(len(diamond) / diamond.cell.volume, {"C": 1}) == pytest.approx(3.515, abs=2e-3)
    assert units.mass_density(units.number_density(2.2, {"Si": 1, "O": 2}), {"O": 4, "Si": 2}) == pytest.approx(2.2)


@pytest.mark.parametrize(
    "text", ["2.28 g/cm3", "2.28 g/cm^3", " 2.28  g/cm³ ", 0.048890, "0.048890", "0.04889 atoms/Å^3"]
)
def test_ways_to_write_a_density(text):
    assert units.parse_density(text, {"Si": 1}) == pytest.approx(0.04889, abs=2e-5)


NOT_A_DENSITY = ("nan", float("nan"), float("inf"), "", "dense", "2.28 kg", "2.28 kg/m3", True, None, [0.05])


@pytest.mark.parametrize("value", [0, -0.05, "0 g/cm3", "-2 g/cm3", 0.489, "22.8 g/cm3", *NOT_A_DENSITY])
def test_absurd_densities(value):
    with pytest.raises(InputError, match=r"target\.yaml: density"):
        units.parse_density(value, {"Si": 1}, "target.yaml: density")


def test_every_element_solid_is_below_the_limit_on_densities():
    # g/cm3 of the solids with the most atoms per volume
    densest = {"C": 3.515, "Be": 1.848, "Os": 22.59, "Ni": 8.908}
    for element, mass in densest.items():
        assert units.number_density(mass, {element: 1}) < units.MAX_DENSITY
