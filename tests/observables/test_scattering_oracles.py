"""Scattering against other programs and against the exact reciprocal-space sum."""

import importlib
import itertools
import sys
import types

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from model_crystals import crystal, thermal

from glass_ml.errors import InputError
from glass_ml.observables.factors import neutron_length, neutron_lengths, xray_f0
from glass_ml.observables.kinds import make_observable
from glass_ml.observables.reciprocal import ReciprocalScattering
from glass_ml.structures.io import from_atoms


def test_scattering_factors_are_those_of_the_tables():
    f0 = xray_f0([14, 8], torch.tensor([0.0, 1.0]))
    assert float(f0[0, 0]) == pytest.approx(14.00, abs=0.005)
    assert float(f0[0, 1]) == pytest.approx(12.71, abs=0.005)
    assert float(f0[1, 0]) == pytest.approx(8.0, abs=0.01)
    # Sears, Neutron News 3 (1992): Si 4.1491 fm, O 5.803 fm; periodictable carries later values
    assert neutron_length(14) == pytest.approx(4.1491, rel=1e-3)
    assert neutron_length(8) == pytest.approx(5.803, rel=1e-3)


def brute_force(structure, q, weights, limit):
    """2/N sum over pairs of w w sin(Qr)/(Qr) Lorch(r) minus the continuum, by plain loops over images."""
    n, cell = structure.n_atoms, structure.cell[0].numpy()
    positions, total = structure.positions.numpy(), np.zeros(len(q))
    for shift in itertools.product(range(-2, 3), repeat=3):
        d = np.linalg.norm(positions[None] - positions[:, None] + np.array(shift) @ cell, axis=-1)
        keep = (d > 1e-9) & (d < limit)
        w = (weights[:, None] * weights[None] * np.sinc(d / limit))[keep]
        total += (w[:, None] * np.sinc(d[keep][:, None] * q / np.pi)).sum(0)
    r = np.linspace(0, limit, 20001)
    integrand = 4 * np.pi * r**2 * np.sinc(r / limit) * np.sinc(np.outer(q, r) / np.pi)
    return total / n - float(structure.density) * weights.mean() ** 2 * np.trapezoid(integrand, r, axis=1)


def test_sine_transform_is_the_plain_sum_over_pairs(binary):
    q = torch.linspace(0.5, 20.0, 40, dtype=torch.float64)
    limit = float(binary.half_width.min())
    model = make_observable("neutron-fq", q, window="lorch").forward(binary)
    for k, one in enumerate(binary.split()):
        lengths = np.array([neutron_length(int(z)) for z in one.numbers])
        expected = 0.01 * brute_force(one, q.numpy(), lengths, limit)
        assert np.abs(model[k].numpy() - expected).max() < 3e-3 * np.abs(expected).max()


@pytest.mark.parametrize("kind", ["xray-sq", "neutron-fq"])
def test_sine_transform_equals_the_reciprocal_sum_at_one_resolution(silica_like, kind):
    """g(r) - 1 damped by exp(-(sr)^2/2) is S(k) smeared by a Gaussian of width s: no window, no truncation left.

    Poisson's sum makes this exact for one cell: smearing the sum over its reciprocal vectors equals damping the sum
    over its pairs, images included. k = 0, which carries the mean density, is the only vector left out.
    """
    s, limit = 0.8, float(silica_like.half_width.min())
    q = torch.tensor([1.2, 1.7, 2.5, 3.7, 5.1, 7.0], dtype=torch.float64)
    direct = make_observable(kind, q, qdamp=s).forward(silica_like)[0]
    fine = torch.arange(0.1, 12.0, 0.0004, dtype=torch.float64)
    exact = ReciprocalScattering(kind, fine)
    sums, counts = exact.bin_sums(silica_like)
    scale = 0.01 if kind == "neutron-fq" else 1.0
    elements, fractions = [8, 14], torch.tensor([2 / 3, 1 / 3], dtype=torch.float64)
    w = xray_f0(elements, torch.zeros(1))[:, 0] if kind == "xray-sq" else neutron_lengths(elements)
    at_zero = -(fractions @ w**2) / ((fractions @ w) ** 2 if kind == "xray-sq" else 1)

    def gaussian(x):
        return torch.exp(-0.5 * (x / s) ** 2) / (s * (2 * np.pi) ** 0.5)

    kernel = (gaussian(fine - q[:, None]) - gaussian(fine + q[:, None])) / (4 * np.pi * fine * q[:, None])
    smeared = (kernel * sums).sum(1) + at_zero * torch.exp(-0.5 * (q / s) ** 2) / ((2 * np.pi) ** 1.5 * s**3)
    smeared = smeared * (2 * np.pi) ** 3 / silica_like.volume * scale + (1.0 if kind == "xray-sq" else 0.0)
    tail = np.exp(-0.5 * (s * limit) ** 2)
    assert tail < 1e-6 and float(counts.sum()) > 1e4
    # X-ray weights vary within the smearing; neutron ones do not
    assert float((smeared - direct).abs().max()) < (0.02 if kind == "xray-sq" else 2e-5)


def test_reciprocal_sum_finds_bragg_peaks_and_extinctions():
    structure = from_atoms([crystal("Si", "diamond", 5.43)])
    edge = 2 * np.pi / 5.43
    allowed, forbidden = np.sqrt([3, 8, 11]) * edge, np.sqrt([4]) * edge
    grid = torch.tensor(sorted([*allowed, *forbidden]), dtype=torch.float64)
    width = torch.linspace(-0.02, 0.02, 2, dtype=torch.float64)
    value = {}
    for q in grid:
        exact = ReciprocalScattering("neutron-sq", q + width)
        sums, counts = exact.bin_sums(structure)
        value[round(float(q), 6)] = float((sums + counts).sum())
    n = structure.n_atoms
    # sum over the vectors of a shell of |structure factor|^2/N: N m |F|^2/64, with multiplicity m, per cubic cell F
    for q, multiplicity, factor in zip(allowed, (8, 12, 24), (32, 64, 32), strict=True):
        assert value[round(float(q), 6)] == pytest.approx(n * multiplicity * factor / 64, rel=1e-6)
    assert value[round(float(forbidden[0]), 6)] == pytest.approx(0, abs=1e-6)


def test_reciprocal_sum_says_where_it_has_nothing():
    structure = from_atoms([crystal("Si", "diamond", 5.43)])
    with pytest.raises(InputError, match="no reciprocal vector"):
        ReciprocalScattering("xray-sq", torch.tensor([0.1, 0.2, 0.3])).forward(structure)
    some = ReciprocalScattering("xray-sq", torch.linspace(0.1, 3.0, 30), structure)
    assert 0 < len(some.grid) < 30 and bool(torch.isfinite(some.forward(structure)).all())


def load_debye_calculator(monkeypatch):
    """DebyeCalculator imports notebook packages that it does not need to compute; empty ones stand in for them."""
    for name, attributes in {
        "ipywidgets": ("HBox", "VBox", "Layout", "Button"),
        "IPython": (),
        "IPython.display": ("display", "HTML", "clear_output"),
    }.items():
        try:
            importlib.import_module(name)
        except ImportError:
            stub = types.ModuleType(name)
            for attribute in attributes:
                setattr(stub, attribute, object)
            monkeypatch.setitem(sys.modules, name, stub)
    try:
        return importlib.import_module("debyecalculator").DebyeCalculator
    except ImportError as error:
        pytest.skip(f"DebyeCalculator cannot be imported: {error}")


@pytest.mark.oracle
def test_debye_calculator_on_a_cluster(monkeypatch, tmp_path):
    calculator = load_debye_calculator(monkeypatch)
    cluster = bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat(2)
    atoms = Atoms(cluster.symbols, positions=cluster.positions)
    atoms.write(tmp_path / "cluster.xyz")
    debye = calculator(qmin=1.0, qmax=20.0, qstep=0.05, biso=0.0, radiation_type="xray", device="cpu")
    q, intensity = debye.iq(str(tmp_path / "cluster.xyz"))
    q = torch.as_tensor(np.asarray(q), dtype=torch.float64)
    f = xray_f0([11, 17], q)
    n = len(atoms)
    # our I(Q)/N = <f^2> + <f>^2 (S - 1), the continuum of the nearly empty cell removed again by hand
    atoms.set_cell(np.eye(3) * 60)
    atoms.pbc = True
    structure = from_atoms([atoms])
    observable = make_observable("xray-sq", q)
    structure_factor = observable.forward(structure)[0]
    r = np.linspace(0, 30, 60001)
    window = 0.5 * (1 + np.cos(np.pi * np.clip((r - 29.9) / 0.1, 0, 1)))
    continuum = torch.tensor(
        [np.trapezoid(4 * np.pi * r**2 * window * np.sinc(x * r / np.pi), r) for x in q.numpy()]
    ) * float(structure.density)
    mean, square = f.mean(0), (f**2).mean(0)
    ours = n * (square + mean**2 * (structure_factor - 1 + continuum))
    theirs = torch.as_tensor(np.asarray(intensity), dtype=torch.float64)
    # DebyeCalculator counts each pair once and half of the self-scattering
    assert float((ours / 2 - theirs).abs().max() / theirs.abs().max()) < 1e-4


def test_bias_of_the_transform_without_window():
    """Averaged over shells of 0.5 1/Å the transform to half the cell differs from the exact sum by about 1 %."""
    liquid = thermal(bulk("Ar", "fcc", a=5.3, cubic=True).repeat(4), 0.7, seed=2)
    structure = from_atoms([liquid])
    width, n = 0.5, 50
    centres = torch.arange(2.0, 15.0, width, dtype=torch.float64)
    exact = ReciprocalScattering("neutron-sq", centres).forward(structure)[0]
    fine = (centres[:, None] + width * ((torch.arange(n) + 0.5) / n - 0.5)).flatten()
    model = make_observable("neutron-sq", fine).forward(structure)[0].view(-1, n)
    weight = (fine**2).view(-1, n)
    shell = (model * weight).sum(1) / weight.sum(1)
    assert float((shell - exact).abs().mean()) < 0.02
