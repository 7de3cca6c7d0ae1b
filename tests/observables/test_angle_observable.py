"""Bond-angle distributions against crystals, an ideal gas, our own analysis and neighbours found by ASE."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.neighborlist import neighbor_list
from model_crystals import SHEAR, crystal, thermal

from glass_ml.analysis.angles import bond_angles
from glass_ml.analysis.coordination import find_bonds
from glass_ml.observables.angles import FEWEST, NEAREST, AngleDistribution, parse_triplet
from glass_ml.structures.io import from_atoms

BINS = torch.arange(0.5, 180, 1.0, dtype=torch.float64)
TETRAHEDRAL = float(np.degrees(np.arccos(-1 / 3)))


def smeared(degrees, weights, broadening, x=None) -> np.ndarray:
    """Sum of reflected Gaussians, % per degree."""
    x = BINS.numpy() if x is None else x
    degrees, weights = np.atleast_1d(degrees)[:, None], np.atleast_1d(weights)[:, None]
    images = (degrees, -degrees, 360 - degrees)
    gauss = sum(np.exp(-0.5 * ((x - image) / broadening) ** 2) for image in images) / np.sqrt(2 * np.pi) / broadening
    return 100 * (weights * gauss).sum(0) / weights.sum()


def rocksalt(shear: bool = True) -> Atoms:
    return make_supercell(bulk("NaCl", "rocksalt", a=5.64), SHEAR if shear else np.eye(3))


CRYSTALS = {
    "diamond": (crystal("Si", "diamond", 5.43), "Si-Si-Si", 2.8, {TETRAHEDRAL: 6}),
    "diamond, two atoms": (crystal("Si", "diamond", 5.43, shear=False), "Si-Si-Si", 2.8, {TETRAHEDRAL: 6}),
    "fcc": (crystal("Cu", "fcc", 3.6), "Cu-Cu-Cu", 3.0, {60: 24, 90: 12, 120: 24, 180: 6}),
    "fcc, one atom": (crystal("Cu", "fcc", 3.6, shear=False), "Cu-Cu-Cu", 3.0, {60: 24, 90: 12, 120: 24, 180: 6}),
    "rocksalt": (rocksalt(), "Cl-Na-Cl", 3.3, {90: 12, 180: 3}),
    "rocksalt, two atoms": (rocksalt(False), "Na-Cl-Na", 3.3, {90: 12, 180: 3}),
    # 6 Cl at a/2 and 12 Na at a/sqrt 2: each edge of the octahedron is 45 (4), 90 (4) or 135 (4) degrees from a vertex
    "two kinds of bonds": (rocksalt(), "Cl-Na-Na", {"Na-Cl": 3.3, "Na-Na": 4.3}, {45: 24, 90: 24, 135: 24}),
}


@pytest.mark.parametrize("name", CRYSTALS)
@pytest.mark.parametrize("dtype, broadening", [(torch.float64, 2.0), (torch.float64, 0.7), (torch.float32, 4.0)])
def test_angles_of_crystals(name, dtype, broadening):
    atoms, triplet, cutoff, angles = CRYSTALS[name]
    y = AngleDistribution(BINS, triplet, cutoff, broadening).forward(from_atoms([atoms], dtype))[0].double().numpy()
    expected = smeared([*angles], [*angles.values()], broadening)
    assert np.abs(y - expected).max() < 4e-3 * expected.max()  # the spline between nodes
    assert y.sum() == pytest.approx(expected.sum(), abs=0.05)


def test_nothing_is_lost_at_either_end(binary):
    for broadening in (1.0, 2.0, 15.0, 40.0):
        y = AngleDistribution(BINS, "O-Si-O", 3.0, broadening).forward(binary)
        torch.testing.assert_close(y.sum(1), torch.full((2,), 100.0).double(), rtol=0, atol=1e-6)
    linear = Atoms("OSiO", [[3, 5, 5], [5, 5, 5], [7, 5, 5]], cell=[10, 10, 10], pbc=True)
    y = AngleDistribution(BINS, "O-Si-O", 2.4).forward(from_atoms([linear]))[0]
    assert float(y.sum()) == pytest.approx(100, abs=1e-6) and int(y.argmax()) == 179


def test_the_grid_says_where_not_how_much(binary):
    fine = AngleDistribution(BINS, "O-Si-O", 3.0).forward(binary)
    torch.testing.assert_close(AngleDistribution(BINS[30:150:7], "O-Si-O", 3.0).forward(binary), fine[:, 30:150:7])


def test_ideal_gas_is_a_sine():
    rng = np.random.default_rng(0)
    cell = np.array([[14.0, 0, 0], [5, 13, 0], [-4, 3, 12]])
    gas = from_atoms([Atoms("Ar300", scaled_positions=rng.random((300, 3)), cell=cell, pbc=True) for _ in range(12)])
    x = torch.arange(5.0, 180, 10, dtype=torch.float64)
    each = AngleDistribution(x, "Ar-Ar-Ar", 3.0, 4.0, 0.3).forward(gas)
    sine = 50 * np.pi / 180 * np.exp(-0.5 * np.radians(4.0) ** 2) * torch.sin(torch.deg2rad(x))
    error = each.std(0) / 12**0.5
    assert float(error.max()) < 0.05  # of at most 0.87
    deviation = ((each.mean(0) - sine) / error)[1:-1]  # within 10 degrees of the ends the smeared sine has no corner
    assert float(deviation.abs().max()) < 4
    assert 0.4 < float(deviation.std()) < 1.8


@pytest.mark.parametrize("triplet", ["O-Si-O", "Si-O-Si"])
def test_sharp_bonds_are_those_of_the_analysis(silica_like, triplet):
    angles = bond_angles(find_bonds(silica_like, {"Si-O": 2.1}))
    y = AngleDistribution(BINS, triplet, {"Si-O": 2.1}, 2.0, 1e-4).forward(silica_like)
    degrees = angles.degrees[angles.triplet == angles.names.index(triplet)]
    expected = smeared(degrees, np.ones(len(degrees)), 2.0)
    assert len(degrees) > 50 and np.abs(y[0].numpy() - expected).max() < 2e-3 * expected.max()
    binned = angles.distribution(triplet, 2.0)[0]  # counted in bins of one degree before it is smeared
    assert np.abs(y[0].numpy() - binned).max() < 0.05 * binned.max()


def switch(r, cutoff, width):
    t = np.clip((r - cutoff + width) / (2 * width), 0, 1)
    return 1 - 10 * t**3 + 15 * t**4 - 6 * t**5


@pytest.mark.oracle
@pytest.mark.parametrize(
    "triplet, cutoff", [("O-Si-O", 2.9), ("Si-O-Si", 4.4), ("O-Si-Si", {"Si-O": 2.8, "Si-Si": 3.9}), ("O-O-O", 3.3)]
)
def test_weighted_angles_of_neighbours_found_by_ase(binary, triplet, cutoff):
    width, broadening = 0.4, 3.0
    y = AngleDistribution(BINS, triplet, cutoff, broadening, width).forward(binary).numpy()
    end, centre, other = triplet.split("-")
    for s, one in enumerate(binary.split()):
        atoms = Atoms(one.numbers.numpy(), one.positions.numpy(), cell=one.cell[0].numpy(), pbc=True)
        i, j, d, vector = neighbor_list("ijdD", atoms, 5.0)
        symbols = np.array(atoms.get_chemical_symbols())
        degrees, weights = [], []
        for apex in np.flatnonzero(symbols == centre):
            mine = np.flatnonzero(i == apex)
            for a, p in enumerate(mine):
                for q in mine[:a]:
                    if sorted(symbols[j[[p, q]]]) == sorted([end, other]):
                        reach = [cutoff if isinstance(cutoff, float) else
                                 cutoff["Si-Si" if symbols[j[k]] == "Si" else "Si-O"] for k in (p, q)]  # fmt: skip
                        cosine = vector[p] @ vector[q] / d[p] / d[q]
                        degrees.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
                        weights.append(switch(d[p], reach[0], width) * switch(d[q], reach[1], width))
        expected = smeared(degrees, weights, broadening)
        assert sum(0 < w < 1 for w in weights) > 3
        assert np.abs(y[s] - expected).max() < 2e-3 * expected.max()


def bent(bend: float) -> Atoms:
    """O-Si-O, bent by so many degrees from straight."""
    a = np.radians(bend)
    ends = [[-1.6, 0, 0], [0, 0, 0], [1.7 * np.cos(a), 1.7 * np.sin(a), 0]]
    return Atoms("OSiO", np.array(ends) + 5, cell=[10, 10, 10], pbc=True)


@pytest.mark.parametrize("bend", [0.0, 1e-5, 1e-3, 0.3, 179.7, 179.999, 180.0])
def test_straight_and_folded_triplets_have_the_gradient_of_finite_differences(bend):
    structures = from_atoms([bent(bend)])
    model = AngleDistribution(BINS[::4], "O-Si-O", 2.4, 6.0)
    x = structures.positions.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: model.forward(structures.at(p)), x, eps=1e-6, atol=1e-3, rtol=1e-3)
    pulls = {}
    for dtype in (torch.float64, torch.float32):
        cast = structures.to(dtype=dtype)
        x = cast.positions.clone().requires_grad_()
        model.forward(cast.at(x)).square().sum().backward()
        pulls[dtype] = x.grad.double()
        assert bool(torch.isfinite(model.jacobian(cast)).all())
    # positions in single precision are worth 2e-5 degrees
    torch.testing.assert_close(pulls[torch.float32], pulls[torch.float64], rtol=1e-3, atol=0.02)


def test_nearby_atoms_turn_an_angle_no_faster_than_stated():
    model = AngleDistribution(BINS, "O-Si-O", 2.4)
    pulls = {}
    for r in (2 * NEAREST, NEAREST / 10):
        atoms = Atoms("OSiO", [[5, 5 + r, 5], [5, 5, 5], [6.6, 5, 5]], cell=[10, 10, 10], pbc=True)
        pulls[r] = float(model.jacobian(from_atoms([atoms]))[:, 0].abs().max())
    assert pulls[NEAREST / 10] == pytest.approx(2 * pulls[2 * NEAREST], rel=1e-6)


def test_no_angles_no_distribution():
    lone = Atoms("SiO2", [[5, 5, 5], [6.6, 5, 5], [5, 8, 5]], cell=[10, 10, 10], pbc=True)
    absent = Atoms("Ar2", [[5, 5, 5], [6.6, 5, 5]], cell=[10, 10, 10], pbc=True)
    structures = from_atoms([lone, absent, bent(50.0)])
    model = AngleDistribution(BINS, "O-Si-O", 2.0)
    x = structures.positions.clone().requires_grad_()
    y = model.forward(structures.at(x))
    (y @ BINS).square().sum().backward()
    y = y.detach()
    assert float(y[:2].abs().max()) == 0 and float(y[2].sum()) == pytest.approx(100)
    assert float(x.grad[:5].abs().max()) == 0 and float(x.grad[5:].abs().max()) > 1
    assert float(model.jacobian(structures)[:, :5].abs().max()) == 0
    assert float(model.forward(from_atoms([lone, absent])).abs().max()) == 0
    assert float(model.jacobian(from_atoms([absent])).abs().max()) == 0


def test_the_last_angle_fades_instead_of_jumping():
    model, totals = AngleDistribution(BINS, "O-Si-O", 1.7, 2.0, 0.2), []
    for r in (1.75, 1.88, 1.89, 1.895, 1.9):
        atoms = Atoms("OSiO", [[5, 5 + r, 5], [5, 5, 5], [6.4, 5, 5]], cell=[10, 10, 10], pbc=True)
        structures = from_atoms([atoms])
        totals.append((float(model.forward(structures).sum()), float(switch(np.array(r), 1.7, 0.2))))
        x = structures.positions.clone().requires_grad_()
        assert torch.autograd.gradcheck(
            lambda p, at=structures.at: model.forward(at(p)), x, eps=1e-7, atol=1e-2, rtol=1e-3, fast_mode=True
        )
        points = model.forward(structures.at(x))[0, 80:100:6]
        rows = torch.stack([torch.autograd.grad(point, x, retain_graph=True)[0] for point in points])
        torch.testing.assert_close(model.jacobian(structures)[80:100:6], rows, rtol=1e-9, atol=1e-9)
    for total, weight in totals:
        assert total == pytest.approx(100 * min(1.0, weight / FEWEST), rel=1e-6, abs=1e-9)
    assert 0 < totals[2][0] < 100 and totals[-1][0] < 1e-6


def test_following_the_gradient_opens_the_angles():
    """Steepest descent from a distorted silicon reaches the narrow distribution of a crystal."""
    crystal_at_rest = from_atoms([crystal("Si", "diamond", 5.43)])
    moved = from_atoms([thermal(crystal("Si", "diamond", 5.43), 0.15)])
    model = AngleDistribution(BINS[60:160:2], "Si-Si-Si", 2.85, 4.0)
    target, x = model.forward(crystal_at_rest), moved.positions.clone().requires_grad_()
    losses = []
    for _ in range(40):
        loss = (model.forward(moved.at(x)) - target).square().sum()
        (slope,) = torch.autograd.grad(loss, x)
        losses.append(float(loss.detach()))
        x = (x - 0.02 * slope / slope.norm(dim=1).max()).detach().requires_grad_()
    assert losses[-1] < 0.2 * losses[0]


def test_parse_triplet():
    assert parse_triplet("O-Si-O") == (8, 14, 8)
    assert parse_triplet("Zr-Ni-Cu") == parse_triplet("Cu-Ni-Zr") == (29, 28, 40)
