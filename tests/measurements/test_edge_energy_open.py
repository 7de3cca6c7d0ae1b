"""Edge energy and damping of EXAFS: found where they were put, inside bounds, and right in every derivative."""

import numpy as np
import pytest
import torch
from model_silicon import disordered_silicon
from scipy.optimize import minimize

from glass_ml.measurements.comparison import solve_scale_offset
from glass_ml.measurements.edge_energy import EdgeEnergy, Open, fourier_filter
from glass_ml.measurements.likelihood import build_likelihood
from glass_ml.measurements.target import load_target
from glass_ml.observables.exafs import Exafs
from glass_ml.observables.scattering_table import find_table, load_table
from glass_ml.units import EV_TO_K2

K = torch.arange(3.0, 12.01, 0.05, dtype=torch.float64)


def wave(k):
    return (torch.sin(4.7 * k + 0.3) / k**2 + 0.4 * torch.sin(7.6 * k) / k**2) * torch.exp(-0.004 * k**2)


@pytest.mark.parametrize("r_range", [None, (1.2, 4.5)])
@pytest.mark.parametrize("e0, sigma2, s02", [(2.3, 0.0043, 0.85), (-4.1, 0.0012, 1.0), (0.0, 0.0, 0.7)])
def test_what_was_put_in_is_found(e0, sigma2, s02, r_range):
    edge = EdgeEnergy(K, Open((-6, 6), (0, 0.01)), 2, r_range)
    true_k = (K**2 - EV_TO_K2 * e0).sqrt()
    data = s02 * K**2 * wave(true_k) * torch.exp(-2 * true_k**2 * sigma2)
    data = data if edge.filter is None else edge.filter @ data
    model = (edge.grid**2 * wave(edge.grid))[None]
    found = edge.solve(model, data, torch.full_like(data, 1e-4), (0.5, 1.2), (0.0, 0.0))
    assert float(found[0]) == pytest.approx(e0, abs=0.02)
    assert float(found[1]) == pytest.approx(sigma2, abs=3e-5)
    fit = found[2][0] @ model[0]
    assert float((s02 * fit - data).norm() / data.norm()) < 3e-3


def test_bounds_hold():
    edge = EdgeEnergy(K, Open((-1, 1), (0, 0.002)), 2)
    true_k = (K**2 - EV_TO_K2 * 5.0).sqrt()
    data = K**2 * wave(true_k) * torch.exp(-2 * true_k**2 * 0.01)
    model = (edge.grid**2 * wave(edge.grid))[None]
    e0, sigma2, _ = edge.solve(model, data, torch.ones_like(data), (1.0, 1.0), (0.0, 0.0))
    assert float(e0) == 1.0 and float(sigma2) == 0.002


def test_noisy_optimum_is_that_of_a_general_minimiser():
    rng = np.random.default_rng(0)
    edge = EdgeEnergy(K, Open((-6, 6), (0, 0.01)), 1)
    data = K * wave((K**2 - EV_TO_K2 * 1.7).sqrt()) + torch.from_numpy(rng.normal(scale=0.01, size=len(K)))
    model, variance = (edge.grid * wave(edge.grid))[None], torch.full_like(K, 1e-4)

    def cost(p):
        seen = (edge.matrix(*p) @ model[0])[None]
        a, b = solve_scale_offset(seen, data, variance, (0.5, 1.5), (0.0, 0.0))
        return float(((a[:, None] * seen + b[:, None] - data) ** 2 / variance).sum())

    e0, sigma2, _ = edge.solve(model, data, variance, (0.5, 1.5), (0.0, 0.0))
    best = minimize(cost, [1.0, 0.001], method="L-BFGS-B", bounds=[(-6, 6), (0, 0.01)])
    assert cost([float(e0), float(sigma2)]) - best.fun < 0.05  # of a chi-square of 180


def test_the_filter_keeps_a_shell_and_drops_others():
    kept, dropped = (K * 0 + torch.sin(2 * r * K + 0.5) for r in (2.2, 3.8))
    matrix = fourier_filter(K, (1.5, 3.0))
    inner = (K > 5.5) & (K < 9.5)
    assert float((matrix @ kept - kept)[inner].abs().max()) < 0.1
    assert float((matrix @ dropped)[inner].abs().max()) < 0.1
    assert float(torch.linalg.matrix_norm(matrix, 2)) < 1.05  # hardly amplifies anything
    strengths = torch.linalg.svdvals(matrix)
    assert abs(float(strengths.sum()) - 2 * 8.0 * 1.5 / torch.pi) < 1.0  # as many numbers as Nyquist's rule has


@pytest.fixture
def exafs_likelihood(write_target, silicon, tmp_path):
    """EXAFS of the silicon fixture with a shifted edge energy and noise, beside its g(r)."""
    model = Exafs(K, load_table(find_table("Si K", ("Si",))), k_weight=2)
    rng = np.random.default_rng(5)
    chi = model.forward(silicon)[0].numpy() * 0.9 + rng.normal(scale=0.02, size=len(K))
    rows = "\n".join(f"{k:.4f} {y:.6f}" for k, y in zip(K.tolist(), chi.tolist(), strict=True))
    (tmp_path / "chi.dat").write_text(rows)

    def build(structures, opened, ensemble=False):
        text = f"""
  - {{file: chi.dat, kind: exafs, edge: Si K, k_weight: 2, sigma: 0.02, scale: [0.7, 1.1], name: chi, {opened}}}
  - {{file: data.csv, kind: xray-sq, sigma: 0.3, x_range: [1, 12], name: s, weight: 0.5}}
"""
        return build_likelihood(load_target(write_target(text=text)), structures, ensemble=ensemble)

    return build


OPENED = ["weight: 1", "'e0': [-5, 5], sigma2: [0, 0.01]", "'e0': 1.5", "'e0': [-5, 5], r_range: [1.2, 3]"]


@pytest.mark.parametrize("opened", OPENED)
@pytest.mark.parametrize("ensemble", [False, True])
def test_linearised_exafs_has_the_gradient_of_chi_square(exafs_likelihood, opened, ensemble):
    small = disordered_silicon(repeat=1, amplitude=0.2, copies=2)
    likelihood = exafs_likelihood(small, opened, ensemble)
    x = small.positions.clone().requires_grad_()
    full = likelihood.residuals(small.at(x))
    (expected,) = torch.autograd.grad(0.5 * full.square().sum(), x)
    residuals, jacobian = likelihood.linearise(small)
    own = residuals[small.system] if len(residuals) > 1 else residuals.expand(small.n_atoms, -1)
    gradient = torch.einsum("nk,knc->nc", own, jacobian)
    torch.testing.assert_close(gradient, expected, rtol=2e-3, atol=2e-3 * float(expected.abs().max()))
    assert residuals.shape[1] == len(jacobian) <= full.shape[1]


def test_gradient_with_everything_open(exafs_likelihood):
    """The optimum of edge energy and damping needs no gradient of its own (envelope theorem)."""
    small = disordered_silicon(repeat=1, amplitude=0.2)
    likelihood = exafs_likelihood(small, OPENED[1])
    x = small.positions.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(likelihood.chi2(small.at(x)).sum(), x)
    direction = torch.from_numpy(np.random.default_rng(0).normal(size=x.shape))
    with torch.no_grad():
        ahead, behind = (float(likelihood.chi2(small.at(x + s * 1e-3 * direction)).sum()) for s in (1, -1))
    assert (ahead - behind) / 2e-3 == pytest.approx(float((gradient * direction).sum()), rel=2e-2)


def test_the_true_structure_fits(exafs_likelihood, silicon):
    fit = exafs_likelihood(silicon, OPENED[1]).compare(silicon)["chi"]
    assert float(fit.chi2[0]) / len(K) == pytest.approx(1, abs=0.2)
    assert float(fit.scale[0]) == pytest.approx(0.9, abs=0.05) and abs(float(fit.opened["e0"][0])) < 0.5
