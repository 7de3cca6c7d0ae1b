"""The optimiser of the priors against torch's own Muon and Adam."""

import copy

import pytest
import torch
from torch import nn

from glass_ml.priors.optimiser import SMALLEST_SIDE, MatrixOptimiser, orthogonalise
from glass_ml.structures.random import generator


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(10, 24), nn.Tanh(), nn.Linear(24, 16), nn.Tanh(), nn.Linear(16, 2))


def descend(module: nn.Module, optimisers: list, steps: int = 6) -> dict[str, torch.Tensor]:
    data, wanted = torch.randn(64, 10, generator=generator(1)), torch.randn(64, 2, generator=generator(2))
    for _ in range(steps):
        for optimiser in optimisers:
            optimiser.zero_grad()
        (module(data) - wanted).square().mean().backward()
        for optimiser in optimisers:
            optimiser.step()
    return {name: p.detach() for name, p in module.named_parameters()}


@pytest.mark.parametrize("shape", [(3, 12, 30), (3, 30, 12), (16, 16)])
def test_singular_values_come_near_one(shape):
    matrices = torch.randn(*shape, generator=generator(0), dtype=torch.float64)
    u, _, vt = torch.linalg.svd(matrices, full_matrices=False)
    made = orthogonalise(matrices)
    around = torch.linalg.svdvals(made)
    assert around.min() > 0.3 and around.max() < 1.3
    # The same singular vectors: in their basis the result is diagonal.
    inside = u.mT @ made @ vt.mT
    torch.testing.assert_close(inside, torch.diag_embed(inside.diagonal(dim1=-2, dim2=-1)), rtol=0, atol=1e-9)
    assert torch.equal(orthogonalise(torch.zeros(2, 4)), torch.zeros(2, 4))


def test_the_same_steps_as_torch():
    """torch iterates in bfloat16, hence the tolerance on what the matrices moved."""
    start, theirs = network(), network()
    ours = descend(start, [MatrixOptimiser(start.parameters(), matrix_rate=0.02, rate=2e-3)])
    wide = [p for p in theirs.parameters() if p.ndim == 2 and min(p.shape) >= SMALLEST_SIDE]
    rest = [p for p in theirs.parameters() if not any(p is w for w in wide)]
    assert len(wide) == 2
    expected = descend(
        theirs,
        [torch.optim.Muon(wide, lr=0.02, weight_decay=0.0, momentum=0.95), torch.optim.Adam(rest, lr=2e-3)],
    )
    for name, before in network().named_parameters():
        moved, gap = expected[name] - before.detach(), ours[name] - expected[name]
        assert moved.norm() > 0 and gap.norm() < 0.1 * moved.norm(), name


def test_without_a_matrix_rate_it_is_adam():
    start, theirs = network(), network()
    ours = descend(start, [MatrixOptimiser(start.parameters(), matrix_rate=0.0, rate=2e-3)])
    expected = descend(theirs, [torch.optim.Adam(theirs.parameters(), lr=2e-3)])
    for name in ours:
        torch.testing.assert_close(ours[name], expected[name], rtol=1e-5, atol=1e-7)


def test_its_state_resumes():
    straight = network()
    whole = descend(straight, [MatrixOptimiser(straight.parameters(), matrix_rate=0.02, rate=2e-3)])
    halted = network()
    first = MatrixOptimiser(halted.parameters(), matrix_rate=0.02, rate=2e-3)
    descend(halted, [first], steps=2)
    second = MatrixOptimiser(halted.parameters(), matrix_rate=0.5, rate=0.5)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    resumed = descend(halted, [second], steps=4)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
