"""Facts about the measured spectra beside the repository, and the commands that look at them."""

import json

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.io import write

from glass_ml.cli.main import main
from glass_ml.measurements.conventions import convert
from glass_ml.measurements.inspection import inspect
from glass_ml.measurements.readers import read_spectrum
from glass_ml.measurements.target import load_target
from glass_ml.observables.kinds import make_observable
from glass_ml.structures.io import from_atoms, to_atoms


def close(found, expected, tolerance):
    return all(min(abs(f - e) for f in found) <= tolerance for e in expected)


def test_laaziri_silicon(shared_data):
    found = inspect(shared_data / "aSi-laaziri-sq" / "Sq_Laaziri_sorted_merged.csv", composition={"Si": 1})
    assert found.spectrum.kind == "xray-sq" and len(found.spectrum.x) == 301
    assert close(found.peaks, (1.98, 3.60, 5.64, 8.73), 0.03)
    assert close(found.distances, (2.35,), 0.02)
    assert found.density == pytest.approx(0.0489, rel=0.04)
    y, x = found.spectrum.y, found.spectrum.x
    assert float(y[x > 20].mean()) == pytest.approx(1.003, abs=0.001)
    assert float(found.spectrum.sigma[0]) == pytest.approx(0.02, rel=0.3)


def test_nimrod_silica(shared_data):
    path = shared_data / "sio2-nimrod-neutron" / "SiO2_NIMROD.mint01"
    found = inspect(path, composition={"Si": 1, "O": 2}, density=0.0664)
    assert found.guesses[0][0] == "neutron-fq"
    assert (len(found.spectrum.x), float(found.spectrum.x[0]), float(found.spectrum.x[-1])) == (999, 0.025, 49.925)
    assert float(found.spectrum.sigma[0]) == pytest.approx(2.98e-4, rel=1e-2)
    assert found.density == pytest.approx(0.067, rel=0.05)
    assert close(found.distances, (1.60, 2.62), 0.02)


def test_soper_water(shared_data):
    path = shared_data / "water-soper2013-gr" / "soper2013_dist_funcs"
    found = inspect(path)
    assert found.spectrum.kind == "gr" and close(found.peaks, (2.79,), 0.01)
    hydrogen = read_spectrum(path, "gr", columns=[1, 6, 7])
    assert float(hydrogen.x[hydrogen.y.argmax()]) == pytest.approx(2.43, abs=0.05)


def glass(kind):
    """x and y of a glass of one element: diamond shells that blur with distance, in any convention."""
    r = np.arange(0.02, 20, 0.02)
    crystal = from_atoms([bulk("Si", "diamond", a=5.43)])
    blur = {"qbroad": 0.05, "qdamp": 0.12 if kind.endswith("q") else 0.0, "broadening": 0.05}
    g = make_observable("pdf", torch.from_numpy(r), **blur).forward(crystal)[0].numpy()
    grid = np.arange(0.2, 25, 0.05) if kind.endswith("q") else None
    options = {"density": 8 / 5.43**3, "composition": {"Si": 1}}
    return convert(r, g, "pdf", kind, grid=grid, **options)[:2]


@pytest.mark.parametrize("kind", ["gr", "pdf", "tr", "xray-sq", "xray-fq", "neutron-fq"])
def test_kinds_are_recognised_by_their_looks(tmp_path, kind):
    path = tmp_path / "unnamed.dat"
    np.savetxt(path, np.stack(glass(kind), axis=1))
    found = inspect(path, density=0.05, composition={"Si": 1})
    assert found.guesses[0][0] == kind
    assert close(found.distances, (2.35,), 0.03)
    if kind != "gr":
        assert found.density == pytest.approx(0.05, rel=0.03)


def test_check_writes_a_stub_that_loads(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savetxt("glass.csv", np.stack(glass("xray-sq"), axis=1), delimiter=",", header="Q,S(Q)")
    assert main(["data", "check", "glass.csv", "--composition", "Si=1", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["kind"] == "xray-sq" and summary["density_from_low_r"] == pytest.approx(0.05, rel=0.1)
    assert (tmp_path / "glass.png").read_bytes().startswith(b"\x89PNG")
    target = load_target("glass.target.yaml")
    assert target.measurements[0].kind == "xray-sq" and target.composition == {"Si": 1.0}
    assert main(["data", "check", "glass.csv"]) == 0
    assert main(["data", "check", "glass.csv", "--kind", "sq"]) == 2


def test_convert_command_round_trip(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    q = np.linspace(0.5, 20, 100)
    np.savetxt("a.dat", np.stack([q, 1 + np.sin(2 * q) / q, np.full(100, 0.01)], axis=1))
    common = ["--composition", "Si=1,O=2", "--density", "2.2 g/cm3"]
    assert (
        main(["data", "convert", "a.dat", "--from", "neutron-sq", "--to", "neutron-fq", "--out", "b.csv", *common]) == 0
    )
    assert (
        main(["data", "convert", "b.csv", "--from", "neutron-fq", "--to", "neutron-sq", "--out", "c.csv", *common]) == 0
    )
    np.testing.assert_allclose(np.loadtxt("c.csv", delimiter=","), np.loadtxt("a.dat"), rtol=1e-6)
    capsys.readouterr()
    assert main(["data", "convert", "a.dat", "--from", "neutron-sq", "--to", "neutron-fq"]) == 2
    assert main(["data", "convert", "a.dat", "--from", "neutron-sq", "--to", "gr", *common]) == 2
    assert "say which x" in capsys.readouterr().err
    assert main(["data", "convert", "a.dat", "--from", "neutron-sq", "--to", "gr", "--grid", "1:5:0.1", *common]) == 0


def test_list_command(shared_data, capsys):
    assert main(["data", "list", str(shared_data), "--json"]) == 0
    kinds = {entry["file"].split("/")[-1]: entry["kind"] for entry in json.loads(capsys.readouterr().out)}
    assert kinds["Sq_Laaziri_sorted_merged.csv"] == "xray-sq" and kinds["SiO2_NIMROD.mint01"] == "neutron-fq"
    assert kinds["cu_metal_rt.xdi"] is None
    assert main(["data", "list", "/nowhere"]) == 2


def test_spectrum_command(tmp_path, monkeypatch, capsys, silicon):
    monkeypatch.chdir(tmp_path)
    write("si.extxyz", to_atoms(silicon))
    options = ["--x-min", "1", "--x-max", "10", "--points", "50"]
    assert main(["spectrum", "si.extxyz", "--kind", "xray-sq", *options, "--out", "s.csv"]) == 0
    table = np.loadtxt("s.csv", delimiter=",")
    expected = make_observable("xray-sq", torch.from_numpy(table[:, 0])).forward(silicon)
    np.testing.assert_allclose(table[:, 1], expected.mean(0).numpy(), atol=1e-4)
    np.testing.assert_allclose(table[:, 2], expected.std(0).numpy(), atol=1e-4)
    assert main(["spectrum", "si.extxyz", "--kind", "gr", "--pair", "Si-Si", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 2
    for wrong in (["--kind", "sq"], ["--kind", "gr", "--x-min", "5", "--x-max", "2"], ["--kind", "gr", "--pair", "Si"]):
        assert main(["spectrum", "si.extxyz", *wrong]) == 2
    assert main(["spectrum", "nowhere.xyz", "--kind", "gr"]) == 2
