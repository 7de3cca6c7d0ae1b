"""Targets out of plain values and arrays: the rules of TARGET.yaml, without a file; and each file is read once."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from small_surrogate import random_surrogate

from glass_ml.errors import InputError
from glass_ml.files import sha256_file
from glass_ml.measurements.likelihood import build_likelihood
from glass_ml.measurements.measurement import make_measurement
from glass_ml.measurements.target import Target, load_target, write_target
from glass_ml.observables.kinds import kinds
from glass_ml.observables.surrogate_files import save_surrogate
from glass_ml.stages.plan import measurement_entries
from glass_ml.structures.io import from_atoms

SILICA = ({"Si": 1, "O": 2}, "2.20 g/cm3")
Q = np.arange(0.5, 15, 0.1)
K = np.arange(3.0, 11, 0.1)
R = np.arange(0.5, 5, 0.05)
CHI = 0.3 * np.sin(3.2 * K)


@pytest.fixture
def silica():
    rng = np.random.default_rng(1)
    return from_atoms([Atoms("Si12O24", positions=rng.uniform(0, 8.2, (36, 3)), cell=[8.2, 8.4, 8.0], pbc=True)])


def everything():
    """A measurement of every kind but XANES, its own fields among its arguments."""
    return [
        make_measurement("gr", R, 1 + 0.1 * np.sin(R), 0.1, pair="Si-O", broadening=0.06, use="validate"),
        make_measurement("pdf", R, np.sin(R), 0.1 + 0.01 * R, qmin=0.5, qmax=20, qdamp=0.02, window="lorch"),
        make_measurement("dr", R, np.sin(R), 0.1, radiation="xray"),
        make_measurement("tr", list(R), list(np.sin(R)), 0.1, x_range=(1, 4), weight=np.float64(2)),
        make_measurement("xray-sq", Q, 1 + np.sin(2 * Q) / Q, 0.02, name="X-ray: S(Q)", scale=(0.9, 1.1), limit=6),
        make_measurement("xray-fq", torch.from_numpy(Q), torch.from_numpy(np.sin(2 * Q)), 0.1, offset=(-0.1, 0.1)),
        make_measurement("neutron-sq", Q, 1 + np.sin(2 * Q) / Q, np.full(len(Q), 0.02), window="none"),
        make_measurement("neutron-fq", Q[20:], np.sin(2 * Q[20:]), np.float32(0.1), method="reciprocal", scale=1.05),
        make_measurement("exafs", K, CHI, 0.05, edge="si-k", k_weight=1, e0=(-4, 4), sigma2=[0, 0.01], r_range=(1, 3)),
        make_measurement("adf", [60, 90, 100, 110, 120], [0, 1, 2, 2, 1], 0.2, triplet="O-Si-O", cutoff={"Si-O": 2.4}),
        make_measurement("coordination", range(3, 6), [0.1, 0.8, 0.1], 0.05, pair="Si-O", cutoff=2.4),
        make_measurement("pair-count", [2.4, 3.0], [4, 5.5], [0.1, 0.2], pair="Si-O"),
        make_measurement("distance-window", [2.0], [0.0], 0.01, pair="O-O", between=(0, 2)),
    ]


def numbers(target, structures):
    fits = build_likelihood(target, structures).compare(structures).measurements
    return [torch.cat([f.x, f.target, f.sigma, f.model.flatten(), f.chi2]) for f in fits]


def test_a_target_of_every_kind_is_written_and_read(tmp_path, silica):
    measurements = everything()
    assert {m.kind for m in measurements} == set(kinds()) - {"xanes"}
    target = Target(*SILICA, measurements, system="a-SiO2", note="made up: of sines")
    assert target.density == pytest.approx(0.0662, abs=1e-4) and not target.sha256
    path = write_target(target, tmp_path / "one")
    again = load_target(path)
    for name in ("system", "composition", "density", "note"):
        assert getattr(again, name) == getattr(target, name), name
    for mine, read in zip(target.measurements, again.measurements, strict=True):
        for field in dataclasses.fields(mine):
            if field.name not in ("spectrum", "file", "files"):
                assert getattr(read, field.name) == getattr(mine, field.name), (mine.kind, field.name)
        for axis in ("x", "y", "sigma"):
            assert torch.equal(getattr(read.spectrum, axis), getattr(mine.spectrum, axis)), (mine.kind, axis)
        assert not read.file or read.spectrum.sha256 == sha256_file(read.file) == read.files[0].sha256
    for mine, read in zip(numbers(target, silica), numbers(again, silica), strict=True):
        assert torch.equal(mine, read)


def test_the_same_target_gives_the_same_bytes(tmp_path):
    files = []
    for name in ("one", "two"):
        folder = write_target(Target(*SILICA, everything(), "a-SiO2"), tmp_path / name).parent
        files.append({p.name: p.read_bytes() for p in folder.iterdir()})
    assert files[0] == files[1] and "X-ray-S-Q.dat" in files[0]
    first = tmp_path / "one" / "target.yaml"
    write_target(load_target(first), tmp_path / "three")  # its data have files now, which it names
    assert [p.name for p in (tmp_path / "three").iterdir()] == ["target.yaml"]
    once, twice = load_target(tmp_path / "three" / "target.yaml"), load_target(first)
    assert [m.spectrum.sha256 for m in once.measurements] == [m.spectrum.sha256 for m in twice.measurements]


def test_names_that_make_the_same_file_name_stay_apart(tmp_path):
    two = [make_measurement("xray-sq", Q, 1 + k * np.sin(Q), 0.1, name=n) for k, n in enumerate(("a b", "a/b", "A-B"))]
    again = load_target(write_target(Target({"Si": 1}, 0.05, two), tmp_path))
    for mine, read in zip(two, again.measurements, strict=True):
        assert read.name == mine.name and torch.equal(read.spectrum.y, mine.spectrum.y)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"x": Q[::-1]}, ("x does not ascend",)),
        ({"x": np.where(Q > 3, np.nan, Q)}, ("x of point 27 is not a number",)),
        ({"y": np.where(Q > 3, np.inf, Q)}, ("y of point 27 is not a number",)),
        ({"sigma": 0}, ("sigma 0 is not above 0",)),
        ({"sigma": np.where(Q > 3, -0.1, 0.1)}, ("sigma -0.1 is not above 0",)),
        ({"sigma": np.nan}, ("sigma of point 1 is not a number",)),
        ({"y": Q[1:]}, ("xray-sq.y: the shape (144,) where x has (145,)",)),
        ({"sigma": Q[1:]}, ("sigma: the shape (144,)",)),
        ({"x": Q[:, None]}, ("x: an array of the shape (145, 1)",)),
        ({"x": []}, ("x: an array of the shape (0,)",)),
        ({"y": ["a"] * 145}, ("xray-sq.y: not an array of numbers",)),
        ({"y": None}, ("xray-sq.y", "number")),
        ({"kind": "xray"}, ("unknown kind 'xray'",)),
        ({"sgma2": 1}, ("unknown key 'sgma2'",)),
        ({"file": "data.csv"}, ("unknown key 'file'",)),
        ({"pair": "Si-O"}, ("'pair' has no meaning for kind xray-sq (it belongs to kind gr, coordination",)),
        ({"limit": -1}, ("xray-sq.limit: -1 is not above 0",)),
        ({"window": "hann"}, ("unknown window 'hann' (one of lorch, none)",)),
        ({"x_range": (0.5, 40)}, ("x_range", "outside the data")),
        ({"use": "fitted"}, ("unknown use 'fitted'",)),
        ({"scale": 0}, ("a scale must be positive",)),
        ({"kind": "exafs"}, ("kind exafs needs 'edge'",)),
        ({"kind": "exafs", "y": 1e-3 * Q, "edge": "Si K", "k_weight": 2}, ("with k_weight 2 chi(k) is", "too small")),
        (
            {"kind": "gr", "method": "reciprocal"},
            ("'method' has no meaning for kind gr (it belongs to functions of Q)",),
        ),
    ],
)
def test_arrays_keep_the_rules_of_target_files(changes, words):
    given = {"kind": "xray-sq", "x": Q, "y": 1 + np.sin(2 * Q) / Q, "sigma": 0.02, **changes}
    with pytest.raises(InputError) as error:
        make_measurement(given.pop("kind"), given.pop("x"), given.pop("y"), given.pop("sigma"), **given)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    "composition, density, measurements, words",
    [
        ({"Si": 1}, "2.28 g/cm", None, "unknown unit 'g/cm'"),
        ({"Si": 1}, -0.05, None, "density -0.05 is not positive"),
        ({"Xx": 1}, 0.05, None, "'Xx' is not an element"),
        ("Si", 0.05, None, "'Si' is not a composition"),
        ({"Si": 1}, 0.05, [], "no measurement"),
        ({"Si": 1}, 0.05, ["gr"], "not a measurement"),
        ({"Ge": 1}, 0.04, None, "measurements[1].edge: Si is not in the composition"),
    ],
)
def test_a_target_keeps_the_rules_of_target_files(composition, density, measurements, words):
    one = [make_measurement("exafs", K, CHI, 0.05, edge="Si K", k_weight=1)]
    with pytest.raises(InputError) as error:
        Target(composition, density, one if measurements is None else measurements)
    assert words in str(error.value)


def test_two_of_one_name_are_refused():
    with pytest.raises(InputError, match="two measurements are called 'xray-sq'"):
        Target({"Si": 1}, 0.05, [make_measurement("xray-sq", Q, Q, 0.1)] * 2)


def test_a_table_that_follows_from_the_composition_is_not_written(tmp_path):
    """A target does not depend on where the package lies; a table that somebody names is kept."""
    measurement = make_measurement("exafs", K, CHI, 0.05, edge="Si K", k_weight=1)
    target = Target(*SILICA, [measurement])
    table = target.measurements[0].settings.table
    assert measurement.settings.table is None and Path(table).is_file()
    assert [f.role for f in target.measurements[0].files] == ["scattering table"]
    assert "table" not in write_target(target, tmp_path / "one").read_text()
    own = tmp_path / "own.safetensors"
    own.write_bytes(Path(table).read_bytes())
    named = Target(*SILICA, [make_measurement("exafs", K, CHI, 0.05, edge="Si K", k_weight=1, table=own)])
    again = load_target(write_target(named, tmp_path / "two"))
    assert again.measurements[0].settings.table == str(own)
    assert {f.role: f.sha256 for f in again.measurements[0].files}["scattering table"] == sha256_file(own)


def test_xanes_from_arrays(tmp_path):
    save_surrogate(tmp_path / "carbon", random_surrogate(), {"system": "aC", "axis": "eV"})
    energies = np.linspace(281, 299, 40)
    measurement = make_measurement("xanes", energies, np.ones(40), 0.1, surrogate=tmp_path / "carbon")
    target = Target({"C": 1}, 0.17, [measurement])
    assert [f.role for f in target.measurements[0].files] == ["surrogate"]
    again = load_target(write_target(target, tmp_path / "target"))
    assert again.measurements[0].settings == target.measurements[0].settings
    with pytest.raises(InputError, match="is for C among C, not for Si"):
        Target({"Si": 1}, 0.05, [measurement])


OPENED: list[str] = []
WATCHING = False


def watch(event, arguments):
    if WATCHING and event == "open" and isinstance(arguments[0], str | Path):
        OPENED.append(str(arguments[0]))


sys.addaudithook(watch)


def test_each_file_is_read_and_hashed_once(tmp_path, write_target, silica, monkeypatch):
    """From the target to the likelihoods of several processes and the lineage: one opening of each measured file."""
    rows = "\n".join(f"{k:.3f} {y:.6f}" for k, y in zip(K, CHI, strict=True))
    (tmp_path / "chi.dat").write_text(f"# k chik\n{rows}\n")
    text = "  - {file: data.csv, kind: xray-sq}\n  - {file: chi.dat, kind: exafs, edge: Si K, k_weight: 1}"
    path = write_target(text=text, system="a-SiO2", composition="{Si: 1, O: 2}", density="0.066")
    monkeypatch.setattr(sys.modules[__name__], "WATCHING", True)
    target = load_target(path)
    for _ in range(3):
        build_likelihood(target, silica)
    entries = measurement_entries(target)
    monkeypatch.setattr(sys.modules[__name__], "WATCHING", False)
    for name in ("data.csv", "chi.dat", "target.yaml"):
        assert OPENED.count(str(tmp_path / name)) == 1, name
    assert [Path(e.file).name for e in entries] == ["data.csv", "chi.dat", "Si-K_O-Si.safetensors"]
    assert [e.sha256 for e in entries[:2]] == [sha256_file(tmp_path / n) for n in ("data.csv", "chi.dat")]
    assert entries[2].sha256 == sha256_file(target.measurements[1].settings.table)
