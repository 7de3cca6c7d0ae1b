"""The dense N x N formulas of benchmarks/observables.py and the forward models are the same spectra."""

import baselines.dense as dense
import pytest
import torch

from glass_ml.observables.kinds import make_observable
from glass_ml.observables.scattering_table import find_table, load_table
from glass_ml.structures.random import generator, random_packing
from glass_ml.structures.state import Structures

TABLE = find_table("Si K", ("Si", "O"))
R, Q, K = torch.arange(0.5, 4.6, 0.05), torch.linspace(0.5, 20, 100), torch.linspace(3, 14, 100)
LIMIT = 5.0  # Å


@pytest.fixture(scope="module")
def silica():
    """96 atoms in a triclinic cell, float64."""
    cubic = random_packing({"Si": 1, "O": 2}, 0.066, 96, [generator(0, "dense")]).to(dtype=torch.float64)
    shear = torch.tensor([[1.0, 0.05, 0.0], [0.0, 1.0, -0.06], [0.04, 0.0, 1.0]], dtype=torch.float64)
    return Structures(cubic.positions @ shear, cubic.cell @ shear, cubic.numbers, cubic.system)


def scattering(kind):
    ours = make_observable(kind, Q, window="lorch", limit=LIMIT)
    return ours, lambda s: dense.scattering(s, kind, Q, LIMIT)


CASES = {
    "gr": (make_observable("gr", R, broadening=0.1), lambda s: dense.radial_distribution(s, R, 0.1)),
    **{kind: scattering(kind) for kind in ("xray-sq", "xray-fq", "neutron-sq", "neutron-fq")},
    "exafs": (
        make_observable("exafs", K, edge="Si K", table=TABLE, k_weight=2, limit=LIMIT),
        lambda s: dense.exafs(s, K, load_table(TABLE), 2, LIMIT),
    ),
}


@pytest.mark.parametrize("budget", [dense.BUDGET, 1e6], ids=["kept", "computed again"])
@pytest.mark.parametrize("kind", CASES)
def test_dense_formula_is_the_forward_model(kind, budget, silica, monkeypatch):
    monkeypatch.setattr(dense, "BUDGET", budget)
    assert float(silica.half_width.min()) > LIMIT
    ours, formula = CASES[kind]
    found = []
    for model in (lambda s: ours.forward(s)[0], formula):
        x = silica.positions.clone().requires_grad_()
        y = model(silica.at(x))
        (slope,) = torch.autograd.grad(y.square().sum(), x)
        found.append((y.detach(), slope))
    for mine, theirs in zip(*found, strict=True):
        assert float((mine - theirs).norm() / theirs.norm()) < 0.01


def test_what_does_not_fit_is_told():
    assert dense.bytes_needed("xray-sq", 1000) < 1e8 < 8e9 < dense.bytes_needed("xray-sq", 100_000)
