"""Conversions between conventions: round trips, limits, and forward models as oracle."""

import itertools

import numpy as np
import pytest
import torch

from glass_ml.errors import InputError
from glass_ml.measurements.conventions import CONVENTIONS, REAL, convert, mean_length_squared
from glass_ml.observables.kinds import make_observable

SILICA = {"Si": 1.0, "O": 2.0}
OPTIONS = {"density": 0.066, "composition": SILICA}
SAME_SPACE = [
    (a, b)
    for a, b in itertools.permutations(CONVENTIONS, 2)
    if (a in REAL) == (b in REAL) and (a in REAL or a.split("-")[0] == b.split("-")[0])
]


@pytest.mark.parametrize("source, to", SAME_SPACE)
def test_round_trip(source, to):
    x = np.linspace(0.1, 20, 200)
    y, sigma = 1 + np.sin(2.5 * x) / x, np.full(200, 0.02)
    there = convert(x, y, source, to, sigma=sigma, **OPTIONS)
    back = convert(there[0], there[1], to, source, sigma=there[2], **OPTIONS)
    np.testing.assert_allclose(back[1], y, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(back[2], sigma, rtol=1e-12)


def test_the_mean_scattering_length_of_silica():
    assert mean_length_squared(SILICA) == pytest.approx(0.2758, abs=3e-4)


def test_conversions_agree_with_the_forward_models(silicon):
    """Each model of one structure, converted, is the other model of the same structure."""
    r = torch.linspace(1.0, 5.0, 80, dtype=torch.float64)
    q = torch.linspace(1.0, 20.0, 80, dtype=torch.float64)
    options = {"density": float(silicon.density[0]), "composition": {"Si": 1.0}}
    for grid, kinds in ((r, ("pdf", "dr", "tr")), (q, ("xray-sq", "xray-fq")), (q, ("neutron-sq", "neutron-fq"))):
        models = {k: make_observable(k, grid).forward(silicon)[0].numpy() for k in kinds}
        for source, to in itertools.permutations(kinds, 2):
            converted = convert(grid.numpy(), models[source], source, to, **options)[1]
            np.testing.assert_allclose(converted, models[to], rtol=1e-9, atol=1e-9)


def test_transform_there_and_back():
    """A Gaussian shell survives r -> Q -> r when both ranges hold all of it."""
    r = np.arange(0.01, 12, 0.01)
    g = np.exp(-0.5 * ((r - 3) / 0.2) ** 2)
    q = np.arange(0.01, 30, 0.01)
    _, f, _ = convert(r, g, "pdf", "xray-fq", grid=q)
    # analytic: int exp(-(r-3)^2/2s^2) sin(Qr) dr = s sqrt(2 pi) exp(-(sQ)^2/2) sin(3Q)
    expected = 0.2 * np.sqrt(2 * np.pi) * np.exp(-0.5 * (0.2 * q) ** 2) * np.sin(3 * q)
    np.testing.assert_allclose(f, expected, atol=1e-4)
    _, back, _ = convert(q, f, "xray-fq", "pdf", grid=r)
    np.testing.assert_allclose(back, g, atol=1e-3)


def test_noise_propagates_through_the_transform():
    rng = np.random.default_rng(0)
    q, r = np.arange(0.1, 25, 0.1), np.array([1.3, 2.7, 6.1])
    sigma = 0.02 * (1 + q / 25)
    draws = [
        convert(q, 1 + rng.normal(size=len(q)) * sigma, "xray-sq", "pdf", grid=r, lorch=True)[1] for _ in range(800)
    ]
    predicted = convert(q, np.ones_like(q), "xray-sq", "pdf", grid=r, lorch=True, sigma=sigma)[2]
    np.testing.assert_allclose(np.std(draws, axis=0), predicted, rtol=0.1)


@pytest.mark.parametrize(
    "arguments, options, word",
    [
        (("gr", "pdf"), {}, "density"),
        (("pdf", "dr"), {}, "composition"),
        (("neutron-fq", "neutron-sq"), {}, "composition"),
        (("xray-sq", "neutron-sq"), OPTIONS, "another radiation"),
        (("xray-sq", "pdf"), OPTIONS, "Fourier"),
        (("xray-sq", "sq"), OPTIONS, "unknown convention"),
    ],
)
def test_what_is_missing_is_asked_for(arguments, options, word):
    x = np.linspace(0.1, 20, 50)
    with pytest.raises(InputError, match=word):
        convert(x, x, *arguments, **options)
    with pytest.raises(InputError, match="not positive"):
        convert(x - 0.1, x, "xray-sq", "xray-fq")
