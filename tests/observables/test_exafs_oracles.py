"""EXAFS against FEFF's own sums, single and multiple scattering, and against a measured foil."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.io import read
from baselines.feff import K, feff_chi, misfit, our_chi, table_of

from glass_ml.measurements.absorption import read_absorption
from glass_ml.measurements.likelihood import build_likelihood
from glass_ml.measurements.reduction import reduce_absorption, write_reduction
from glass_ml.measurements.target import load_target
from glass_ml.observables.exafs import Exafs
from glass_ml.observables.scattering_table import SHIPPED, find_table, load_table
from glass_ml.simulation.crystals import CRYSTALS, copper_zirconium
from glass_ml.stages.xas_table import make_shipped, make_table
from glass_ml.structures.io import from_atoms

ROOT = Path(__file__).resolve().parents[2]
FOIL = ROOT.parent / "shared" / "data" / "xas-foils-xdi"

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(
        importlib.util.find_spec("larch") is None, reason="FEFF is not installed (pip install 'glass_ml[xas]')"
    ),
]


def glass(system: str, reference: str) -> Atoms:
    path = ROOT / "data" / system / reference
    if not path.is_file():
        pytest.skip(f"no structures at {path}: dvc pull")
    return read(path, "-1")


@pytest.mark.parametrize("lattice, a, edge, limit", [("diamond", 5.431, "Si K", 5.3), ("fcc", 3.615, "Cu K", 5.05)])
def test_crystals_give_feffs_single_scattering(lattice, a, edge, limit):
    atoms = bulk(edge.split()[0], lattice, a, cubic=True)
    model = Exafs(torch.from_numpy(K), table_of(atoms, edge), limit=limit, taper=0.3)
    ours = model.forward(from_atoms([atoms]).to(dtype=torch.float32))[0].double().numpy()
    assert misfit(ours, feff_chi(atoms, 0, edge, limit - 0.3, 2)) < 5e-5


@pytest.mark.parametrize(
    "system, reference, edge, single, multiple",
    [
        ("a-Si", "reference-modified-sw.extxyz", "Si K", 1e-3, 0.03),
        ("a-SiO2", "reference-bks.extxyz", "Si K", 1e-3, 0.15),
        ("a-SiO2", "reference-bks.extxyz", "O K", 3e-3, 0.05),
    ],
)
def test_glasses_with_the_shipped_tables(system, reference, edge, single, multiple):
    """Potentials of a crystal serve for every site of the glass; what multiple scattering adds is bounded."""
    atoms = glass(system, reference)
    table = load_table(find_table(edge, set(atoms.symbols)))
    sites = np.flatnonzero(atoms.numbers == table.absorber)[::30][:3]
    ours = np.mean([our_chi(atoms, s, table, 5.0) for s in sites], axis=0)
    assert misfit(ours, np.mean([feff_chi(atoms, s, edge, 5.0, 2) for s in sites], axis=0)) < single
    assert misfit(ours, np.mean([feff_chi(atoms, s, edge, 5.0, 4) for s in sites], axis=0)) < multiple


@pytest.mark.parametrize("edge", ["Cu K", "Zr K"])
def test_a_disordered_alloy(edge):
    atoms = copper_zirconium().repeat(3)
    atoms.rattle(0.15, seed=1)
    table = load_table(find_table(edge, ("Cu", "Zr")))
    site = int(np.flatnonzero(atoms.numbers == table.absorber)[5])
    ours = our_chi(atoms, site, table, 4.5)
    assert misfit(ours, feff_chi(atoms, site, edge, 4.5, 2)) < 1e-2
    assert misfit(ours, feff_chi(atoms, site, edge, 4.5, 4)) < 0.05


def test_a_shipped_table_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr("glass_ml.stages.xas_table.CRYSTALS", {"a-SiO2": CRYSTALS["a-SiO2"]})
    for path in make_shipped(tmp_path):
        shipped, made = load_table(SHIPPED / path.name), load_table(path)
        assert (shipped.edge, shipped.scatterers, shipped.origin) == (made.edge, made.scatterers, made.origin)
        np.testing.assert_allclose(made.amplitude, shipped.amplitude, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("name, sigma2", [("Cu_Foil_rt_2016Foils", (0.007, 0.010)), ("cu_metal_10K", (0.003, 0.0045))])
def test_first_shell_of_a_measured_foil(name, sigma2, tmp_path):
    """Static fcc copper with S0^2, E0 and sigma^2 open: they come out as the literature has them."""
    if not FOIL.is_dir():
        pytest.skip(f"no measured foils at {FOIL}")
    source = FOIL / f"{name}.xdi"
    write_reduction(reduce_absorption(read_absorption(source), str(source)), tmp_path / "foil.chi", name)
    atoms = bulk("Cu", "fcc", 3.615, cubic=True)
    table = make_table(atoms, "Cu K", "fcc copper", tmp_path)
    (tmp_path / "target.yaml").write_text(f"""
system: Cu
composition: {{Cu: 1}}
density: 0.0847
measurements:
  - {{file: foil.chi, kind: exafs, edge: Cu K, table: {table.name}, k_weight: 2, x_range: [3, 12.5],
     r_range: [1.5, 2.8], scale: [0.6, 1.1], e0: [-12, 12], sigma2: [0, 0.02]}}
""")
    structures = from_atoms([atoms.repeat(3)])
    (fit,) = build_likelihood(load_target(tmp_path / "target.yaml"), structures).compare(structures).measurements
    residual = float((fit.fit - fit.target).square().sum() / fit.target.square().sum())
    assert residual < 0.03
    assert 0.8 < float(fit.scale) < 1.0 and sigma2[0] < float(fit.opened["sigma2"]) < sigma2[1]
