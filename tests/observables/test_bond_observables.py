"""What angle and coordination distributions have in common: gradients, symmetries, batches, lists of pairs."""

import numpy as np
import pytest
import torch
from ase import Atoms
from model_crystals import crystal

from glass_ml.errors import InputError
from glass_ml.observables import angles as angles_module
from glass_ml.observables.angles import AngleDistribution
from glass_ml.observables.base import Observable
from glass_ml.observables.bonds import SKIN, bond_cutoffs, bond_switch
from glass_ml.observables.coordination import CoordinationDistribution
from glass_ml.structures.io import from_atoms
from glass_ml.structures.neighbours import neighbour_pairs
from glass_ml.structures.state import Structures, concatenate

DEGREES = torch.arange(5.0, 180, 10, dtype=torch.float64)
NUMBERS = torch.arange(0.0, 20, dtype=torch.float64)
MODELS = {
    "O-Si-O": lambda: AngleDistribution(DEGREES, "O-Si-O", 2.6, 5.0, 0.4),
    "Si-O-Si": lambda: AngleDistribution(DEGREES, "Si-O-Si", {"O-Si": 4.4}, 5.0, 0.4),  # beyond half the cell
    "O-Si-Si": lambda: AngleDistribution(DEGREES, "O-Si-Si", {"Si-O": 2.8, "Si-Si": 3.5}, 5.0, 0.4),
    "Si-O": lambda: CoordinationDistribution(NUMBERS, "Si-O", 3.4, 0.6),
    "O-*": lambda: CoordinationDistribution(NUMBERS, "O-*", {"Si-O": 2.6, "O-O": 3.2}, 0.6),
    "Si-*": lambda: CoordinationDistribution(NUMBERS, "Si-*", 3.0, 0.5),
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


def value_and_gradient(model, structures: Structures) -> tuple[torch.Tensor, torch.Tensor]:
    x = structures.positions.clone().requires_grad_()
    spectrum = model.forward(structures.at(x))
    (spectrum * torch.arange(1, spectrum.shape[1] + 1).to(spectrum).sin()).sum().backward()
    return spectrum.detach(), x.grad


def rows_of_autograd(model, structures: Structures) -> torch.Tensor:
    x = structures.positions.clone().requires_grad_()
    points = model.forward(structures.at(x)).sum(0)
    return torch.stack([torch.autograd.grad(point, x, retain_graph=True)[0] for point in points])


def test_they_are_observables(model):
    assert isinstance(model, Observable)


def test_gradient(model, binary):
    x = binary.positions.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: model.forward(binary.at(p)), x, eps=1e-5, atol=1e-6, rtol=1e-4)
    assert float(value_and_gradient(model, binary)[1].abs().max()) > 0.01


@pytest.mark.parametrize("block", [1, 10**6])
def test_jacobian_is_what_one_backward_per_point_gives(model, binary, block, monkeypatch):
    monkeypatch.setattr(angles_module, "TABLE", block * 1200)  # blocks of one or two atoms, or one for all
    jacobian = model.jacobian(binary)
    expected = rows_of_autograd(model, binary)
    assert jacobian.shape == (len(model.grid), binary.n_atoms, 3)
    assert float(expected.abs().max()) > 0.01
    torch.testing.assert_close(jacobian, expected, rtol=0, atol=1e-12)
    single = model.jacobian(binary.to(dtype=torch.float32))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("kind", ["O-Si-O", "O-Si-Si"])
def test_angles_in_blocks_are_the_same(kind, binary, monkeypatch):
    whole = value_and_gradient(MODELS[kind](), binary)
    monkeypatch.setattr(angles_module, "block_size", lambda device: 7)
    in_blocks = MODELS[kind]()
    assert sum(1 for _ in in_blocks._measure(binary, None)._parts()) > 3
    for found, expected in zip(value_and_gradient(in_blocks, binary), whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_moving_turning_and_renaming_changes_nothing(model, binary):
    spectrum, gradient = value_and_gradient(model, binary)
    generator = torch.Generator().manual_seed(0)
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    lattice = torch.randint(-2, 3, (binary.n_atoms, 3), generator=generator).double()
    away = torch.einsum("ni,nij->nj", lattice, binary.cell[binary.system])
    moved = binary.positions + away + torch.tensor([0.3, -7.0, 1.1]).double()
    order = torch.cat([torch.randperm(12, generator=generator), 12 + torch.randperm(10, generator=generator)])
    other = Structures((moved @ turn)[order], binary.cell @ turn, binary.numbers[order], binary.system)
    for found, expected in zip(value_and_gradient(model, other), (spectrum, (gradient @ turn)[order]), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    for s in range(2):
        torch.testing.assert_close(gradient[binary.system == s].sum(0), torch.zeros(3).double(), rtol=0, atol=1e-10)


def test_a_larger_cell_of_the_same_crystal_is_the_same(model, binary):
    one = binary[0]
    atoms = Atoms(one.numbers.numpy(), one.positions.numpy(), cell=one.cell[0].numpy(), pbc=True)
    torch.testing.assert_close(
        model.forward(from_atoms([atoms.repeat((2, 1, 3))])), model.forward(one), rtol=0, atol=1e-9
    )


def test_a_system_does_not_depend_on_its_batch(model, binary):
    """Among others, without one of the elements too."""
    without_silicon = Structures(
        torch.rand(5, 3, dtype=torch.float64),
        8 * torch.eye(3).double()[None],
        torch.full((5,), 8),
        torch.zeros(5).long(),
    )
    without_oxygen = without_silicon.at(without_silicon.positions * 4)
    without_oxygen.numbers.fill_(14)
    batch = concatenate([without_silicon, binary, without_oxygen, binary[0]])
    spectrum, gradient = value_and_gradient(model, batch)
    jacobian = model.jacobian(batch)
    for s, one in enumerate(batch.split()):
        alone, its_gradient = value_and_gradient(model, one)
        torch.testing.assert_close(spectrum[s], alone[0], rtol=0, atol=1e-11)
        torch.testing.assert_close(gradient[batch.system == s], its_gradient, rtol=0, atol=1e-10)
        torch.testing.assert_close(jacobian[:, batch.system == s], model.jacobian(one), rtol=0, atol=1e-11)


def test_ready_lists_of_pairs_are_interchangeable(model, binary):
    spectrum, jacobian = model.forward(binary), model.jacobian(binary)
    for full in (True, False):
        for farther in (0.0, 1.3):
            pairs = neighbour_pairs(binary, model.reach + farther, full=full)
            torch.testing.assert_close(model.forward(binary, pairs), spectrum, rtol=0, atol=1e-11)
            torch.testing.assert_close(model.jacobian(binary, pairs), jacobian, rtol=0, atol=1e-11)


def test_an_atom_bonded_to_its_own_images_alone():
    """Whole and half lists alike; nothing moves as the atom does."""
    copper = from_atoms([crystal("Cu", "fcc", 3.6, shear=False)])
    number, angle = CoordinationDistribution(NUMBERS, "Cu-Cu", 2.6, 0.3), AngleDistribution(DEGREES, "Cu-Cu-Cu", 2.6)
    for pairs in (None, neighbour_pairs(copper, 3.5, full=True), neighbour_pairs(copper, 3.5, full=False)):
        n = 12 * float(bond_switch(torch.tensor(3.6 / 2**0.5), torch.tensor(2.6), 0.3)[0])
        assert 1 < n < 11 and float(number.mean(copper, pairs)) == pytest.approx(n, abs=1e-5)
        torch.testing.assert_close(angle.forward(copper, pairs), angle.forward(copper))
        for model in (number, angle):
            assert float(model.jacobian(copper, pairs).abs().max()) < 1e-9


def test_atoms_that_move_by_and_by(binary):
    """A model that keeps its list says the same as a fresh one at every step, within the skin and beyond it."""
    generator = torch.Generator().manual_seed(4)
    for name, make in MODELS.items():
        kept, structures = make(), binary
        for step in (0.02, 0.02, 0.4 * SKIN, SKIN, 0.0):
            away = torch.randn(binary.n_atoms, 3, generator=generator, dtype=torch.float64)
            structures = structures.at(structures.positions + step * away)
            torch.testing.assert_close(kept.forward(structures), make().forward(structures), msg=f"{name} {step}")
            torch.testing.assert_close(kept.jacobian(structures), make().jacobian(structures), rtol=0, atol=1e-10)
        swapped = Structures(structures.positions, structures.cell, structures.numbers.flip(0), structures.system)
        torch.testing.assert_close(kept.forward(swapped), make().forward(swapped))
        squeezed = Structures(structures.positions, 0.9 * structures.cell, structures.numbers, structures.system)
        torch.testing.assert_close(kept.forward(squeezed), make().forward(squeezed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_coincident_atoms_have_finite_gradients(model, binary, dtype):
    structures = binary.to(dtype=dtype)
    positions = structures.positions.clone()
    positions[1:8:2] = positions[:1]  # a Si and an O upon another Si, and O upon O
    positions[-1] = positions[-2] + 1e-7
    crowded = structures.at(positions)
    spectrum, gradient = value_and_gradient(model, crowded)
    assert bool(torch.isfinite(spectrum).all() and torch.isfinite(gradient).all())
    assert bool(torch.isfinite(model.jacobian(crowded)).all())
    assert float(gradient.abs().max()) < 1e4


def test_bond_switch():
    r = torch.linspace(1.5, 2.5, 1001, dtype=torch.float64)
    s, slope = bond_switch(r, torch.tensor(2.0), 0.3)
    assert bool((s[r < 1.7] == 1).all() and (s[r > 2.3001] == 0).all() and (slope <= 0).all())
    assert float(s[500]) == pytest.approx(0.5)
    torch.testing.assert_close(s + s.flip(0), torch.ones_like(s))
    torch.testing.assert_close(torch.gradient(s, spacing=(r,))[0], slope, rtol=0, atol=1e-4)
    curvature = slope.diff() / r.diff()
    assert float(curvature.diff().abs().max()) < 0.02 * float(curvature.abs().max())  # no step in the second derivative


def test_input_that_cannot_be_used():
    x, n = DEGREES, NUMBERS
    wrong = [
        lambda: AngleDistribution(x, "O-Si", 2.0),
        lambda: AngleDistribution(x, "O-Sj-O", 2.0),
        lambda: AngleDistribution(x, "O-Si-Si", {"Si-O": 2.0}),
        lambda: AngleDistribution(x, "O-Si-O", {"Si-Q": 2.0}),
        lambda: AngleDistribution(x, "O-Si-O", -1.0),
        lambda: AngleDistribution(x, "O-Si-O", 2.0, 0.0),
        lambda: AngleDistribution(x, "O-Si-O", 2.0, 2.0, 0.0),
        lambda: AngleDistribution(x, "O-Si-O", 2.0, 2.0, 2.5),
        lambda: AngleDistribution(x.flip(0), "O-Si-O", 2.0),
        lambda: AngleDistribution(x + 20, "O-Si-O", 2.0),
        lambda: AngleDistribution(x[:0], "O-Si-O", 2.0),
        lambda: CoordinationDistribution(n, "Si", 2.0),
        lambda: CoordinationDistribution(n, "*-Si", 2.0),
        lambda: CoordinationDistribution(n, "Si-O", {"O-O": 2.0}),
        lambda: CoordinationDistribution(n, "Si-*", {"O-O": 2.0}),
        lambda: CoordinationDistribution(n + 0.5, "Si-O", 2.0),
        lambda: CoordinationDistribution(n - 1, "Si-O", 2.0),
        lambda: CoordinationDistribution(n, "Si-O", float("nan")),
    ]
    for make in wrong:
        with pytest.raises(InputError):
            make()
    assert bond_cutoffs({"O-Si": 2.0, "Si-Si": 3.0, "O-O": 2.5}, 0.1, 14, {8}) == {8: 2.0}
    assert bond_cutoffs({"O-Si": 2.0, "Si-Si": 3.0, "O-O": 2.5}, 0.1, 14, None) == {8: 2.0, 14: 3.0}
    assert np.ptp(list(bond_cutoffs(2.0, 0.1, 14, None).values())) == 0
