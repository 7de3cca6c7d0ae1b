"""Order of the solvers and the loop's marginals, on a Gaussian whose reverse process is known in closed form."""

import math
from itertools import pairwise

import pytest
import torch
from gaussian_prior import CENTRE, GaussianPrior, no_constraint, streams, structures_at

from glass_ml.sampling.guidance import Unguided
from glass_ml.sampling.sampler import (
    karras_grid,
    multistep,
    noise_levels,
    renoise,
    replica_noise,
    sample,
    stochastic_step,
)
from glass_ml.settings.sampling import ScheduleConfig, StepConfig, Temperature

WIDTH, HIGH, LOW = 0.3, 2.0, 0.05
PRIOR = GaussianPrior(torch.full((2, 3), CENTRE, dtype=torch.float64), WIDTH)


def start_of(replicas: int):
    return structures_at(PRIOR.mean.repeat(replicas, 1, 1))


def run(levels: list[float], step: StepConfig, replicas: int, draws: float = 0.0, heat: float = 1.0) -> torch.Tensor:
    """Displacements (S, 6) of the samples from the prior's mean."""
    made = sample(
        start_of(replicas), Unguided(PRIOR, Temperature(draws, 0.0)), levels, step, streams(replicas),
        constraint=no_constraint, temperature=Temperature(heat, 0.0),
    )  # fmt: skip
    return made.positions.reshape(replicas, 6) - CENTRE


def flow(sigma: float) -> float:
    """Factor by which the probability flow carries a displacement from HIGH to sigma."""
    return math.sqrt((WIDTH**2 + sigma**2) / (WIDTH**2 + HIGH**2))


@pytest.mark.parametrize(
    ("step", "order"),
    [(StepConfig("ancestral", kept=1.0), 1), (StepConfig("multistep"), 2)],
    ids=["first-order", "multistep"],
)
def test_order_of_the_solvers(step, order):
    start = start_of(1)
    first = HIGH * replica_noise(start, streams(1))(start.positions).reshape(1, 6)
    exact = PRIOR.shrink(LOW) * flow(LOW) * first
    errors = [(run(karras_grid(n, LOW, HIGH, 7.0), step, 1) - exact).norm() for n in (41, 81, 161)]
    slopes = [math.log2(float(a / b)) for a, b in pairwise(errors)]
    assert slopes == pytest.approx([order, order], abs=0.15)
    assert errors[-1] < {1: 0.05, 2: 2e-3}[order] * exact.norm()


def test_multistep_without_history_is_the_first_order_step():
    x, clean = torch.randn(2, 4, 3, dtype=torch.float64, generator=streams(1)[0])
    once = multistep(x, clean, None, 1.0, 0.8, 0.5)
    torch.testing.assert_close(once, stochastic_step(x, clean, 0.8, 0.5, torch.zeros_like(x), 1.0))
    torch.testing.assert_close(once, multistep(x, clean, clean, 1.0, 0.8, 0.5))


def test_multistep_is_exact_for_an_estimate_linear_in_log_sigma():
    """dx/dt = -(x - x0(t)) with x0 = a + b t has the solution x = a + b (t - 1) + c exp(-t), t = -log sigma."""
    levels, a, b, c = (0.9, 0.6, 0.5), 1.3, -0.7, 0.2
    t = [-math.log(s) for s in levels]

    def path(time):
        return a + b * (time - 1) + c * math.exp(-time)

    # Second order: the error of one step is third order in its length.
    errors = []
    for length in (0.1, 0.05):
        now = t[1]
        clean, before = (torch.tensor(a + b * time, dtype=torch.float64) for time in (now, now - length))
        x = torch.tensor(path(now), dtype=torch.float64)
        lower = math.exp(-(now + length))
        after = multistep(x, clean, before, math.exp(-(now - length)), levels[1], lower)
        errors.append(abs(float(after) - path(now + length)))
    assert errors[0] < 1e-3 and errors[0] / errors[1] == pytest.approx(8, rel=0.1)


@pytest.mark.parametrize("kept", [1.0, 0.8, 0.0, -0.6])
def test_step_given_the_true_structure_has_the_marginal_of_the_lower_level(kept):
    stream = streams(1)[0]
    n = 200_000
    clean = torch.full((n, 3), 5.0, dtype=torch.float64)
    x = clean + 0.8 * torch.randn(n, 3, dtype=torch.float64, generator=stream)
    lower = stochastic_step(x, clean, 0.8, 0.5, torch.randn(n, 3, dtype=torch.float64, generator=stream), kept)
    assert lower.mean() == pytest.approx(5.0, abs=5 * 0.5 / math.sqrt(3 * n))
    assert lower.std() == pytest.approx(0.5, rel=5 / math.sqrt(6 * n))
    correlation = torch.corrcoef(torch.stack([x.flatten(), lower.flatten()]))[0, 1]
    assert correlation == pytest.approx(kept, abs=5 / math.sqrt(3 * n))


def test_renoise_adds_the_missing_variance():
    x = 0.3 * torch.randn(200_000, dtype=torch.float64, generator=streams(1)[0])
    higher = renoise(x, 0.3, 0.7, torch.randn(x.shape, dtype=torch.float64, generator=streams(1, 1)[0]))
    assert higher.std() == pytest.approx(0.7, rel=5 / math.sqrt(2 * len(x)))


@pytest.mark.parametrize(
    ("step", "restarts"),
    [(StepConfig("multistep"), 0), (StepConfig("ancestral", kept=1.0), 2), (StepConfig("multistep"), 2)],
    ids=["multistep", "first-order with Restart", "multistep with Restart"],
)
def test_unguided_loop_samples_the_prior(step, restarts):
    replicas = 700
    config = ScheduleConfig(
        steps=80, sigma_min=0.01, sigma_max=HIGH, rho=7.0, restarts=restarts, restart_low=0.05, restart_high=0.6,
        restart_steps=40,
    )  # fmt: skip
    samples = run(noise_levels(config), step, replicas)
    n = samples.numel()
    assert samples.mean() == pytest.approx(0.0, abs=5 * WIDTH / math.sqrt(n))
    # The start has the width HIGH, where the prior at that level has hypot(HIGH, WIDTH): 1.1 % less.
    assert samples.std() == pytest.approx(WIDTH, rel=5 / math.sqrt(2 * n) + 0.02)
    correlation = torch.corrcoef(samples.T) - torch.eye(6, dtype=torch.float64)
    assert correlation.abs().max() < 5 / math.sqrt(replicas)


@pytest.mark.parametrize("temperature", [1.0, 0.25])
@pytest.mark.parametrize(
    "step",
    [StepConfig(kept=0.0), StepConfig(kept=-0.6), StepConfig("multistep")],
    ids=["draws", "over-relaxed draws", "means"],
)
def test_temperature_is_that_of_the_samples(step, temperature):
    """p(x)^(1/T) of a Gaussian has T times its variance."""
    replicas = 700
    draws = temperature if step.solver == "gibbs" else 0.0
    samples = run(karras_grid(60, 0.01, 10.0, 7.0), step, replicas, draws, temperature)
    assert samples.std() == pytest.approx(temperature**0.5 * WIDTH, rel=5 / math.sqrt(2 * samples.numel()) + 0.01)


def test_kept_noise_takes_the_temperature_of_its_level():
    """Crossing from one temperature to another leaves the variance of the new one at once."""
    replicas, low, high = 4000, 0.25, 1.0
    seen = []
    sample(
        start_of(replicas), Unguided(PRIOR, Temperature(low, 0.55)), [0.6, 0.5], StepConfig(kept=-0.6),
        streams(replicas), constraint=no_constraint, temperature=Temperature(low, 0.55),
        report=lambda progress: seen.append(progress.clean.positions - CENTRE),
    )  # fmt: skip
    first, second = (PRIOR.shrink(sigma) for sigma in (0.6, 0.5))
    kept = -0.6 * 0.5 / 0.6 * (high / low) ** 0.5
    x = low * 0.6**2  # around the mean, where the run starts
    x = (first + kept * (1 - first)) ** 2 * x + (1 - kept) ** 2 * low * PRIOR.spread(0.6) ** 2
    x += high * (1 - 0.6**2) * 0.5**2
    assert seen[1].var() == pytest.approx(second**2 * x + high * PRIOR.spread(0.5) ** 2, rel=0.03)


def test_temperature_by_noise_level():
    assert [Temperature(0.3, 0.1).at(sigma) for sigma in (2.0, 0.11, 0.1, 0.02)] == [0.3, 0.3, 1.0, 1.0]


@pytest.mark.parametrize("kept", [-0.6, 0.0, 0.8])
def test_over_relaxed_draws_forget_faster(kept):
    """Correlation of the clean structures of successive rounds at one noise level; the variance stays the prior's."""
    sigma, rounds, n = 0.3, 60, 4000
    stream, a = streams(1)[0], PRIOR.shrink(0.3)
    drawn = []
    x = sigma * torch.randn(n, generator=stream, dtype=torch.float64)
    for _ in range(rounds):
        clean = a * x + PRIOR.spread(sigma) * torch.randn(n, generator=stream, dtype=torch.float64)
        drawn.append(clean)
        x = stochastic_step(x, clean, sigma, sigma, torch.randn(n, generator=stream, dtype=torch.float64), kept)
    late = torch.stack(drawn[20:])
    assert late.std() == pytest.approx(WIDTH, rel=0.01)
    lagged = (late[:-4] * late[4:]).mean() / WIDTH**2
    # The joint chain of (clean, x) is linear: its fourth power gives the correlation at lag 4.
    chain = torch.tensor([[0.0, a], [0.0, a + kept * (1 - a)]], dtype=torch.float64)
    noise = torch.tensor([[1.0, 0.0], [1.0 - kept, 1.0]], dtype=torch.float64)
    spread = torch.tensor([PRIOR.spread(sigma) ** 2, (1 - kept**2) * sigma**2], dtype=torch.float64).diag()
    joint = torch.zeros(2, 2, dtype=torch.float64)
    for _ in range(200):
        joint = chain @ joint @ chain.T + noise @ spread @ noise.T
    assert joint[0, 0] == pytest.approx(WIDTH**2)
    expected = (torch.linalg.matrix_power(chain, 4) @ joint)[0, 0] / WIDTH**2
    assert lagged == pytest.approx(float(expected), abs=0.02)


@pytest.mark.parametrize("step", [StepConfig("ancestral", kept=0.0), StepConfig("ancestral", kept=0.8)])
def test_renewed_noise_around_mean_estimates_follows_its_variance_recursion(step):
    """Mean estimates in place of draws lose their own spread: the ancestral solver alone samples colder."""
    levels, replicas = karras_grid(30, LOW, HIGH, 7.0), 500
    variance = HIGH**2
    for sigma, lower in pairwise(levels):
        a = PRIOR.shrink(sigma)
        kept = a + lower / sigma * step.kept * (1 - a)
        variance = kept**2 * variance + (1 - step.kept**2) * lower**2
    samples = run(levels, step, replicas)
    expected = PRIOR.shrink(LOW) * math.sqrt(variance)
    assert samples.std() == pytest.approx(expected, rel=5 / math.sqrt(2 * samples.numel()))
    assert expected < 0.95 * WIDTH


def test_replica_does_not_depend_on_its_batch():
    levels = karras_grid(8, LOW, HIGH, 7.0)
    together = run(levels, StepConfig(), 5)
    for k in (0, 3):
        alone = sample(start_of(1), Unguided(PRIOR), levels, StepConfig(), [streams(5)[k]], constraint=no_constraint)
        assert torch.equal(alone.positions.reshape(6) - CENTRE, together[k])


def test_noise_of_atoms_of_rows_and_of_one_row():
    start = start_of(3)
    noise = replica_noise(start, streams(3))
    atoms, rows = noise(start.positions), noise(torch.zeros(3, 7))
    alone = replica_noise(start_of(1), [streams(3)[2]])
    torch.testing.assert_close(alone(start_of(1).positions), atoms[4:], rtol=0, atol=0)
    torch.testing.assert_close(alone(torch.zeros(1, 7)), rows[2:], rtol=0, atol=0)
    assert noise(torch.zeros(1, 7)).shape == (1, 7)
