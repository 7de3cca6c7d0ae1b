"""EXAFS, angles, coordination and restraints in TARGET.yaml: one likelihood for all, one line for every mistake."""

import numpy as np
import pytest
import torch
from ase import Atoms
from small_surrogate import batch, carbon, random_surrogate

from glass_ml.errors import InputError
from glass_ml.measurements.likelihood import build_likelihood
from glass_ml.measurements.target import load_target
from glass_ml.observables.surrogate_files import save_surrogate
from glass_ml.structures.io import from_atoms

SILICA = {"system": "a-SiO2", "composition": "{Si: 1, O: 2}", "density": "0.066"}


@pytest.fixture
def silica():
    """Two random cells of 36 atoms, float64."""
    rng = np.random.default_rng(1)
    frames = [
        Atoms("Si12O24", positions=rng.uniform(0, 8.2, (36, 3)), cell=[8.2, 8.4, 8.0], pbc=True) for _ in range(2)
    ]
    return from_atoms(frames)


def rows(x, y):
    return "\n".join(f"{a:.4f} {b:.6f}" for a, b in zip(x, y, strict=True))


@pytest.fixture
def everything(write_target, tmp_path):
    """A target with every kind that an inversion can fit."""
    k, angles = np.arange(3, 11, 0.1), np.arange(40, 170, 4.0)
    (tmp_path / "chi.dat").write_text(rows(k, 0.3 * np.sin(3.2 * k) / k))
    (tmp_path / "angles.dat").write_text(rows(angles, 3 * np.exp(-(((angles - 109) / 12) ** 2))))
    text = """
  - {file: data.csv, kind: neutron-fq, sigma: 0.2, x_range: [1, 10], name: neutron}
  - {file: data.csv, kind: xray-sq, sigma: 0.2, x_range: [1, 10], use: validate, name: xray}
  - {file: chi.dat, kind: exafs, edge: Si K, k_weight: 1, sigma: 0.05, e0: [-4, 4], scale: [0.7, 1.1]}
  - {file: angles.dat, kind: adf, triplet: O-Si-O, cutoff: {Si-O: 2.4}, width: 0.3, broadening: 5, sigma: 0.2}
  - {values: {2: 0.9, 1: 0.1}, kind: coordination, pair: O-Si, cutoff: 2.4, sigma: 0.1, name: twofold}
restraints:
  - {coordination: Si-O, cutoff: 2.4, number: 4, sigma: 0.05}
  - {distance: Si-Si, between: [0, 2.6]}"""

    def build(structures, ensemble=False, text=text):
        text = text.replace("{2: 0.9, 1: 0.1}", "{1: 0.1, 2: 0.9}")
        return build_likelihood(load_target(write_target(text=text, **SILICA)), structures, ensemble=ensemble)

    return build


@pytest.mark.parametrize("ensemble", [False, True])
def test_every_kind_in_one_likelihood(everything, silica, ensemble):
    likelihood = everything(silica, ensemble)
    assert len(likelihood.channels) == 7 and len(likelihood.fitted) == 6
    x = silica.positions.clone().requires_grad_()
    full = likelihood.residuals(silica.at(x))
    torch.testing.assert_close(full.square().sum(1)[0], likelihood.chi2(silica)[0])
    (expected,) = torch.autograd.grad(0.5 * full.square().sum(), x)
    residuals, jacobian = likelihood.linearise(silica)
    own = residuals[silica.system] if len(residuals) > 1 else residuals.expand(silica.n_atoms, -1)
    gradient = torch.einsum("nk,knc->nc", own, jacobian)
    torch.testing.assert_close(gradient, expected, rtol=5e-3, atol=5e-3 * float(expected.abs().max()))


def test_restraints_are_measurements(everything, silica):
    fits = everything(silica).compare(silica)
    fourfold = fits["coordination Si-O"]
    assert fourfold.kind == "coordination" and float(fourfold.target[4]) == 1 and float(fourfold.target.sum()) == 1
    assert fits["distance Si-Si 0-2.6"].n_points == 1 and float(fits["distance Si-Si 0-2.6"].target) == 0


def test_a_restraint_pulls_atoms_apart(write_target):
    """Gradient descent on a distance window leaves no pair in it."""
    rng = np.random.default_rng(2)
    structures = from_atoms([Atoms("Si16", positions=rng.uniform(0, 8, (16, 3)), cell=[8, 8, 8], pbc=True)])
    text = "  - {file: data.csv, kind: xray-sq, use: validate, sigma: 1}\nrestraints:\n"
    text += "  - {distance: Si-Si, between: [0, 2.2]}"
    likelihood = build_likelihood(load_target(write_target(text=text)), structures)
    before = float(likelihood.chi2(structures))
    for _ in range(60):
        x = structures.positions.clone().requires_grad_()
        (slope,) = torch.autograd.grad(likelihood.chi2(structures.at(x)).sum(), x)
        structures = structures.at(structures.positions - 0.05 * slope / slope.norm(dim=1).amax().clamp(min=1e-9))
    assert before > 1 and float(likelihood.chi2(structures)) < 0.01 * before


EXAFS = "  - {file: data.csv, kind: exafs, edge: Si K, "
MISTAKES = [
    ("  - {file: data.csv, kind: exafs}", "kind exafs needs 'edge'"),
    ("  - {file: data.csv, kind: exafs, edge: SiK}", "is not an absorption edge"),
    ("  - {file: data.csv, kind: exafs, edge: Ge K}", "Ge is not in the composition"),
    (EXAFS + "k_weight: -1}", "-1 is below 0"),
    (EXAFS + "k_weight: 0}", "state k_weight: "),
    (EXAFS + "k_weight: 2, table: none.safetensors}", "no such scattering table"),
    (EXAFS + "e0: [5, -5]}", "does not ascend"),
    ("  - {file: data.csv, kind: xanes}", "kind xanes needs 'surrogate'"),
    ("  - {file: data.csv, kind: xanes, surrogate: none}", "no surrogate in 'none' (train one: glass-ml train NAME"),
    (
        "  - {file: data.csv, kind: gr, edge: Si K}",
        "'edge' has no meaning for kind gr (it belongs to kind exafs)",
    ),
    ("  - {file: data.csv, kind: adf, triplet: O-Si-O}", "kind adf needs 'cutoff'"),
    ("  - {file: data.csv, kind: adf, triplet: O-Si, cutoff: 2}", "is not three elements"),
    ("  - {file: data.csv, kind: adf, triplet: O-Ge-O, cutoff: 2}", "Ge is not in the composition"),
    ("  - {kind: gr}", "either a file or values"),
    ("  - {kind: gr, file: data.csv, values: {1: 2}, sigma: 1}", "either a file or values"),
    ("  - {kind: coordination, pair: Si-O, cutoff: 2, values: {4: 1}}", "values without their uncertainty"),
    ("  - {kind: coordination, pair: Si-O, cutoff: 2, values: {4: 1, 3: 0}, sigma: 1}", "x does not ascend"),
    ("  - {kind: coordination, pair: Si-O, cutoff: 2, values: 4, sigma: 1}", "are not values"),
    ("  - {file: data.csv, kind: xray-sq}\nrestraints: [{number: 4}]", "neither a coordination nor a distance"),
    (
        "  - {kind: pair-count, pair: Si-O, between: [1, 2], values: {2: 4, 3: 4}, sigma: 1}",
        "pair-count: values: 2 values for one window",
    ),
    ("  - {kind: xray-sq, values: {2: 1}, sigma: 1}", "fewer than three points"),
    ("  - {file: data.csv, kind: xray-sq}\nrestraints: 4", "restraints: not a list"),
    (
        "  - {file: data.csv, kind: xray-sq}\nrestraints: [{coordination: Si-O, cutoff: 2, number: {3: 0.5}}]",
        "the fractions add up to 0.5",
    ),
    (
        "  - {file: data.csv, kind: xray-sq}\nrestraints: [{coordination: Si-O, cutoff: 2, number: 4.5}]",
        "are not numbers of neighbours",
    ),
    ("  - {file: data.csv, kind: xray-sq}\nrestraints: [{distance: Si-Si, between: [2, 1]}]", "does not ascend"),
]


@pytest.mark.parametrize("text, words", MISTAKES)
def test_mistakes_get_one_line(write_target, tmp_path, text, words):
    k = np.arange(2.0, 12, 0.05)
    with pytest.raises(InputError) as error:
        target = load_target(write_target(rows(k, 2.5 * np.sin(4.7 * k)), text, **SILICA))
        build_likelihood(target, from_atoms([Atoms("SiO2", cell=[9, 9, 9], pbc=True)]))
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_surrogate_for_another_element(write_target, tmp_path):
    save_surrogate(tmp_path / "carbon", random_surrogate(), {"system": "aC", "axis": "eV"})
    with pytest.raises(InputError, match="the surrogate in 'carbon' is for C among C, not for Si, O"):
        load_target(write_target(text="  - {file: data.csv, kind: xanes, surrogate: carbon}", **SILICA))


def test_carbon_is_fitted_to_its_xanes(write_target, tmp_path):
    """A XANES measurement in the likelihood: the residuals and their slopes are those of the surrogate."""
    save_surrogate(tmp_path / "carbon", random_surrogate(), {"system": "aC", "axis": "eV"})
    energies = np.linspace(281, 299, 40)
    data = rows(energies, np.exp(-(((energies - 290) / 4) ** 2)))
    text = "  - {file: data.csv, kind: xanes, surrogate: carbon, sigma: 0.1, scale: [0.5, 2]}"
    structures = batch(carbon(seed=1), carbon(seed=2))
    target = load_target(write_target(data, text, system="a-C", composition="{C: 1}", density="0.17"))
    likelihood = build_likelihood(target, structures)
    x = structures.positions.clone().requires_grad_()
    (expected,) = torch.autograd.grad(0.5 * likelihood.residuals(structures.at(x)).square().sum(), x)
    residuals, jacobian = likelihood.linearise(structures)
    gradient = torch.einsum("nk,knc->nc", residuals[structures.system], jacobian)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()))
    remarks = likelihood.compare(structures).measurements[0].opened
    assert set(remarks) == {"outside", "uncertainty"} and bool(
        ((remarks["outside"] >= 0) & (remarks["outside"] <= 1)).all()
    )
    assert float(remarks["uncertainty"].min()) > 0
