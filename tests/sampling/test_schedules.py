"""Noise levels."""

import math
from itertools import pairwise

import pytest

from glass_ml.errors import InputError
from glass_ml.sampling.sampler import karras_grid, noise_levels
from glass_ml.settings.sampling import ScheduleConfig


@pytest.mark.parametrize("rho", [1.0, 3.0, 7.0])
def test_grid_is_equation_5_of_karras(rho):
    steps, low, high = 11, 0.03, 1.7
    grid = karras_grid(steps, low, high, rho)
    for i, sigma in enumerate(grid):
        root = high ** (1 / rho) + i / (steps - 1) * (low ** (1 / rho) - high ** (1 / rho))
        assert sigma == pytest.approx(root**rho, rel=1e-12)
    assert grid[0] == pytest.approx(high, rel=1e-14) and grid[-1] == pytest.approx(low, rel=1e-12)
    assert all(a > b for a, b in pairwise(grid))


def test_large_rho_approaches_the_geometric_grid():
    grid = karras_grid(9, 0.05, 1.5, 1e6)
    ratios = [math.log(a / b) for a, b in pairwise(grid)]
    assert ratios == pytest.approx([math.log(30) / 8] * 8, rel=1e-4)


def test_restarts_climb_from_low_to_high_and_are_run_again():
    config = ScheduleConfig(
        steps=20, sigma_min=0.05, sigma_max=1.5, rho=7.0, restarts=3, restart_low=0.1, restart_high=0.4, restart_steps=5
    )
    levels = noise_levels(config)
    climbs = [(a, b) for a, b in pairwise(levels) if b > a]
    assert len(climbs) == 3 and all(climb == pytest.approx((0.1, 0.4)) for climb in climbs)
    assert levels[0] == pytest.approx(1.5) and levels[-1] == pytest.approx(0.05)
    assert len(levels) == 20 + 1 + 3 * 5
    # Without its three climbs it is the plain way down, through restart_low.
    first = levels.index(0.1)
    rest = levels[first + 1 + 3 * 5 :]
    plain = karras_grid(20, 0.05, 1.5, config.rho)
    assert levels[:first] + rest == plain
    assert levels[first + 1 : first + 6] == karras_grid(5, 0.1, 0.4, config.rho)


def test_no_restarts_is_the_grid():
    assert noise_levels(ScheduleConfig(7, 1.5, 0.05, 7.0)) == karras_grid(7, 0.05, 1.5, 7.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 1},
        {"sigma_min": 0.0},
        {"sigma_min": -0.1},
        {"sigma_min": 2.0},
        {"sigma_max": float("nan")},
        {"sigma_max": float("inf")},
        {"rho": 0.0},
        {"restarts": -1},
        {"restarts": 1, "restart_low": 0.5},
        {"restarts": 1, "restart_low": 0.0},
        {"restarts": 1, "restart_low": 0.01},
        {"restarts": 1, "restart_low": 2.0, "restart_high": 3.0},
        {"restarts": 1, "restart_steps": 1},
    ],
    ids=str,
)
def test_levels_that_make_no_schedule(wrong):
    with pytest.raises(InputError):
        noise_levels(ScheduleConfig(**wrong))
