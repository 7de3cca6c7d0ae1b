"""X-ray absorption files: named columns, weights of chi(k), mu(E), and what is refused."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from glass_ml.cli.main import main
from glass_ml.errors import InputError
from glass_ml.measurements.absorption import check_weight, exafs_columns, read_absorption
from glass_ml.measurements.readers import read_spectrum
from glass_ml.measurements.reduction import reduce_absorption, write_reduction
from glass_ml.measurements.tables import read_table

K = np.arange(0.05, 14.0, 0.05)
CHI = np.sin(4.7 * K) / (1 + K**2) * 2.5 * np.exp(-0.01 * K**2)
larch = pytest.mark.skipif(importlib.util.find_spec("larch") is None, reason="larch is not installed")


def athena(path, names="k chi chik chik2 chik3"):
    columns = {"k": K, "chi": CHI, "chik": K * CHI, "chik2": K**2 * CHI, "chik3": K**3 * CHI, "win": np.ones_like(K)}
    rows = zip(*(columns[name] for name in names.split()), strict=True)
    body = "\n".join("  ".join(f"{v:.8f}" for v in row) for row in rows)
    path.write_text(f"# XDI/1.0 Athena/0.9\n# Element.symbol: Si\n#------\n#  {names}\n{body}\n")
    return path


@pytest.mark.parametrize("weight", [0, 1, 2, 3])
@pytest.mark.parametrize("names", ["k chi chik chik2 chik3", "k chi win", "win k chi"])
def test_the_column_of_the_weight_is_taken(tmp_path, weight, names):
    found = read_spectrum(athena(tmp_path / "a.chi", names), "exafs", k_weight=weight, sigma=0.1)
    np.testing.assert_allclose(found.x.numpy(), K, atol=1e-7)
    np.testing.assert_allclose(found.y.numpy(), K**weight * CHI, atol=2e-5)


def test_uncertainty_follows_the_weight(tmp_path):
    rows = "\n".join(f"{k:.3f} {c:.8f} 0.001" for k, c in zip(K, CHI, strict=True))
    (tmp_path / "a.chi").write_text(f"# k chi delta_chi\n{rows}\n")
    found = read_spectrum(tmp_path / "a.chi", "exafs", k_weight=2)
    np.testing.assert_allclose(found.sigma.numpy(), 0.001 * K**2)


@pytest.mark.parametrize("carried, stated", [(2, 0), (3, 0), (0, 2), (0, 3), (3, 1)])
def test_a_wrong_weight_is_named(carried, stated):
    with pytest.raises(InputError, match=r"with k_weight .* too (large|small) for any .*state k_weight: "):
        check_weight(K, K**carried * CHI, stated, "file")


@pytest.mark.parametrize("weight", [0, 1, 2, 3])
def test_a_right_weight_passes(weight):
    check_weight(K, K**weight * CHI, weight, "file")


def mu_of_e(path, start=-150.0, stop=600.0, scale=1.0, e0=8979.0):
    energy = np.arange(e0 + start, e0 + stop, 1.0)
    k = np.sqrt(np.clip(0.2624684 * (energy - e0), 0, None))
    step = 0.5 * (1 + np.tanh((energy - e0) / 1.5))
    mu = 0.3 - 1e-4 * (energy - e0) + step * (1 + 0.5 * np.sin(4.7 * k) / (1 + k**2))
    rows = "\n".join(f"{e * scale:.6f} {m:.8f}" for e, m in zip(energy, mu, strict=True))
    path.write_text(f"# energy mu\n{rows}\n")
    return path


def refused(argv, capsys):
    status = main([str(a) for a in argv])
    message = capsys.readouterr().err.strip()
    assert status == 2 and message.count("\n") == 0, message
    return message


@larch
def test_mistakes_get_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kev = mu_of_e(tmp_path / "kev.dat", scale=1e-3)
    assert "look like keV" in refused(["data", "reduce", kev], capsys)
    bare = mu_of_e(tmp_path / "bare.dat", start=-12)
    assert "no pre-edge: the data start 12 eV below the Cu K edge" in refused(["data", "reduce", bare], capsys)
    short = mu_of_e(tmp_path / "short.dat", stop=40)
    assert "only 39 eV above the Cu K edge" in refused(["data", "reduce", short], capsys)
    whole = mu_of_e(tmp_path / "whole.dat")
    assert "the Fe K edge at 7112 eV is not between" in refused(["data", "reduce", whole, "--edge", "Fe K"], capsys)
    chi = athena(tmp_path / "a.chi")
    assert "no column 'energy'" in refused(["data", "reduce", chi], capsys)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.chi", "bare.dat", "kev.dat", "short.dat", "whole.dat"]
    with pytest.raises(InputError, match=r"are energies: this is mu\(E\), not chi\(k\) .*glass-ml data reduce"):
        exafs_columns(read_table(whole), 2, str(whole))


@larch
def test_the_oscillation_comes_back(tmp_path):
    """mu(E) made of a known chi(k) gives it back; the command writes the file that a target reads, and the picture."""
    path = mu_of_e(tmp_path / "whole.dat")
    assert main(["data", "reduce", str(path), "--out", str(tmp_path / "out.chi")]) == 0
    assert (tmp_path / "out.png").stat().st_size > 10_000
    found = read_spectrum(tmp_path / "out.chi", "exafs", k_weight=2)
    k, y = found.x.numpy(), found.y.numpy()
    near = (k > 4) & (k < 11)
    expected = k**2 * 0.5 * np.sin(4.7 * k) / (1 + k**2)
    assert np.corrcoef(y[near], expected[near])[0, 1] > 0.98
    assert np.std(y[near]) == pytest.approx(np.std(expected[near]), rel=0.1)


def test_data_check_reads_a_weighted_chi(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    k = np.arange(2.0, 14.0, 0.05)
    np.savetxt("weighted.chi", np.column_stack([k, k**2 * 5 * np.sin(4.7 * k) / (1 + k**2)]))
    assert main(["data", "check", "weighted.chi", "--kind", "exafs", "--k-weight", "2"]) == 0
    assert "k_weight: 2" in Path("weighted.target.yaml").read_text()
    assert main(["data", "check", "weighted.chi", "--kind", "exafs", "--out", "again.png"]) == 2
    assert "k_weight" in capsys.readouterr().err


@larch
@pytest.mark.oracle
@pytest.mark.parametrize("name, e0", [("Ni_metal_rt_01", 8333), ("cu_metal_10K", 8979), ("Cu_Foil_rt_2016Foils", 8979)])
def test_measured_foils(shared_data, tmp_path, name, e0):
    source = shared_data / "xas-foils-xdi" / f"{name}.xdi"
    found = reduce_absorption(read_absorption(source), str(source))
    assert found.edge == ("Ni K" if name.startswith("Ni") else "Cu K")
    assert found.e0 == pytest.approx(e0, abs=4) and 1e-5 < found.noise < 5e-3
    write_reduction(found, tmp_path / "foil.chi", name)
    spectrum = read_spectrum(tmp_path / "foil.chi", "exafs", k_weight=2)
    assert 1.5 < float(spectrum.y[(spectrum.x > 3) & (spectrum.x < 12)].abs().max()) < 8


@larch
def test_a_standard_without_pre_edge(shared_data):
    source = shared_data / "xas-foils-xdi" / "S_elemental_rt_01.xdi"
    with pytest.raises(InputError, match="no pre-edge: the data start 22 eV below the S K edge"):
        reduce_absorption(read_absorption(source), str(source))
