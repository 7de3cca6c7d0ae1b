"""Bad input: exit status 2, one clear line on stderr, nothing written."""

import json
import pickle
from pathlib import Path

import pytest
from small_project import write_material

from glass_ml.cli.main import main

TARGET = "targets/a-Si/target.yaml"


class Malice:
    """Runs a command when unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


def replace(old: str, new: str):
    def change() -> None:
        text = Path(TARGET).read_text()
        assert old in text
        Path(TARGET).write_text(text.replace(old, new))

    return change


def spoil(text: str, file: str = "targets/a-Si/gr.csv"):
    return lambda: Path(file).write_text(text)


def swap_rows() -> None:
    rows = Path("targets/a-Si/gr.csv").read_text().splitlines()
    rows[3], rows[9] = rows[9], rows[3]
    Path("targets/a-Si/gr.csv").write_text("\n".join(rows))


def truncate_weights() -> None:
    path = Path("models/a-Si/model.safetensors")
    path.write_bytes(path.read_bytes()[:-50])


def pickle_weights() -> None:
    Path("models/a-Si/model.safetensors").write_bytes(pickle.dumps(Malice()))


def newer_format() -> None:
    path = Path("models/a-Si/model.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 99}))


CASES = {
    "missing target": ([], lambda: Path(TARGET).unlink(), "no such file"),
    "missing data": ([], lambda: Path("targets/a-Si/gr.csv").unlink(), "gr.csv"),
    "a file of text": ([], spoil("once upon a time\nthere was glass\n"), "gr.csv"),
    "NaN rows": ([], spoil("1 0.1\n2 nan\n3 1.2\n4 1\n"), "gr.csv"),
    "unsorted x": ([], swap_rows, "gr.csv"),
    "range outside the data": ([], replace("broadening: 0.1", "x_range: [1.0, 60.0]"), "x_range"),
    "unknown kind": ([], replace("kind: gr,", "kind: rdf,"), "rdf"),
    "unknown element": ([], replace("{Si: 1}", "{Ge: 1}"), "Ge"),
    "no element": ([], replace("{Si: 1}", "{Sy: 1}"), "Sy"),
    "zero density": ([], replace("0.05\n", "0\n"), "density"),
    "negative density": ([], replace("0.05\n", "-0.05\n"), "density"),
    "density ten times too high": ([], replace("0.05\n", "0.5\n"), "density"),
    "density in words": ([], replace("0.05\n", "dense\n"), "density"),
    "unknown key": ([], replace("composition:", "compositon:"), "did you mean 'composition'"),
    "unknown key of a measurement": ([], replace("sigma: 0.05, broad", "sigm: 0.05, broad"), "did you mean 'sigma'"),
    "not YAML": ([], spoil("a: [1\nb: }", TARGET), "target.yaml"),
    "truncated weights": ([], truncate_weights, "model.safetensors"),
    "malicious weights": ([], pickle_weights, "model.safetensors"),
    "newer format": ([], newer_format, "format version 99"),
    "card of text": ([], spoil("hello", "models/a-Si/model.json"), "model.json"),
    "no such model": (["--model", "models/none"], None, "models/none"),
    "no such registered model": (["--model", "models:/glass-none@production"], None, "glass-none"),
    "zero replicas": (["-n", "0"], None, "structures"),
    "negative replicas": (["-n", "-2"], None, "structures"),
    "zero atoms": (["--atoms", "0"], None, "atoms"),
    "zero processes": (["--processes", "0"], None, "processes"),
    "output is a file": (["--out", "dvc.yaml"], None, "dvc.yaml"),
    "unwritable output": (["--out", "/proc/out"], None, "/proc"),
    "unknown parameter": (
        [],
        lambda: write_material(Path(), "{target: {reference: x}, sampling: {stepz: 1}}"),
        "materials/a-Si.yaml: sampling: unknown key 'stepz'",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case: str, project: Path, capsys: pytest.CaptureFixture) -> None:
    arguments, spoiled, names = CASES[case]
    if spoiled:
        spoiled()
    before = sorted(project.rglob("*"))
    status = main(["invert", TARGET, "--no-track", "-n", "1", "--atoms", "30", "--out", "out", *arguments])
    captured = capsys.readouterr()
    assert status == 2, captured.err
    assert captured.out == ""
    assert captured.err.count("\n") == 1 and names in captured.err, captured.err
    assert "Traceback" not in captured.err
    left = [p for p in project.rglob("*") if p not in before and ".git" not in p.parts and p.name != "mlruns"]
    assert not [p for p in left if p.is_file() and "mlruns" not in p.parts], left
    assert not Path("executed").exists()
