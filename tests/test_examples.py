"""The examples run as they stand, with small sizes."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SMALL = {
    "own_spectrum": (["32", "1"], "nfold.Si.4"),
    "joint_inversion": (["36", "1"], "Does it fit?"),
    "forward_model": ([], "first peak of S(Q)"),
    "sweep": (["32", "12"], "T = 1.0: R of the held-out spectrum"),
    "trace": ([str(ROOT / "tests" / "provenance" / "format-1" / "structures.extxyz")], ": gr, gr, sha256"),
}
LONG = ("own_spectrum", "joint_inversion")


def test_every_example_is_tried() -> None:
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == set(SMALL)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in SMALL])
def test_an_example_runs_anywhere(name: str, tmp_path: Path) -> None:
    if not (ROOT / "models" / "a-Si").is_dir() or not (ROOT / "data" / "a-Si").is_dir():
        pytest.skip("needs data and priors: 'dvc pull'")
    arguments, said = SMALL[name]
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / f"{name}.py"), *arguments],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
