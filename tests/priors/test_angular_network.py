"""What the denoiser must obey by construction: symmetry, smoothness, periodicity, batches."""

import math

import numpy as np
import pytest
import torch
from scipy.special import eval_legendre

from glass_ml.errors import InputError
from glass_ml.priors.prior import SIGMA_DATA, Prior, c_out, sample_sigma
from glass_ml.settings.prior import NetworkConfig, NoiseConfig
from glass_ml.structures.harmonics import DEGREES, spherical_harmonics
from glass_ml.structures.neighbours import neighbour_pairs
from glass_ml.structures.random import generator
from glass_ml.structures.state import Structures, concatenate

TINY = NetworkConfig(cutoff=3.2, features=8, layers=2, channels=3, radial=6)
CELL = torch.tensor([[5.0, 0.3, 0.0], [-1.2, 4.4, 0.5], [0.7, 0.2, 5.3]], dtype=torch.float64)
TIGHT = {"rtol": 0, "atol": 1e-9}


@pytest.fixture(scope="module")
def prior() -> Prior:
    """Untrained, with random weights large enough for its output to be far from linear."""
    torch.manual_seed(1)
    made = Prior((8, 14), TINY, density_range=(0.03, 0.15)).double()
    with torch.no_grad():
        for weight in made.parameters():
            weight.mul_(1.7)
    return made.requires_grad_(False)


def glass(n: int = 9, seed: int = 0, cell: torch.Tensor = CELL) -> Structures:
    fractional = torch.rand(n, 3, dtype=torch.float64, generator=generator(seed, "glass"))
    numbers = torch.tensor([14, 8, 8] * n)[:n]
    return Structures(fractional @ cell, cell[None], numbers, torch.zeros(n, dtype=torch.long))


def displacement(prior: Prior, structures: Structures, sigma: float = 0.4) -> torch.Tensor:
    return prior.denoise(structures, sigma) - structures.positions


def orthogonal(seed: int, determinant: int) -> torch.Tensor:
    q, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=generator(seed)))
    return q * (determinant * torch.linalg.det(q).sign())


def test_addition_theorem_of_the_harmonics():
    u, v = torch.nn.functional.normalize(torch.randn(2, 50, 3, dtype=torch.float64, generator=generator(0)), dim=-1)
    product = spherical_harmonics(u) * spherical_harmonics(v)
    cosine = (u * v).sum(-1).numpy()
    for degree in range(DEGREES):
        got = product[:, degree**2 : (degree + 1) ** 2].sum(-1).numpy()
        np.testing.assert_allclose(got, eval_legendre(degree, cosine), atol=1e-12)


def test_harmonics_are_orthogonal_on_the_sphere():
    """Gauss-Legendre in cos(theta) times the trapezium rule in phi is exact for these products."""
    z, weight = np.polynomial.legendre.leggauss(8)
    phi = 2 * np.pi * np.arange(16) / 16
    ring = np.sqrt(1 - z**2)[:, None]
    points = np.stack([ring * np.cos(phi), ring * np.sin(phi), np.broadcast_to(z[:, None], (8, 16))], -1)
    values = spherical_harmonics(torch.from_numpy(points.reshape(-1, 3))).numpy()
    overlap = values.T @ (values * np.repeat(weight / 32, 16)[:, None])
    expected = np.concatenate([[1 / (2 * degree + 1)] * (2 * degree + 1) for degree in range(DEGREES)])
    np.testing.assert_allclose(overlap, np.diag(expected), atol=1e-12)


@pytest.mark.parametrize("determinant", [1, -1], ids=["rotation", "reflection"])
def test_output_turns_with_the_structure(prior, determinant):
    structures, turn = glass(), orthogonal(3, determinant)
    turned = Structures(structures.positions @ turn.T, structures.cell @ turn.T, structures.numbers, structures.system)
    moved = displacement(prior, structures)
    # Directions are divided by sqrt(r^2 + 1e-8), so that those of close pairs are not quite of unit length.
    torch.testing.assert_close(displacement(prior, turned), moved @ turn.T, rtol=0, atol=1e-8)
    assert moved.norm(dim=1).min() > 1e-3


def test_output_moves_with_the_structure(prior):
    structures = glass()
    shift = torch.tensor([3.3, -11.0, 0.4], dtype=torch.float64)
    shifted = structures.at(structures.positions + shift)
    torch.testing.assert_close(displacement(prior, shifted), displacement(prior, structures), **TIGHT)


def test_output_follows_a_permutation_of_atoms(prior):
    structures = glass()
    order = torch.randperm(9, generator=generator(4))
    permuted = Structures(
        structures.positions[order], structures.cell, structures.numbers[order], structures.system[order]
    )
    torch.testing.assert_close(displacement(prior, permuted), displacement(prior, structures)[order], **TIGHT)


def test_output_does_not_depend_on_wrapping(prior):
    structures = glass()
    shifts = torch.randint(-3, 4, (9, 3), generator=generator(5)).double() @ CELL
    unwrapped = structures.at(structures.positions + shifts)
    torch.testing.assert_close(displacement(prior, unwrapped), displacement(prior, structures), **TIGHT)
    torch.testing.assert_close(prior.denoise(unwrapped, 0.4) - shifts, prior.denoise(structures, 0.4), **TIGHT)


def test_supercell_is_the_cell_repeated(prior):
    """Also where the cutoff is longer than half the cell, so that an atom sees its own images."""
    small = glass(5, cell=0.7 * CELL)
    assert TINY.cutoff > 2 * small.half_width
    shifts = torch.tensor([[i, j, k] for i in range(2) for j in range(1) for k in range(3)], dtype=torch.float64)
    positions = torch.cat([small.positions + shift @ small.cell[0] for shift in shifts])
    cell = small.cell * torch.tensor([[2.0], [1.0], [3.0]])
    large = Structures(positions, cell, small.numbers.repeat(6), torch.zeros(30, dtype=torch.long))
    torch.testing.assert_close(displacement(prior, large), displacement(prior, small).repeat(6, 1), **TIGHT)


def test_batch_is_every_structure_alone(prior):
    singles = [glass(9, 0), glass(4, 1, 1.3 * CELL), glass(1, 2), glass(7, 3)]
    levels = torch.tensor([0.1, 0.9, 0.3, 1.5], dtype=torch.float64)
    alone = torch.cat([prior.denoise(s, float(sigma)) for s, sigma in zip(singles, levels, strict=True)])
    torch.testing.assert_close(prior.denoise(concatenate(singles), levels), alone, **TIGHT)


def test_longer_list_of_pairs_changes_nothing(prior):
    structures = glass()
    longer = neighbour_pairs(structures, TINY.cutoff + 1.5)
    given = prior.denoise(structures, 0.4, longer)
    torch.testing.assert_close(given, prior.denoise(structures, 0.4), **TIGHT)


@pytest.mark.parametrize("block", [7, 10**6])
def test_blocks_of_edges_without_gradients_are_the_whole(prior, monkeypatch, block):
    """Without gradients the network walks over blocks; with them it is the one that was trained."""
    monkeypatch.setattr("glass_ml.priors.network.BLOCK", block)
    batch = concatenate([glass(9, 0), glass(4, 1, 1.3 * CELL), glass(1, 2)])
    levels = torch.tensor([0.1, 0.9, 0.3], dtype=torch.float64)
    positions = batch.positions.clone().requires_grad_()
    whole = prior.denoise(batch.at(positions), levels)
    assert whole.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(prior.denoise(batch, levels), whole, rtol=0, atol=1e-10)
    assert (whole - batch.positions).abs().max() > 1e-3
    empty = glass(1, cell=20 * CELL)
    with torch.no_grad():
        assert torch.equal(prior.denoise(empty, 0.4), empty.positions)


def test_elements_and_noise_level_matter(prior):
    structures = glass()
    swapped = Structures(structures.positions, structures.cell, 22 - structures.numbers, structures.system)
    moved = displacement(prior, structures)
    assert (displacement(prior, swapped) - moved).abs().max() > 1e-3
    assert (displacement(prior, structures, 0.5) / c_out(torch.tensor(0.5)) - moved / c_out(torch.tensor(0.4))).abs(
    ).max() > 1e-4  # fmt: skip


def test_output_is_smooth_where_a_neighbour_enters(prior):
    """An atom that crosses the cutoff changes the output continuously, with a continuous derivative."""
    cell = 20 * torch.eye(3, dtype=torch.float64)[None]

    def output(distance: float) -> torch.Tensor:
        positions = torch.tensor([[5.0, 5, 5], [6.5, 5.8, 5], [5.0, 5, 5 + distance]], dtype=torch.float64)
        structure = Structures(positions, cell, torch.tensor([14, 8, 8]), torch.zeros(3, dtype=torch.long))
        return displacement(prior, structure)[0]

    def slope(distance: float, h: float = 1e-6) -> torch.Tensor:
        return (output(distance + h) - output(distance - h)) / (2 * h)

    beyond = output(TINY.cutoff + 1e-3)
    torch.testing.assert_close(output(TINY.cutoff - 1e-5), beyond, rtol=0, atol=1e-9)
    assert slope(TINY.cutoff - 1e-4).norm() < 1e-3 * slope(TINY.cutoff - 0.4).norm()
    assert (output(TINY.cutoff - 0.4) - beyond).norm() > 1e-3


def test_gradients_of_the_network_in_float64(prior):
    structures = glass(4, cell=0.8 * CELL)
    pairs = neighbour_pairs(structures, TINY.cutoff)

    def denoised(positions: torch.Tensor) -> torch.Tensor:
        return prior.denoise(structures.at(positions), 0.4, pairs)

    assert torch.autograd.gradcheck(denoised, structures.positions.requires_grad_(True), atol=1e-6)


def test_density_conditions_the_output_up_to_the_ends_of_its_range():
    """Neighbourhoods alone cannot tell densities apart here: every atom is out of reach of all others."""
    torch.manual_seed(1)
    conditioned = Prior((14,), TINY, density_range=(1e-4, 1e-3)).double().requires_grad_(False)
    unconditioned = Prior((14,), TINY, density_range=(1e-3, 1e-3)).double().requires_grad_(False)
    unconditioned.load_state_dict(conditioned.state_dict())
    pair = torch.tensor([[0.0, 0, 0], [2.0, 0, 0]], dtype=torch.float64)

    def gap(prior: Prior, density: float) -> float:
        side = (2 / density) ** (1 / 3)
        cell = side * torch.eye(3, dtype=torch.float64)[None]
        first, second = prior.denoise(
            Structures(pair, cell, torch.full((2,), 14), torch.zeros(2, dtype=torch.long)), 0.4
        )
        return float((second - first).norm())

    inside = [gap(conditioned, density) for density in (1e-4, 4e-4, 1e-3)]
    assert min(abs(a - b) for a, b in ((inside[0], inside[1]), (inside[1], inside[2]))) > 1e-6
    assert gap(conditioned, 5e-5) == pytest.approx(inside[0]) and gap(conditioned, 2e-3) == pytest.approx(inside[2])
    assert gap(unconditioned, 1e-4) == pytest.approx(gap(unconditioned, 1e-3))


def test_composition_conditions_the_output(prior):
    """The same pair of silicon atoms, with far-away oxygen in the cell and without."""
    positions = torch.tensor([[0.0, 0, 0], [2.0, 0, 0], [10.0, 10, 10]], dtype=torch.float64)
    cell = 20 * torch.eye(3, dtype=torch.float64)[None]

    def moved(third: int) -> torch.Tensor:
        numbers = torch.tensor([14, 14, third])
        return displacement(prior, Structures(positions, cell, numbers, torch.zeros(3, dtype=torch.long)))[:2]

    assert (moved(8) - moved(14)).abs().max() > 1e-4


def test_lone_atom_stays(prior):
    """By symmetry: a lattice of one atom is its own inversion."""
    structure = glass(1)
    torch.testing.assert_close(displacement(prior, structure), torch.zeros(1, 3, dtype=torch.float64), **TIGHT)


def test_unknown_elements_are_named_with_the_known_ones(prior):
    structures = glass()
    numbers = structures.numbers.clone()
    numbers[:2] = torch.tensor([32, 118])
    with pytest.raises(InputError, match=r"does not know Ge, Og .*trained on O, Si"):
        prior.denoise(Structures(structures.positions, structures.cell, numbers, structures.system), 0.4)


def test_scale_of_the_output():
    """Noise at small sigma, the recoverable displacement at large sigma."""
    sigma = torch.tensor([1e-4, SIGMA_DATA, 1e4], dtype=torch.float64)
    expected = torch.tensor([1e-4, SIGMA_DATA / math.sqrt(2), SIGMA_DATA], dtype=torch.float64)
    torch.testing.assert_close(c_out(sigma), expected, rtol=1e-6, atol=0)


def test_spread_follows_from_the_held_out_losses(prior):
    known = Prior((14,), TINY, {1.0: 0.25, 0.1: 0.81})
    assert known.spread(0.1) == pytest.approx(0.1 * 0.9)
    assert known.spread(1.0) == pytest.approx(0.5)
    assert known.spread(math.sqrt(0.1)) == pytest.approx(math.sqrt(0.1) * 0.7)
    assert known.spread(0.01) == pytest.approx(0.01 * 0.9) and known.spread(4.0) == pytest.approx(2.0)
    assert prior.spread(0.3) == pytest.approx(float(c_out(torch.tensor(0.3))))


def test_training_noise_has_its_stated_distribution():
    config = NoiseConfig(sigma_min=0.02, sigma_max=2.0, core_min=0.1, core_max=1.0, core_share=0.6)
    sigma = sample_sigma(40_000, config, generator(0))
    assert sigma.min() >= 0.02 * (1 - 1e-6) and sigma.max() <= 2.0 * (1 + 1e-6)
    # Half of the log-uniform range of two decades lies in the core, all of the core's share does.
    inside = float(((sigma > 0.1) & (sigma < 1.0)).float().mean())
    assert inside == pytest.approx(0.6 + 0.4 * 0.5, abs=5 * math.sqrt(0.16 / 40_000))
    middle = float(((sigma > 0.1) & (sigma < math.sqrt(0.1))).float().mean())
    assert middle == pytest.approx(inside / 2, abs=5 * math.sqrt(0.24 / 40_000))
