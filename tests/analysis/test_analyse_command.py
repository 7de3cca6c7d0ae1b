"""glass-ml analyse: the table, the files, and one line for every wrong input."""

import csv
import json

import pytest
from ase.build import bulk
from test_shells_and_angles import cristobalite, noisy

from glass_ml.cli.main import main
from glass_ml.structures.io import write_frames


@pytest.fixture
def silicon(tmp_path):
    path = tmp_path / "silicon.extxyz"
    write_frames(path, [noisy(bulk("Si", cubic=True) * (2, 2, 2), 0.05, seed) for seed in range(2)])
    return path


@pytest.fixture
def silica(tmp_path):
    path = tmp_path / "silica.extxyz"
    write_frames(path, [cristobalite()])
    return path


def test_the_table_sets_files_side_by_side(silicon, silica, capsys):
    assert main(["analyse", str(silicon), str(silica)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["silicon.extxyz", "silica.extxyz", "unit"]
    table = {line.split()[0]: line.split()[1:] for line in lines[1:]}
    assert table["nfold.Si.4"] == ["100.0", "±", "0.0", "100.0", "±", "0.0", "%"]
    assert table["nfold.O.2"] == ["-", "100.0", "±", "0.0", "%"]


def test_json_has_every_structure_and_the_summary(silicon, capsys):
    assert main(["analyse", str(silicon), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)[str(silicon)]
    assert len(found["values"]["rings.6"]) == 2
    assert found["summary"]["rings.6"]["mean"] == pytest.approx(2.0)


def test_cutoffs_and_leaving_rings_out(silica, capsys):
    assert main(["analyse", str(silica), "--json", "--no-rings", "--cutoff", "Si-O=1.0"]) == 0
    found = json.loads(capsys.readouterr().out)[str(silica)]["summary"]
    assert found["coordination.Si"]["mean"] == 0.0
    assert "rings.6" not in found


def test_files_for_other_programs(silicon, tmp_path, capsys):
    table, document = tmp_path / "out.csv", tmp_path / "out.json"
    assert main(["analyse", str(silicon), "--out", str(table)]) == 0
    assert main(["analyse", str(silicon), "--out", str(document)]) == 0
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    values = json.loads(document.read_text())[str(silicon)]["values"]
    assert [row["structure"] for row in rows] == ["0", "1"]
    assert [float(row["angle.Si-Si-Si.spread"]) for row in rows] == values["angle.Si-Si-Si.spread"]


@pytest.mark.parametrize(
    "options",
    [
        ["--cutoff", "Si-Si"],
        ["--cutoff", "Si-Si=x"],
        ["--cutoff", "Si-Ge=2"],
        ["--cutoff", "Si-Si=-1"],
        ["--out", "a.txt"],
    ],
)
def test_wrong_options_are_one_line(silicon, options, capsys):
    assert main(["analyse", str(silicon), *options]) == 2
    message = [line for line in capsys.readouterr().err.splitlines() if line.startswith("glass-ml:")]
    assert len(message) == 1


def test_a_missing_file_is_one_line(tmp_path, capsys):
    assert main(["analyse", str(tmp_path / "none.extxyz")]) == 2
    assert "no such file" in capsys.readouterr().err
