"""Gradients of every forward model against finite differences, in double precision."""

import pytest
import torch

from glass_ml.observables.kinds import kinds, make_observable
from glass_ml.observables.scattering_table import find_table

Q = torch.linspace(0.5, 12.0, 6, dtype=torch.float64)
R = torch.linspace(0.5, 4.0, 8, dtype=torch.float64)
K = torch.linspace(3.0, 10.0, 6, dtype=torch.float64)
ANGLES = torch.linspace(30.0, 170.0, 8, dtype=torch.float64)
OTHERS = {
    "exafs": (K, {"edge": "Si K", "table": find_table("Si K", ("O", "Si")), "k_weight": 2.0}),
    "adf": (ANGLES, {"triplet": "O-Si-O", "cutoff": 2.6, "width": 0.4, "broadening": 8.0}),
    "coordination": (torch.arange(6.0, dtype=torch.float64), {"pair": "Si-O", "cutoff": 2.6, "width": 0.4}),
    "pair-count": (R, {"pair": "Si-O"}),
    "distance-window": (R[-1:], {"pair": "Si-O", "between": (1.0, 4.0)}),
}
PLAIN = [kind for kind in kinds() if kind not in OTHERS and kind != "xanes"]
CASES = [
    *[(kind, Q if kind.endswith("q") else R, {}) for kind in PLAIN],
    *[(kind, *case) for kind, case in OTHERS.items()],
    *[(kind, Q, {"window": "lorch", "qdamp": 0.1}) for kind in ("xray-sq", "neutron-fq")],
    ("gr", R, {"pair": "Si-O", "broadening": 0.1}),
    ("pdf", R, {"qmin": 0.5, "qmax": 15.0, "qdamp": 0.05, "qbroad": 0.02, "window": "lorch"}),
    ("dr", R, {"broadening": 0.1, "qbroad": 0.03}),
    ("xray-sq", torch.linspace(3, 12, 5, dtype=torch.float64), {"method": "reciprocal"}),
    ("neutron-fq", torch.linspace(3, 12, 5, dtype=torch.float64), {"method": "reciprocal"}),
]


@pytest.mark.parametrize("kind, grid, options", CASES, ids=lambda v: v if isinstance(v, str) else None)
def test_gradient(binary, kind, grid, options):
    observable = make_observable(kind, grid, **options)
    x = binary.positions.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p: observable.forward(binary.at(p)), x, eps=1e-5, atol=1e-5, rtol=1e-3, fast_mode=True
    )
    assert float(torch.autograd.grad(observable.forward(binary.at(x)).square().sum(), x)[0].abs().max()) > 0
