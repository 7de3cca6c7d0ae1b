"""The published recipe on a Gaussian prior, where its stochastic differential equation has a known solution."""

import numpy as np
import pytest
import torch

pytest.importorskip("numba", reason="the baselines need glass_ml[benchmarks]")

from baselines.published import SIGMA_MAX, SIGMA_MIN, reverse
from scipy.integrate import solve_ivp

from glass_ml.structures.random import generator
from glass_ml.structures.state import Structures

N, EDGE, CENTRE, WIDTH = 2000, 40.0, 20.0, 0.3


class GaussianPrior:
    """Every coordinate is N(CENTRE, WIDTH^2)."""

    shortest = ()

    def __init__(self):
        self.calls = 0

    def denoise(self, structures, sigma):
        self.calls += 1
        return (WIDTH**2 * structures.positions + sigma**2 * CENTRE) / (WIDTH**2 + sigma**2)


class Coordinates:
    """Every coordinate was measured as `value` with standard deviation `error`."""

    def __init__(self, value, error):
        self.value, self.error = value, error

    def residuals(self, structures):
        return ((structures.positions - self.value) / self.error).reshape(1, -1)


def drawn(spread: float) -> Structures:
    positions = CENTRE + spread * torch.randn(N, 3, generator=generator(1), dtype=torch.float64)
    cell = torch.eye(3, dtype=torch.float64)[None] * EDGE
    return Structures(positions, cell, torch.full((N,), 14), torch.zeros(N, dtype=torch.long))


def test_without_data_it_draws_from_the_prior():
    prior = GaussianPrior()
    found = reverse(drawn(WIDTH), prior, 512, generator(2)).positions
    assert prior.calls == 513
    assert found.mean() == pytest.approx(CENTRE, abs=0.02)
    # the result is the clean estimate at SIGMA_MIN, narrower than the prior by this factor
    narrower = WIDTH / np.hypot(WIDTH, SIGMA_MIN)
    assert found.std() == pytest.approx(WIDTH * narrower, rel=0.03)


def test_guidance_follows_its_differential_equation():
    value, error, weight = CENTRE + 0.5, 0.1, 0.05
    likelihood = Coordinates(value, error)
    found = reverse(drawn(WIDTH), GaussianPrior(), 512, generator(3), likelihood, weight).positions

    def drift(t, mean):  # of the mean, backwards in time: the equation is linear, so its noise averages out
        sigma = SIGMA_MAX * t
        clean = (WIDTH**2 * mean + sigma**2 * CENTRE) / (WIDTH**2 + sigma**2)
        score = (clean - mean) / sigma**2 - weight * (clean - value) / error**2
        return -2 * SIGMA_MAX**2 * t * score

    path = solve_ivp(drift, (1.0, SIGMA_MIN / SIGMA_MAX), [CENTRE], rtol=1e-8, atol=1e-8)
    mean = path.y[0, -1]
    clean = (WIDTH**2 * mean + SIGMA_MIN**2 * CENTRE) / (WIDTH**2 + SIGMA_MIN**2)
    assert clean - CENTRE > 0.1  # the data pull, but not all the way
    assert found.mean() == pytest.approx(clean, abs=0.02)


def test_guidance_that_throws_atoms_away_gives_nothing():
    assert reverse(drawn(WIDTH), GaussianPrior(), 20, generator(4), Coordinates(0.0, 1e-3), 1.0) is None
