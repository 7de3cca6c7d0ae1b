"""The package as a wheel: complete, and at work in an empty folder with nothing but an exported model."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from small_project import write_target

import glass_ml
from glass_ml.cli.main import main
from glass_ml.structures.io import read_structures
from glass_ml.tracking.registry import register_prior

ROOT = Path(__file__).parents[1]
SMALL = ("-n", "1", "--atoms", "40", "--seed", "3", "--processes", "1")
MODEL = "models:/glass-a-Si/1"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this working tree; built of a copy, as a build leaves its files beside the sources."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "glass_ml", source / "glass_ml", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    line = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--quiet", "--wheel-dir", "dist"]
    subprocess.run(line, cwd=source, check=True)
    return next((source / "dist").glob("glass_ml-*.whl"))


@pytest.mark.slow
def test_the_wheel_has_every_file_of_the_package(wheel):
    files = (p for p in (ROOT / "glass_ml").rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    packed = zipfile.ZipFile(wheel).namelist()
    assert {p.relative_to(ROOT).as_posix() for p in files} == {name for name in packed if "dist-info" not in name}
    assert wheel.name.startswith(f"glass_ml-{glass_ml.__version__}-")


@pytest.mark.slow
def test_an_exported_model_inverts_by_the_wheel_as_in_its_project(wheel, project, tmp_path):
    register_prior("models/a-Si", system="a-Si")
    assert main(["models", "export", "glass-a-Si", "1", "--out", str(tmp_path / "a-Si.glass")]) == 0
    assert main(["invert", "targets/a-Si/target.yaml", "--model", MODEL, "--out", "here", *SMALL]) == 0

    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(install, env=environment, check=True)
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))  # what it depends on is here already
    elsewhere = tmp_path / "elsewhere"
    write_target(elsewhere)

    def run(*line: str) -> str:
        glass = tmp_path / "venv" / "bin" / "glass-ml"
        done = subprocess.run([glass, *line], cwd=elsewhere, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    where = [python, "-c", "import glass_ml; print(glass_ml.__file__)"]
    found = subprocess.run(where, cwd=elsewhere, env=environment, capture_output=True, text=True, check=True).stdout
    assert found.startswith(str(site))
    assert run("--version") == f"glass-ml {glass_ml.__version__}\n"
    run("models", "import", str(tmp_path / "a-Si.glass"))
    run("invert", "target.yaml", "--model", MODEL, "--out", "there", *SMALL)
    run("trace", "there/structures.extxyz")
    there, here = read_structures(elsewhere / "there" / "structures.extxyz"), read_structures("here/structures.extxyz")
    assert (there.positions == here.positions).all()
    assert (elsewhere / "there" / "report.html").stat().st_size > 100_000
