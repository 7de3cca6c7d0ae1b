"""The likelihood: closed-form scale and offset, gradients, modes, and data seen as the model is seen."""

import numpy as np
import pytest
import torch
from model_silicon import disordered_silicon
from scipy.optimize import lsq_linear

from glass_ml.errors import InputError
from glass_ml.measurements.channels import extrapolate_low_q, through_window
from glass_ml.measurements.comparison import r_factor, solve_scale_offset
from glass_ml.measurements.likelihood import build_likelihood
from glass_ml.measurements.target import load_target
from glass_ml.observables.base import Instrument
from glass_ml.observables.kinds import make_observable
from glass_ml.observables.scattering import Scattering, real_space_window
from glass_ml.structures.neighbours import neighbour_pairs


@pytest.mark.parametrize("seed", range(12))
def test_scale_and_offset_are_the_bounded_least_squares(seed):
    rng = np.random.default_rng(seed)
    model, target = rng.normal(1, 1, (3, 40)), rng.normal(1, 1, 40)
    variance = rng.uniform(0.5, 2, 40) ** 2
    scale, offset = np.sort(rng.uniform(0.1, 1.5, 2)), np.sort(rng.uniform(-1, 1, 2))
    if seed % 4 == 0:
        offset[:] = offset[0]
    if seed % 4 == 1:
        scale[:] = scale[0]
    s, o = solve_scale_offset(
        torch.from_numpy(model), torch.from_numpy(target), torch.from_numpy(variance), tuple(scale), tuple(offset)
    )
    for k in range(3):
        matrix = np.stack([model[k], np.ones(40)], axis=1) / np.sqrt(variance)[:, None]
        low, high = np.array([scale[0], offset[0]]) - 1e-9, np.array([scale[1], offset[1]]) + 1e-9
        best = lsq_linear(matrix, target / np.sqrt(variance), (low, high), tol=1e-12)
        cost = 0.5 * float((((float(s[k]) * model[k] + float(o[k])) - target) ** 2 / variance).sum())
        assert cost == pytest.approx(best.cost, rel=1e-6)
        assert scale[0] - 1e-9 <= float(s[k]) <= scale[1] + 1e-9 and offset[0] - 1e-9 <= float(o[k]) <= offset[1] + 1e-9


def test_r_factor_by_hand():
    q = torch.tensor([1.0, 2.0, 3.0])
    data, model = torch.tensor([1.5, 0.5, 1.0]), torch.tensor([1.4, 0.6, 1.2])
    by_hand = ((0.1**2 + 0.2**2 + 0.6**2) / (0.5**2 + 1.0**2)) ** 0.5
    assert r_factor(model, data, q, "xray-sq") == pytest.approx(by_hand, rel=1e-5)
    assert r_factor(model - 1, data - 1, q, "neutron-fq") == pytest.approx(by_hand, rel=1e-5)
    assert r_factor(q * (model - 1), q * (data - 1), q, "xray-fq") == pytest.approx(by_hand, rel=1e-5)


def csv(x, y):
    return "\n".join(f"{a:.6f},{b:.10f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))


@pytest.fixture
def two_measurements(write_target, silicon, tmp_path):
    """A target of the silicon fixture's own g(r), scaled by 1.1 and shifted, and of an S(Q) that does not fit."""
    r = torch.arange(1.5, 6.0, 0.05, dtype=torch.float64)
    g = make_observable("gr", r, broadening=0.1).forward(silicon)[0]
    (tmp_path / "gr.csv").write_text(csv(r, 1.1 * g - 0.05))

    def build(
        structures=silicon, use="validate", ensemble=False, scale="[0.5, 2]", offset="[-1, 1]", weight=1, more=""
    ):
        text = f"""
  - {{file: gr.csv, kind: gr, broadening: 0.1, sigma: 0.05, scale: {scale}, offset: {offset}, name: g}}
  - {{file: data.csv, kind: xray-sq, sigma: 0.1, use: {use}, weight: {weight}, x_range: [1, 12], name: s}}
{more}"""
        return build_likelihood(load_target(write_target(text=text)), structures, ensemble=ensemble)

    return build


def test_scale_and_offset_are_found_and_bounded(two_measurements, silicon):
    free = two_measurements().compare(silicon)["g"]
    assert float(free.scale[0]) == pytest.approx(1.1, rel=1e-6) and float(free.offset[0]) == pytest.approx(
        -0.05, abs=1e-6
    )
    assert float(free.chi2[0]) < 1e-8 and float(free.chi2[1]) > 1
    bounded = two_measurements(scale="[0.9, 1.05]", offset="0").compare(silicon)["g"]
    assert float(bounded.scale[0]) == pytest.approx(1.05) and float(bounded.offset[0]) == 0
    assert float(bounded.chi2[0]) > 1
    # the R-factor is taken at scale 1 whatever the fit does
    assert free.r_factor == pytest.approx(bounded.r_factor) and free.r_factor > 0.05


def test_validation_never_enters(two_measurements, silicon):
    held_out, fitted = two_measurements(use="validate"), two_measurements(use="fit", weight=3)
    comparison = fitted.compare(silicon)
    expected = comparison["g"].chi2 + 3 * comparison["s"].chi2
    torch.testing.assert_close(fitted.chi2(silicon), expected)
    torch.testing.assert_close(comparison.chi2, expected)
    torch.testing.assert_close(held_out.chi2(silicon), comparison["g"].chi2)
    torch.testing.assert_close(held_out.compare(silicon)["s"].chi2, comparison["s"].chi2)
    torch.testing.assert_close(fitted.residuals(silicon).square().sum(1), expected)


@pytest.mark.parametrize("ensemble", [False, True])
@pytest.mark.parametrize("scale, offset", [("[0.5, 2]", "[-1, 1]"), ("[0.9, 1.02]", "[-0.01, 0.01]"), ("1", "0")])
def test_gradient_of_chi2(two_measurements, ensemble, scale, offset):
    """At the optimum and at a bound alike, scale and offset need no gradient of their own."""
    small = disordered_silicon(repeat=1, amplitude=0.2, copies=2)
    likelihood = two_measurements(small, use="fit", ensemble=ensemble, scale=scale, offset=offset)
    x = small.positions.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p: likelihood.chi2(small.at(p)), x, eps=1e-5, atol=1e-3, rtol=1e-4, fast_mode=True
    )


@pytest.mark.parametrize("ensemble", [False, True])
@pytest.mark.parametrize("scale, offset", [("[0.5, 2]", "[-1, 1]"), ("1.1", "0.05")])
def test_linearised_likelihood(two_measurements, ensemble, scale, offset):
    """Fewer numbers than points, the same gradient, and but for a constant the same chi-square; also in float32."""
    small = disordered_silicon(repeat=1, amplitude=0.2, copies=2)
    exact = "  - {file: data.csv, kind: neutron-fq, sigma: 0.3, x_range: [3, 9], name: sum, method: reciprocal}"
    likelihood = two_measurements(small, use="fit", ensemble=ensemble, scale=scale, offset=offset, more=exact)
    x = small.positions.clone().requires_grad_()
    full = likelihood.residuals(small.at(x))
    (expected,) = torch.autograd.grad(0.5 * full.square().sum(), x)
    residuals, jacobian = likelihood.linearise(small)
    assert residuals.shape[0] == full.shape[0] and residuals.shape[1] == len(jacobian) < full.shape[1]
    own = residuals[small.system] if len(residuals) > 1 else residuals.expand(small.n_atoms, -1)
    gradient = torch.einsum("nk,knc->nc", own, jacobian)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    single = likelihood.linearise(small.to(dtype=torch.float32))
    assert {part.dtype for part in single} == {torch.float32}
    torch.testing.assert_close(single[1].double().norm(), jacobian.norm(), rtol=1e-3, atol=0)


def test_linearised_model_predicts_a_small_step(two_measurements):
    small = disordered_silicon(repeat=1, amplitude=0.2, copies=2)
    likelihood = two_measurements(small, use="fit", scale="1", offset="0")
    direction = torch.from_numpy(np.random.default_rng(0).normal(size=small.positions.shape))
    residuals, jacobian = likelihood.linearise(small)
    change = torch.zeros_like(residuals).index_add_(0, small.system, torch.einsum("knc,nc->nk", jacobian, direction))
    ahead, behind = (likelihood.linearise(small.at(small.positions + s * 1e-5 * direction))[0] for s in (1, -1))
    torch.testing.assert_close((ahead - behind) / 2e-5, change, rtol=1e-4, atol=1e-4 * float(change.abs().max()))


def test_ensemble_mode_fits_the_mean(two_measurements, silicon):
    one, mean = two_measurements(use="fit"), two_measurements(use="fit", ensemble=True)
    comparison = mean.compare(silicon)
    s = comparison["s"]
    expected = ((s.model.mean(0) - s.target) / s.sigma).square().sum()
    torch.testing.assert_close(s.chi2, expected.expand(2))
    assert float(mean.chi2(silicon).sum()) < float(one.chi2(silicon).sum())
    torch.testing.assert_close(s.mean, s.model.mean(0))
    assert float(s.spread.max()) > 0


def test_extra_variance_widens_sigma(two_measurements, silicon):
    likelihood = two_measurements(use="fit", scale="1", offset="0")
    plain = likelihood.compare(silicon)
    tripled = likelihood.chi2(silicon, extra_variance={"g": 3 * 0.05**2, "s": torch.full((2, 1), 3 * 0.1**2)})
    torch.testing.assert_close(tripled, plain.chi2 / 4)
    by_number = likelihood.chi2(silicon, extra_variance=1e9)
    assert float(by_number.max()) < 1e-5


def test_a_skin_list_and_single_precision_give_the_same(two_measurements, silicon):
    likelihood = two_measurements(use="fit")
    pairs = neighbour_pairs(silicon, likelihood.cutoff + 0.5, full=False)
    torch.testing.assert_close(likelihood.chi2(silicon, pairs), likelihood.chi2(silicon))
    single = silicon.to(dtype=torch.float32)
    assert likelihood.chi2(single).dtype == torch.float32
    torch.testing.assert_close(likelihood.chi2(single).double(), likelihood.chi2(silicon), rtol=2e-3, atol=1e-2)


def test_another_cell_is_refused(two_measurements):
    likelihood = two_measurements(use="fit")
    with pytest.raises(ValueError, match="leaves a cell"):
        likelihood.chi2(disordered_silicon(repeat=1))


class TwiceWindowed(Scattering):
    """The model of a measurement that was itself made at the resolution of a larger cell."""

    inner = 5.0

    def kernel(self, r, half_width):
        model = Scattering(self.kind, self.grid, self.instrument, self.inner)
        return model.kernel(r, half_width) * real_space_window(r, half_width, "lorch")[:, None]


@pytest.mark.parametrize(
    "kind, q_first, q_last, bound",
    [("xray-sq", 0.15, 30, 2e-3), ("xray-sq", 0.15, 18, 1e-2), ("neutron-fq", 0.6, 25, 5e-3)],
)
def test_data_and_model_pass_the_same_window(kind, q_first, q_last, bound):
    """S(Q) of a structure over the measured range, through the data's path, is the model's path to R <= 0.002.

    0.005 where the first 0.6 1/Å have to be continued; 0.01 up to the last point of data that end amid oscillations,
    because their termination brings pairs from beyond the cell into it.
    """
    structure = disordered_silicon(repeat=3, amplitude=0.15)
    q = torch.cat([torch.arange(q_first, 10, 0.06), torch.arange(10, q_last, 0.15)]).double()
    grid = q[(q >= 0.8) & (q <= 24)]
    assert float(structure.half_width[0]) > 8
    one = 1.0 if kind == "xray-sq" else 0.0
    data = make_observable(kind, q, window="lorch").forward(structure)[0] - one
    model = TwiceWindowed(kind, grid, Instrument(window="lorch", qmax=float(q[-1]))).forward(structure)[0] - one
    floor = -1.0 if kind == "xray-sq" else -0.01 * 4.15071**2
    seen = torch.from_numpy(through_window(q.numpy(), data.numpy(), grid.numpy(), TwiceWindowed.inner, floor=floor))
    assert r_factor(model + one, seen + one, grid, kind) < bound
    without = data[(q >= 0.8) & (q <= 24)]
    assert r_factor(model + one, without + one, grid, kind) > 10 * bound  # the window does matter


def test_likelihood_windows_the_data(write_target, tmp_path):
    """Noise-free S(Q) of a structure: windowed on both sides it fits, without a window it does not."""
    structure = disordered_silicon(repeat=3, amplitude=0.25)
    q = torch.arange(0.2, 25, 0.05, dtype=torch.float64)
    data = make_observable("xray-sq", q).forward(structure)[0]

    def r(window):
        text = f"  - {{file: data.csv, kind: xray-sq, sigma: 0.01, x_range: [1, 20], window: {window}}}"
        target = load_target(write_target(csv(q, data), text))
        return build_likelihood(target, structure).compare(structure)["data"].r_factor

    # the data carry the ripples of their own sharp end at L, which the window removes but cannot mend wholly
    assert r("lorch") < 0.01
    assert r("none") < 1e-5


def test_a_limit_bounds_the_pairs_of_a_large_cell(write_target):
    large = disordered_silicon(repeat=6, amplitude=0.1)
    text = "  - {file: data.csv, kind: xray-sq, sigma: 0.1, x_range: [1, 12]}"
    assert float(large.half_width[0]) > 16
    assert build_likelihood(load_target(write_target(text=text)), large).cutoff == pytest.approx(13.0, abs=0.1)
    short = build_likelihood(load_target(write_target(text=text.replace("sigma", "limit: 9, sigma"))), large)
    assert short.cutoff == pytest.approx(9.0, abs=0.1)
    # data and model share the shorter window: the model is the one of a cell of half width 9 Å
    q = short.channels[0].observable.grid
    seen = Instrument(window="lorch", qmax=float(load_target(write_target()).spectra[0].x[-1]))
    model = Scattering("xray-sq", q, seen, limit=9.0)
    torch.testing.assert_close(short.compare(large)["data"].model, model.forward(large))


def test_low_q_is_continued_sensibly():
    q = np.arange(0.5, 10, 0.05)
    a, b = extrapolate_low_q(q, 0.02 + 0.03 * q**2 - 1, -1.0)
    assert (a, b) == (pytest.approx(-0.98, abs=1e-9), pytest.approx(0.03, abs=1e-9))
    steep = -1 + 2 * np.clip(q - 0.4, 0, None)
    a, b = extrapolate_low_q(q, steep, -1.0)
    assert a >= -1
    assert a + b * 0.5**2 == pytest.approx(steep[:2].mean(), abs=0.06)


def test_reciprocal_sum_in_the_likelihood(write_target, silicon):
    text = "  - {file: data.csv, kind: xray-sq, sigma: 0.1, x_range: [1, 4], method: reciprocal}"
    likelihood = build_likelihood(load_target(write_target(text=text)), silicon)
    fit = likelihood.compare(silicon)["data"]
    assert 3 < fit.n_points < 31  # some bins hold no reciprocal vector of the cell
    x = silicon.positions.clone().requires_grad_()
    likelihood.chi2(silicon.at(x)).sum().backward()
    assert float(x.grad.abs().max()) > 0
    raw = np.interp(fit.x.numpy(), *np.loadtxt(load_target(write_target()).measurements[0].file, delimiter=",").T)
    np.testing.assert_allclose(fit.target.numpy(), raw, atol=1e-9)


@pytest.mark.parametrize("field", ["broadening: 0.1", "qdamp: 0.02"])
def test_reciprocal_sum_refuses_what_it_cannot_do(write_target, silicon, field):
    text = f"  - {{file: data.csv, kind: xray-sq, sigma: 0.1, x_range: [1, 4], method: reciprocal, {field}}}"
    with pytest.raises(InputError, match="neither broadening nor resolution"):
        build_likelihood(load_target(write_target(text=text)), silicon)
