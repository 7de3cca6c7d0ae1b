"""Compiled reverse Monte Carlo: its forward model is ours, its ensemble is the one that it claims to draw."""

import numpy as np
import pytest
import torch

pytest.importorskip("numba", reason="the baselines need glass_ml[benchmarks]")

from baselines.rmc import Problem, ReverseMonteCarlo

from glass_ml.observables.kinds import make_observable
from glass_ml.structures.neighbours import neighbour_pairs
from glass_ml.structures.random import generator, random_packing
from glass_ml.structures.state import Structures

GRID = torch.arange(20, 101, dtype=torch.float64) * 0.05
MODEL = make_observable("gr", GRID, radiation="number", broadening=0.05)


def silica(n_atoms: int, density: float = 0.066, seed: int = 0) -> Structures:
    return random_packing({"Si": 1, "O": 2}, density, n_atoms, [generator(seed)]).to(dtype=torch.float64)


def problem(target: torch.Tensor, sigma: float = 0.05, shortest: tuple = ()) -> Problem:
    return Problem(GRID.numpy(), target.numpy(), sigma, 0.05, shortest)


@pytest.mark.parametrize("n_atoms", [12, 30, 90])  # cells of 5.7, 7.7 and 11.1 Å: half of the first two is within reach
def test_model_stays_that_of_the_observable_while_atoms_move(n_atoms):
    start = silica(n_atoms)
    run = ReverseMonteCarlo(problem(torch.ones_like(GRID), sigma=1.0), start, seed=1)
    assert run.advance(500) > 0.05
    moved = (run.structures.positions - start.positions).norm(dim=1)
    assert (moved > 0.01).sum() > n_atoms / 2
    expected = MODEL.forward(run.structures)[0].numpy()
    # A pair's tabulated distance is off by up to 0.0005 Å, 0.6 % of its share in a point.
    assert np.abs(run.model - expected).max() < (6e-3 if n_atoms > 12 else 1.2e-2)
    again = ReverseMonteCarlo(problem(torch.ones_like(GRID)), run.structures, seed=2)
    np.testing.assert_allclose(again.model, run.model, atol=1e-6 * expected.max() + 1e-9)


def test_two_atoms_are_drawn_from_the_likelihood():
    edge, sigma = 6.0, 4.0
    cell = torch.eye(3, dtype=torch.float64)[None] * edge
    # Oracle: uniform relative positions, weighted by exp(-chi^2 / 2) of the package's own forward model.
    n = 4000
    uniform = edge * torch.rand(n, 3, generator=generator(0), dtype=torch.float64)
    two = torch.stack([torch.zeros_like(uniform), uniform], 1).reshape(-1, 3)
    system = torch.arange(n).repeat_interleave(2)
    many = Structures(two, cell.expand(n, 3, 3), torch.full((2 * n,), 14), system)
    target = 20 * torch.exp(-0.5 * ((GRID - 2.5) / 0.3) ** 2)
    chi2 = (((MODEL.forward(many) - target) / sigma) ** 2).sum(1)
    folded = uniform - edge * (uniform / edge).round()
    distance = folded.norm(dim=1)
    weight = torch.softmax(-0.5 * chi2, 0)
    assert 1 / (weight**2).sum() > 100  # effective samples
    expected = (weight * distance).sum()
    spread = (weight * (distance - expected) ** 2).sum().sqrt()

    run = ReverseMonteCarlo(problem(target, sigma), many[0], seed=3)
    run.advance(20_000)
    found = []
    for _ in range(1500):
        run.advance(40)
        d = run.xyz[:, 0] - run.xyz[:, 1]
        found.append(np.linalg.norm(d - edge * np.round(d / edge)))
    assert abs(distance.mean() - expected) > 0.3  # the data matter
    assert np.mean(found) == pytest.approx(float(expected), abs=0.05)
    assert np.std(found) == pytest.approx(float(spread), abs=0.06)


def test_no_pair_comes_closer_than_its_elements_may():
    shortest = ((8, 8, 2.2), (8, 14, 1.4), (14, 14, 2.25))
    run = ReverseMonteCarlo(problem(torch.zeros_like(GRID), 10.0, shortest), silica(60), seed=4)
    assert run.advance(20_000) > 0.1
    pairs = neighbour_pairs(run.structures, 2.6, full=False)
    length = pairs.vectors(run.structures).norm(dim=1)
    kinds = run.structures.numbers[pairs.i] + run.structures.numbers[pairs.j]
    for a, b, limit in shortest:
        assert limit - 1e-6 < length[kinds == a + b].min() < limit + 0.2


def test_a_run_fits_and_depends_on_its_seed_alone():
    target = MODEL.forward(silica(60, seed=7))[0]
    runs = [ReverseMonteCarlo(problem(target), silica(60), seed=s) for s in (5, 5, 6)]
    before = runs[0].chi2
    results = []
    for seed, run in zip((5, 5, 6), runs, strict=True):
        run = ReverseMonteCarlo(problem(target), silica(60), seed)
        run.advance(10_000)
        results.append(run)
    assert results[0].chi2 < 0.2 * before
    assert np.array_equal(results[0].xyz, results[1].xyz)
    assert not np.array_equal(results[0].xyz, results[2].xyz)


def test_cells_that_images_would_fill_twice_are_refused():
    with pytest.raises(ValueError, match="cubic cell wider"):
        ReverseMonteCarlo(problem(torch.ones_like(GRID)), silica(6), seed=0)
