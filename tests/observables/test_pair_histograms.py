"""Pair histograms against what is known without computing: ideal gas, lattices, symmetries."""

import numpy as np
import pytest
import torch
from ase import Atoms
from model_crystals import crystal, thermal

from glass_ml.observables.kinds import make_observable
from glass_ml.observables.pairs import MovingHistograms, pair_cutoff, pair_histograms
from glass_ml.structures.io import from_atoms
from glass_ml.structures.neighbours import neighbour_pairs

R = torch.arange(0.5, 9.0, 0.1, dtype=torch.float64)


def test_ideal_gas_has_no_structure():
    rng = np.random.default_rng(0)
    cell = np.array([[18.0, 0, 0], [5, 17, 0], [-4, 3, 16]])
    frames = [Atoms("Ar400", scaled_positions=rng.random((400, 3)), cell=cell, pbc=True) for _ in range(20)]
    gas = from_atoms(frames)
    g = make_observable("gr", R).forward(gas).mean(0)
    pairs_per_bin = 20 * 400 / 2 * 400 / gas.volume[0] * 4 * np.pi * R**2 * 0.1
    # the soft bin averages over neighbours, hence the factor; a periodic gas has N - 1 partners, not N
    deviation = (g - (1 - 1 / 400)) * pairs_per_bin.sqrt()
    assert 0.5 < float(deviation.std()) < 1.1
    assert float(deviation.mean().abs()) < 0.4
    q = torch.linspace(1.0, 15, 60, dtype=torch.float64)
    s = make_observable("xray-sq", q).forward(gas)
    assert float((s.mean() - 1).abs()) < 0.01


# distances in units of a and numbers of neighbours of the first three shells
SHELLS = {
    ("Cu", "fcc", 3.6): ((2**-0.5, 12), (1.0, 6), (1.5**0.5, 24)),
    ("Mg", "hcp", 3.2): ((1.0, 12), (2**0.5, 6), ((8 / 3) ** 0.5, 2)),
    ("Si", "diamond", 5.43): ((3**0.5 / 4, 4), (2**-0.5, 12), (11**0.5 / 4, 12)),
}


@pytest.mark.parametrize("lattice", SHELLS, ids=lambda key: key[1])
def test_shells_of_lattices_in_skewed_cells(lattice):
    structure = from_atoms([crystal(*lattice)])
    h = pair_histograms(structure, 8.0)
    per_atom = 2 * h.counts[0, 0] / structure.n_atoms
    for distance, neighbours in SHELLS[lattice]:
        near = (h.nodes - distance * lattice[2]).abs() < 0.05
        assert float(per_atom[near].sum()) == pytest.approx(neighbours, abs=1e-9)
        centre = float((per_atom * h.nodes)[near].sum() / per_atom[near].sum())
        assert centre == pytest.approx(distance * lattice[2], abs=1e-6)


def test_cell_choice_and_images_beyond_half_the_cell_do_not_matter():
    small = thermal(crystal("Si", "diamond", 5.43, shear=False), 0.05)
    sheared = small.copy()
    sheared.set_cell(np.array([[1, 0, 0], [2, 1, 0], [-1, 3, 1]]) @ small.cell.array)
    large = small.repeat((3, 4, 2))
    per_atom = [
        pair_histograms(s, 9.0).counts[0, 0] / s.n_atoms for s in (from_atoms([a]) for a in (small, sheared, large))
    ]
    assert per_atom[0].sum() > 20
    torch.testing.assert_close(per_atom[1], per_atom[0], rtol=0, atol=1e-9)
    torch.testing.assert_close(per_atom[2], per_atom[0], rtol=0, atol=1e-9)


def test_lists_of_pairs_are_interchangeable(binary):
    half = pair_histograms(binary, 5.0)
    full = pair_histograms(binary, 5.0, pairs=neighbour_pairs(binary, 5.3, full=True))
    skin = pair_histograms(binary, 5.0, pairs=neighbour_pairs(binary, 7.0, full=False))
    reach = int(5.0 / half.spacing)
    torch.testing.assert_close(full.counts[..., :reach], half.counts[..., :reach])
    torch.testing.assert_close(skin.counts[..., :reach], half.counts[..., :reach])


def evaluate(histograms, structures):
    """Counts, and the gradient of a function of them."""
    x = structures.positions.clone().requires_grad_()
    counts = histograms(structures.at(x)).counts
    (counts * torch.linspace(0, 1, counts.shape[-1], dtype=counts.dtype).sin()).square().sum().backward()
    return counts.detach(), x.grad


def test_moving_histograms_are_those_of_every_place(binary):
    moving, rng = MovingHistograms(7.0, 0.02, 0.8), np.random.default_rng(0)
    for _ in range(12):
        binary = binary.at(binary.positions + 0.06 * torch.from_numpy(rng.normal(size=binary.positions.shape)))
        fresh = pair_histograms(binary, 7.0, 0.02, pairs=neighbour_pairs(binary, pair_cutoff(7.0), full=True))
        reference = evaluate(lambda s: pair_histograms(s, 7.0, 0.02), binary)
        torch.testing.assert_close(reference[0], fresh.counts)
        for found, expected in zip(evaluate(moving, binary), reference, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
        assert float(reference[1].norm()) > 1


def test_blocks_of_pairs_add_up(binary, monkeypatch):
    whole = evaluate(lambda s: pair_histograms(s, 7.0), binary)
    monkeypatch.setattr("glass_ml.structures.neighbours.block_size", lambda device: 37)
    monkeypatch.setattr("glass_ml.observables.pairs.block_size", lambda device: 37)
    for found, expected in zip(evaluate(lambda s: pair_histograms(s, 7.0), binary), whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("table", [1 << 18, 1], ids=["one block", "atom by atom"])
def test_jacobian_of_projected_histograms(binary, monkeypatch, table):
    monkeypatch.setattr("glass_ml.observables.jacobian.TABLE", table)
    moving = MovingHistograms(6.0, 0.02, 0.5)
    counts = moving(binary).counts
    projection = torch.from_numpy(np.random.default_rng(1).normal(size=(3, *counts.shape[1:])))
    found = moving.jacobian(binary, projection)
    x = binary.positions.clone().requires_grad_()
    for row, rows in zip(found, projection, strict=True):
        (expected,) = torch.autograd.grad((pair_histograms(binary.at(x), 6.0).counts * rows).sum(), x)
        torch.testing.assert_close(row, expected, rtol=1e-9, atol=1e-9)
        assert float(expected.norm()) > 1


def test_a_batch_is_its_members(binary):
    batch = pair_histograms(binary, 5.0)
    for k, one in enumerate(binary.split()):
        alone = pair_histograms(one, 5.0)
        torch.testing.assert_close(batch.counts[k], alone.counts[0])
    for kind in ("neutron-fq", "tr"):
        observable = make_observable(kind, R[10:30], limit=2.9 if kind == "neutron-fq" else None)
        together = observable.forward(binary)
        apart = torch.cat([observable.forward(one) for one in binary.split()])
        torch.testing.assert_close(together, apart, rtol=1e-9, atol=1e-9)


def test_counts_of_element_pairs(binary):
    h = pair_histograms(binary, 5.0)
    assert h.pair_types == [(8, 8), (8, 14), (14, 14)]
    pairs = neighbour_pairs(binary, 5.0, full=False)
    numbers = binary.numbers
    for row, (a, b) in enumerate(h.pair_types):
        kinds = torch.stack([numbers[pairs.i], numbers[pairs.j]]).sort(0).values
        for s in range(2):
            expected = ((kinds[0] == a) & (kinds[1] == b) & (binary.system[pairs.i] == s)).sum()
            assert float(h.counts[s, row].sum()) == pytest.approx(float(expected), abs=3)  # the soft end holds the rest


def test_single_precision_follows_double():
    structure = from_atoms([thermal(crystal("Si", "diamond", 5.43), 0.1)])
    observable = make_observable("xray-sq", torch.linspace(1, 20, 50))

    def evaluate(s):
        x = s.positions.clone().requires_grad_()
        y = observable.forward(s.at(x))
        (y - 1).square().sum().backward()
        return y.detach().double(), x.grad.double()

    (y64, f64), (y32, f32) = evaluate(structure), evaluate(structure.to(dtype=torch.float32))
    assert float((y32 - y64).abs().max()) < 2e-4 * float(y64.abs().max())
    assert float((f32 - f64).norm() / f64.norm()) < 1e-4


def test_forces_are_continuous_across_nodes():
    """The derivative of one pair's spectrum in its distance has no step where the pair changes nodes."""
    grid = torch.tensor([2.0, 2.1, 2.2], dtype=torch.float64)
    observable = make_observable("gr", grid, broadening=0.1)
    slopes = []
    for d in np.arange(2.0, 2.06, 0.001):
        pair = from_atoms([Atoms("Ar2", positions=[[0, 0, 0], [d, 0, 0]], cell=[9, 9, 9], pbc=True)])
        x = pair.positions.clone().requires_grad_()
        observable.forward(pair.at(x))[0, 1].backward()
        slopes.append(float(x.grad[1, 0]))
    slopes = np.array(slopes)
    assert np.abs(np.diff(slopes)).max() < 0.03 * np.ptp(slopes) + 0.02 * np.abs(slopes).max()
