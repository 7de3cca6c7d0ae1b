"""The front door for Python: the same structures as the command line, from arrays, anywhere, without a guard."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from small_project import write_quick_recipe, write_target

import glass_ml as gm
from glass_ml.cli.main import main

R = np.linspace(1.0, 5.0, 81)
G = 1 - np.exp(-((R - 2.4) ** 2)) * np.cos(3 * R)
SIZES = {"n": 2, "atoms": 40, "seed": 5}
FEW = {"schedule.steps": 6}


@pytest.fixture
def target() -> gm.Target:
    return gm.Target({"Si": 1}, "2.3 g/cm3", [gm.gr(R, G, sigma=0.05)])


def positions(frames: list) -> np.ndarray:
    return np.concatenate([atoms.positions for atoms in frames])


def test_all_names_are_there_and_documented() -> None:
    assert set(gm.__all__) <= set(dir(gm)) and len(gm.__all__) <= 24
    for name in gm.__all__:
        assert getattr(gm, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gm.nothing


def test_importing_the_package_loads_nothing_else() -> None:
    code = "import sys, glass_ml; print('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_python_gives_the_structures_of_the_command_line(project: Path) -> None:
    write_quick_recipe(project)
    ensemble = gm.invert(gm.load_target("targets/a-Si/target.yaml"), **SIZES, progress=False)
    command = ["invert", "targets/a-Si/target.yaml", "-n", "2", "--atoms", "40", "--seed", "5", "--no-track"]
    assert main([*command, "--out", "by-command"]) == 0
    ensemble.save("by-python")
    files = [ase.io.read(f"{folder}/structures.extxyz", index=":") for folder in ("by-command", "by-python")]
    assert (positions(files[0]) == positions(files[1])).all()
    assert files[0][0].info == files[1][0].info
    assert Path("by-command/spectra.csv").read_text() == Path("by-python/spectra.csv").read_text()
    assert main(["invert", *command[1:], "--out", "by-python"]) == 0  # finished already
    assert np.allclose(positions(ensemble.to_ase()), positions(files[0]), atol=1e-8)


def test_an_ensemble_from_arrays_is_judged_saved_and_traced(project: Path, target: gm.Target) -> None:
    prior = gm.load_prior("models/a-Si")
    ensemble = gm.invert(target, prior=prior, settings=FEW, **SIZES, progress=False)
    table = ensemble.compare().table()
    assert list(table.index) == ["gr"] and table.loc["gr", "points"] == len(R) and table.loc["gr", "R"] > 0
    described = ensemble.describe()
    assert described.loc["density", "mean"] == pytest.approx(target.density, rel=1e-4)
    assert {"mean", "spread"} == set(described.columns) and "coordination.Si" in described.index
    assert "Does it fit?" in ensemble.verdict().text()
    assert len(ensemble.plot().get_axes()) == 2
    assert len(ensemble) == 2 and len(ensemble.to_ase()) == 2
    folder = ensemble.save(project / "mine")
    assert (folder / "report.html").is_file() and (folder / "gr.dat").is_file()
    assert main(["trace", str(folder / "structures.extxyz")]) == 0
    lineage = gm.lineage(ase.io.read(folder / "structures.extxyz", index=0))
    assert lineage == ensemble.lineage and lineage.measurements[0].file == "gr.dat"
    again = gm.load_target(folder / "target.yaml")
    assert again.sha256 == lineage.target_sha256 and again.density == target.density


def test_the_same_seed_whatever_computes(project: Path, target: gm.Target) -> None:
    one, two = (
        gm.invert(target, prior="a-Si", settings=FEW, **SIZES, processes=processes, progress=False)
        for processes in (1, 2)
    )
    assert (one.structures.positions == two.structures.positions).all()
    other = gm.invert(target, prior="a-Si", settings=FEW, **SIZES | {"seed": 6}, progress=False)
    assert not (one.structures.positions == other.structures.positions).all()


SCRIPT = """\
import sys
from dataclasses import replace
import numpy as np
import glass_ml as gm
r = np.linspace(1.0, 5.0, 81)
target = gm.Target({"Si": 1}, 0.05, [gm.gr(r, np.ones_like(r), sigma=0.1)])
print(len(gm.invert(target, prior=sys.argv[1], n=2, atoms=30, settings={"schedule.steps": 4})))
"""


def test_a_plain_script_anywhere_needs_no_guard_and_shows_progress(project: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "script.py").write_text(SCRIPT)
    command = [sys.executable, "script.py", str(project / "models/a-Si")]
    done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True)
    assert done.stdout.strip() == "2", done.stderr
    assert "8/8" in done.stderr
    assert [p.name for p in elsewhere.iterdir()] == ["script.py"]


def test_an_interrupted_inversion_goes_on(project: Path, target: gm.Target, tmp_path: Path) -> None:
    options = {"prior": "a-Si", "settings": FEW, **SIZES, "progress": False}
    whole = gm.invert(target, **options, scratch=tmp_path / "kept")
    (kept,) = (tmp_path / "kept").iterdir()
    first, second = sorted(kept.iterdir())
    second.unlink()
    made = first.stat().st_mtime_ns
    again = gm.invert(target, **options, scratch=tmp_path / "kept")
    assert first.stat().st_mtime_ns == made and (again.structures.positions == whole.structures.positions).all()


def test_a_forward_model_on_atoms_is_that_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    frames = [bulk("Si", cubic=True) * (2, 2, 2), bulk("Si", cubic=True) * (2, 2, 2)]
    frames[1].rattle(0.1, seed=1)
    q = np.linspace(1.0, 10.0, 50)
    found = gm.spectrum(frames, "xray-sq", q)
    assert found.shape == (2, 50) and not np.allclose(found[0], found[1])
    ase.io.write(tmp_path / "frames.extxyz", frames)
    assert np.allclose(gm.spectrum(tmp_path / "frames.extxyz", "xray-sq", q), found, atol=1e-6)
    command = ["spectrum", str(tmp_path / "frames.extxyz"), "--kind", "xray-sq", "--x-min", "1", "--x-max", "10"]
    assert main([*command, "--points", "50"]) == 0
    rows = np.loadtxt(capsys.readouterr().out.splitlines(), delimiter=",")
    assert np.allclose(rows[:, 1], found.mean(axis=0), rtol=1e-6)
    assert gm.describe(frames[0]).loc["coordination.Si", "mean"] == 4


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda t: gm.gr(R, G[:-1], sigma=0.1), "shape"),
        (lambda t: gm.gr(R, G * np.nan, sigma=0.1), "not a number"),
        (lambda t: gm.gr(R[::-1], G, sigma=0.1), "ascend"),
        (lambda t: gm.gr(R, G, sigma=0.0), "above 0"),
        (lambda t: gm.gr(R, G, sigma=0.1, edge="Si K"), "no meaning"),
        (lambda t: gm.measurement("sq", R, G, sigma=0.1), "unknown kind"),
        (lambda t: gm.Target({"Si": 1}, "2.3 kg", [gm.gr(R, G, sigma=0.1)]), "unit"),
        (lambda t: gm.Target({"Si": 1}, 0.05, []), "no measurement"),
        (lambda t: gm.invert(t), "neither a prior"),
        (lambda t: gm.invert(t, prior="a-Xx"), "no prior"),
        (lambda t: gm.invert(t, prior="a-Si", n=0, settings=FEW), "0 structures"),
        (lambda t: gm.invert(t, prior="a-Si", settings={"steps": 3}), "no setting"),
        (lambda t: gm.spectrum(bulk("Si"), "gr", [2.0, 1.0]), "ascending"),
        (lambda t: gm.lineage(bulk("Si")), "lineage"),
    ],
)
def test_what_cannot_be_used_is_said_before_anything_is_computed(project: Path, target, call, what) -> None:
    with pytest.raises(gm.InputError, match=what):
        call(target)


def test_saving_over_other_files_is_refused(project: Path, target: gm.Target) -> None:
    write_target(project / "mine")  # somebody else's target.yaml
    ensemble = gm.invert(target, prior="a-Si", settings=FEW, **SIZES, progress=False)
    with pytest.raises(gm.InputError, match="overwritten"):
        ensemble.save(project / "mine")


def test_a_copy_of_a_target_with_other_values_is_another_target(project: Path) -> None:
    """What is computed, recorded and saved is the copy, not the file that it was read from."""
    write_quick_recipe(project)
    read = gm.load_target("targets/a-Si/target.yaml")
    options = {**SIZES, "n": 1, "settings": FEW, "progress": False}
    first = gm.invert(read, **options)
    other = gm.invert(replace(read, density=0.04), **options)
    assert float(other.structures.density[0]) == pytest.approx(0.04, rel=1e-5)
    assert other.lineage.target_sha256 != first.lineage.target_sha256 == read.sha256
    assert gm.load_target(other.save("other") / "target.yaml").density == 0.04


def test_every_frame_has_the_spectrum_that_it_has_alone() -> None:
    """Functions of Q end at half a cell: that of the frame itself."""
    small, large = bulk("Si", cubic=True) * (2, 2, 2), bulk("Si", cubic=True) * (3, 3, 3)
    q = np.linspace(1.0, 10.0, 40)
    together = gm.spectrum([small, large], "xray-sq", q)
    assert np.allclose(together[1], gm.spectrum(large, "xray-sq", q)[0], atol=1e-12)
    assert not np.allclose(together[0], together[1], atol=1e-3)


@pytest.mark.parametrize(
    "options",
    [{"n": 1.5}, {"n": True}, {"atoms": "216"}, {"seed": "x"}, {"processes": 0}, {"settings": "x"}, {"settings": [1]}],
)
def test_numbers_that_are_none(project: Path, target: gm.Target, options) -> None:
    with pytest.raises(gm.InputError):
        gm.invert(target, prior="a-Si", **{**SIZES, "settings": FEW, **options}, progress=False)


def test_a_target_that_only_validates_samples_the_prior(project: Path) -> None:
    held_out = gm.Target({"Si": 1}, 0.05, [gm.gr(R, G, sigma=0.1, use="validate")])
    ensemble = gm.invert(held_out, prior="a-Si", settings=FEW, **SIZES, progress=False)
    assert "Nothing was fitted" in ensemble.verdict().text()
