"""Imports run one way, and the science runs without the platform."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import glass_ml

ROOT = Path(glass_ml.__file__).parent
BASE = {"units", "config", "errors", "files"}
LIGHT = BASE | {"settings"}
PLATFORM = {"execution", "provenance", "tracking", "tuning", "stages"}
SCIENCE = {"structures", "observables", "measurements", "sampling", "analysis"}
ALLOWED = {
    "settings": BASE,
    "structures": BASE,
    "observables": LIGHT | {"structures"},
    "measurements": LIGHT | {"structures", "observables"},
    "sampling": LIGHT | {"structures", "observables", "measurements"},
    "execution": LIGHT | {"structures", "observables", "measurements", "sampling"},
    "analysis": LIGHT | SCIENCE,
    "simulation": {"units", "errors", "files", "structures"},
    "priors": LIGHT | {"structures"},
    "surrogates": LIGHT | {"structures", "observables", "priors"},
}
LIGHTNING = {
    "priors/module.py",
    "priors/datamodule.py",
    "priors/training.py",
    "surrogates/module.py",
    "surrogates/training.py",
}


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports anywhere, lazily too, with the names taken from glass_ml itself."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            found |= {f"glass_ml.{alias.name}" for alias in node.names} if module == "glass_ml" else {module}
    return found


MODULES = {path.relative_to(ROOT).as_posix(): imports_of(path) for path in sorted(ROOT.rglob("*.py"))}


def rooms_of(imports: set[str]) -> set[str]:
    return {name.split(".")[1] for name in imports if name.startswith("glass_ml.")} - {"__version__"}


def test_the_walk_over_the_package_sees_its_rooms():
    assert {path.split("/")[0] for path in MODULES if "/" in path} >= {*ALLOWED, "tracking", "stages", "cli"}
    assert rooms_of(MODULES["sampling/run.py"]) >= {"measurements", "structures", "settings"}
    assert any(name.startswith("pytorch_lightning") for name in MODULES["priors/module.py"])


@pytest.mark.parametrize("room", ALLOWED)
def test_imports_run_one_way(room):
    for path, imports in MODULES.items():
        if path.startswith(f"{room}/"):
            outside = rooms_of(imports) - ALLOWED[room] - {room}
            assert not outside, f"{path} imports {outside}"


def test_the_base_imports_nothing_above_it():
    for name in BASE:
        assert rooms_of(MODULES[f"{name}.py"]) <= BASE


def test_nothing_imports_the_command_line():
    for path, imports in MODULES.items():
        if not path.startswith("cli/"):
            assert "cli" not in rooms_of(imports), path


def test_lightning_stays_in_training():
    for path, imports in MODULES.items():
        if path not in LIGHTNING and path.split("/")[0] not in PLATFORM:
            named = {name.split(".")[0] for name in imports}
            assert not named & {"pytorch_lightning", "lightning"}, path


def test_the_platform_stays_in_its_rooms():
    for path, imports in MODULES.items():
        if path.split("/")[0] not in PLATFORM:
            named = {name.split(".")[0] for name in imports}
            assert not named & {"mlflow", "dvc", "optuna", "wandb"}, path


def test_files_stay_short():
    lengths = {path: len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert max(lengths.values()) < 400, max(lengths, key=lambda path: lengths[path])


def test_inversion_runs_without_the_platform():
    """A fresh interpreter with the sampler and a prior has loaded no training or tracking library."""
    code = (
        "import sys, glass_ml.sampling.run, glass_ml.priors.checkpoint, glass_ml.cli.main\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}"
        " & {'pytorch_lightning', 'lightning', 'mlflow', 'dvc', 'optuna', 'wandb', 'matplotlib'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_settings_are_light():
    """A fresh interpreter that has read params.yaml has loaded neither torch nor a library of the platform."""
    code = (
        "import sys, glass_ml.settings.recipe\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}"
        " & {'torch', 'numpy', 'ase', 'pytorch_lightning', 'mlflow', 'dvc', 'optuna', 'wandb', 'matplotlib'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
