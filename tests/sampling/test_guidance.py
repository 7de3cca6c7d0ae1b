"""Guidance against closed forms: Gaussian prior, linear measurement."""

import math

import pytest
import torch
from gaussian_prior import CENTRE, GaussianPrior, LinearMeasurement, example, no_constraint, streams, structures_at

from glass_ml.errors import InputError
from glass_ml.sampling.guidance import Decoupled, PosteriorScore, Unguided, make_guidance
from glass_ml.sampling.sampler import karras_grid, replica_noise, sample
from glass_ml.settings.sampling import GuidanceConfig, SamplingConfig, StepConfig, Temperature
from glass_ml.structures.state import Structures

UNCUT = 1e9
SIGMA = 0.25
COLD = Temperature(0.7)


def noisy(prior: GaussianPrior, replicas: int, seed: int = 5) -> Structures:
    start = structures_at(prior.mean.repeat(replicas, 1, 1))
    return start.at(start.positions + 0.6 * replica_noise(start, streams(replicas, seed))(start.positions))


def flat(positions: torch.Tensor, replicas: int) -> torch.Tensor:
    return positions.reshape(replicas, -1)


def no_noise(like: torch.Tensor) -> torch.Tensor:
    raise AssertionError("a deterministic estimate draws no noise")


@pytest.mark.parametrize("jacobian", [True, False])
@pytest.mark.parametrize("strength", [1.0, 0.3])
def test_posterior_score_is_the_estimate_plus_the_gradient(jacobian, strength):
    prior, measurement = example()
    structures = noisy(prior, 3)
    guided = PosteriorScore(prior, measurement, jacobian, strength, UNCUT).estimate(structures, SIGMA, no_noise)
    clean = flat(prior.denoise(structures, SIGMA), 3)
    residuals = ((clean - CENTRE) @ measurement.matrix.T - measurement.data) / measurement.sigma
    slope = prior.shrink(SIGMA) if jacobian else 1.0
    expected = clean - strength * SIGMA**2 * slope * residuals @ measurement.matrix / measurement.sigma
    torch.testing.assert_close(flat(guided, 3), expected, rtol=0, atol=1e-10)
    assert (expected - clean).abs().min() > 1e-4


def test_posterior_score_is_bayes_where_the_estimate_is_perfect():
    """For sigma << width and sigma_y the posterior mean given x is D(x) minus the gradient's share."""
    prior, measurement = example()
    sigma = 1e-3
    structures = noisy(prior, 2)
    guided = PosteriorScore(prior, measurement, True, 1.0, UNCUT).estimate(structures, sigma, no_noise)
    exact = measurement.mode(flat(prior.denoise(structures, sigma), 2), prior.spread(sigma))
    shift = exact - flat(prior.denoise(structures, sigma), 2)
    torch.testing.assert_close(flat(guided, 2) - exact + shift, shift, rtol=1e-3, atol=0)


@pytest.mark.parametrize("ensemble", [False, True])
def test_decoupled_at_zero_temperature_is_the_mode(ensemble):
    prior, measurement = example(ensemble=ensemble)
    structures = noisy(prior, 3)
    found = Decoupled(prior, measurement, 8, None, UNCUT).estimate(structures, SIGMA, no_noise)
    mean, spread = flat(prior.denoise(structures, SIGMA), 3), prior.spread(SIGMA)
    if ensemble:  # the mean over replicas is measured: the same shift for all, with a third of the variance
        middle = mean.mean(0, keepdim=True)
        expected = mean + measurement.mode(middle, spread / math.sqrt(3)) - middle
    else:
        expected = measurement.mode(mean, spread)
    torch.testing.assert_close(flat(found, 3), expected, rtol=0, atol=1e-7)
    assert (expected - mean).norm() > 0.1


def test_one_step_suffices_for_a_linear_measurement():
    prior, measurement = example(n=4, points=10)
    structures = noisy(prior, 1)
    mode = measurement.mode(flat(prior.denoise(structures, SIGMA), 1), prior.spread(SIGMA))
    found = Decoupled(prior, measurement, 1, None, UNCUT).estimate(structures, SIGMA, no_noise)
    torch.testing.assert_close(flat(found, 1), mode, rtol=0, atol=1e-9)


def test_data_far_stronger_than_the_prior_are_met_in_single_precision():
    """Forty points on six coordinates: their products lose more than single precision has."""
    prior, measurement = example(points=40)
    strong = LinearMeasurement(measurement.matrix, measurement.data, 1e-5)
    single = LinearMeasurement(measurement.matrix.float(), measurement.data.float(), 1e-5)
    start = structures_at(prior.mean[None])
    expected = strong.mode(prior.denoise(start, SIGMA).reshape(1, -1), prior.spread(SIGMA))
    narrow = GaussianPrior(prior.mean.float(), prior.width)
    found = Decoupled(narrow, single, 4, None, UNCUT).estimate(start.to(dtype=torch.float32), SIGMA, no_noise)
    assert (flat(found, 1) - expected).abs().max() < 1e-4  # positions near 500 Å are known to 3e-5
    assert (expected - flat(prior.mean, 1)).abs().max() > 0.1


def test_spread_is_the_posterior_width_of_the_gaussian():
    prior, _ = example()
    precision = 1 / prior.width**2 + 1 / SIGMA**2
    assert prior.spread(SIGMA) == pytest.approx(precision**-0.5)


def covariance_z(samples: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """Deviations of a sample covariance in units of its Monte-Carlo error, for Gaussian samples."""
    variance = (expected.diagonal()[:, None] * expected.diagonal() + expected**2) / len(samples)
    return (torch.cov(samples.T) - expected) / variance.sqrt()


def test_one_draw_has_mean_and_covariance_of_the_conditional_posterior():
    prior, measurement = example()
    replicas = 3000
    structures = structures_at((prior.mean + 0.2).repeat(replicas, 1, 1))
    noise = replica_noise(structures, streams(replicas))
    samples = flat(
        Decoupled(prior, measurement, 8, Temperature(1.0, 0.0), UNCUT).estimate(structures, SIGMA, noise), replicas
    )
    mean = flat(prior.denoise(structures, SIGMA), replicas)[:1]
    spread = prior.spread(SIGMA)
    covariance = measurement.covariance(spread)
    error = (samples.mean(0) - measurement.mode(mean, spread)[0]) / (covariance.diagonal() / replicas).sqrt()
    assert error.abs().max() < 4
    assert covariance_z(samples, covariance).abs().max() < 4.5


@pytest.mark.parametrize(("kept", "levels"), [(0.0, 10), pytest.param(-0.6, 20, marks=pytest.mark.slow)])
def test_the_loop_samples_the_posterior(kept, levels):
    """Temperature 1 and draws: mean and covariance of p(x | y), far from those of the prior."""
    prior, measurement = example()
    replicas = 2500
    start = structures_at(prior.mean.repeat(replicas, 1, 1))
    made = sample(
        start,
        Decoupled(prior, measurement, 8, Temperature(1.0, 0.0), UNCUT),
        karras_grid(levels, 0.02, 20.0, 7.0),
        StepConfig(kept=kept),
        streams(replicas),
        constraint=no_constraint,
    )
    samples = flat(made.positions, replicas)
    mean = measurement.mode(prior.mean.reshape(1, 6), prior.width)[0]
    covariance = measurement.covariance(prior.width)
    error = (samples.mean(0) - mean) / (covariance.diagonal() / replicas).sqrt()
    assert error.abs().max() < 4
    assert covariance_z(samples, covariance).abs().max() < 4.5
    assert (mean - prior.mean.flatten()).norm() > prior.width  # the data matter
    assert torch.linalg.eigvalsh(covariance).min() < 0.2 * prior.width**2
    assert torch.linalg.eigvalsh(covariance).max() == pytest.approx(prior.width**2)  # and some directions are free


def test_temperature_scales_the_covariance():
    prior, measurement = example()
    replicas = 2000
    structures = structures_at(prior.mean.repeat(replicas, 1, 1))
    noise = replica_noise(structures, streams(replicas))
    samples = flat(
        Decoupled(prior, measurement, 8, Temperature(0.25, 0.0), UNCUT).estimate(structures, SIGMA, noise), replicas
    )
    assert covariance_z(samples, 0.25 * measurement.covariance(prior.spread(SIGMA))).abs().max() < 4.5


class BentMeasurement(LinearMeasurement):
    """A nonlinear forward model."""

    def residuals(self, structures: Structures) -> torch.Tensor:
        return super().residuals(structures).sin() * 3


def test_steps_approach_the_mode_of_a_nonlinear_measurement():
    """There the gradient of U vanishes."""
    prior, measurement = example(n=4, points=10)
    bent = BentMeasurement(measurement.matrix, measurement.data, measurement.sigma)
    structures = noisy(prior, 1)
    mean, spread = prior.denoise(structures, SIGMA), prior.spread(SIGMA)
    slopes = []
    for iterations in (1, 2, 4, 12):
        found = Decoupled(prior, bent, iterations, None, UNCUT).estimate(structures, SIGMA, no_noise)
        residuals, jacobian = bent.linearise(structures.at(found))
        slopes.append(float(((found - mean) / spread**2 + torch.einsum("k,knc->nc", residuals[0], jacobian)).norm()))
    assert slopes[0] > slopes[1] > slopes[2] and slopes[3] < 1e-6 * slopes[0]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_decoupled_replica_does_not_depend_on_its_batch(temperature):
    prior, measurement = example()
    bent = BentMeasurement(measurement.matrix, measurement.data, measurement.sigma)
    structures = noisy(prior, 4)
    far = structures.at(structures.positions + torch.arange(8.0)[:, None] * 0.3)  # gradients of different sizes
    guidance = Decoupled(prior, bent, 4, Temperature(temperature, 0.0), 0.3)
    together = flat(guidance.estimate(far, SIGMA, replica_noise(far, streams(4))), 4)
    for k in range(4):
        alone = guidance.estimate(far[k], SIGMA, replica_noise(far[k], [streams(4)[k]]))
        torch.testing.assert_close(alone.flatten(), together[k], rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", ["decoupled", "dps", "dps-fixed"])
def test_guidance_is_cut_at_the_largest_displacement(kind):
    prior, measurement = example()
    strong = LinearMeasurement(measurement.matrix, measurement.data + 50, 0.01)
    structures = noisy(prior, 2)
    clean = prior.denoise(structures, SIGMA)

    def displacement(largest):
        config = SamplingConfig(
            guidance=GuidanceConfig(kind=kind, iterations=1, largest=largest),
            step=StepConfig("gibbs" if kind == "decoupled" else "ancestral"),
            temperature=Temperature(0.0, 0.0),
        )
        return make_guidance(config, prior, strong).estimate(structures, SIGMA, no_noise) - clean

    free, cut = displacement(UNCUT), displacement(0.1)
    assert free.norm(dim=1).min() > 0.2
    torch.testing.assert_close(cut, 0.1 * free / free.norm(dim=1, keepdim=True), rtol=0, atol=1e-9)
    small = displacement(float(free.norm(dim=1).max()) * 1.01)
    torch.testing.assert_close(small, free)


def test_guidance_by_name():
    prior, measurement = example()

    def made(likelihood=measurement, solver="gibbs", **settings):
        step = StepConfig(solver)
        config = SamplingConfig(guidance=GuidanceConfig(**settings), step=step, temperature=COLD)
        return make_guidance(config, prior, likelihood)

    assert made(kind="none") == Unguided(prior, COLD) == made(None)
    assert made(solver="ancestral", kind="dps", strength=0.0).strength == 0.0
    assert not made(solver="multistep", kind="dps-fixed").jacobian
    # A draw, or a mean.
    assert made().temperature == COLD
    assert made(solver="ancestral").temperature is made(solver="multistep").temperature is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch": 0},
        {"minimum_distance": -0.1},
        {"step": StepConfig(kept=-1.1)},
        {"guidance": GuidanceConfig(iterations=0)},
        {"guidance": GuidanceConfig(kind="dps")},
        {"temperature": Temperature(-1.0)},
        {"temperature": Temperature(float("nan"))},
        {"temperature": Temperature(1.0, -0.1)},
        {"guidance": GuidanceConfig(largest=0.0)},
    ],
    ids=str,
)
def test_settings_that_no_inversion_can_have(wrong):
    with pytest.raises(InputError, match=r"^sampling\."):
        SamplingConfig(**wrong)
