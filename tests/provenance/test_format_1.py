"""Files of the first form, whose lineage.json holds JSON in its texts: read, verified and made again as ever."""

import json
import shutil
from pathlib import Path

import pytest

from glass_ml.cli.main import main
from glass_ml.errors import InputError
from glass_ml.files import sha256_file
from glass_ml.provenance import reproduce
from glass_ml.provenance.lineage import (
    flat,
    lineage_sha256,
    load_lineage,
    measurements_of,
    measurements_text,
    read_stamp,
    stamp,
    write_lineage,
)
from glass_ml.provenance.models import Measured
from glass_ml.provenance.verify import lineages_of, verify
from glass_ml.structures.io import read_frames

FROZEN = Path(__file__).with_name("format-1")


@pytest.fixture
def old(tmp_path, monkeypatch):
    """The frozen inversion as it lay in its project, without the history."""
    project = tmp_path / "project"
    shutil.copytree(FROZEN, project / "out")
    shutil.move(project / "out" / "models", project / "models")
    (project / "targets" / "a-Si").mkdir(parents=True)
    for name in ("gr.csv", "sq.csv", "target.yaml"):
        shutil.copy(FROZEN / name, project / "targets" / "a-Si")
    (project / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.chdir(project)
    return project


def test_it_is_read_and_its_checksums_stay(tmp_path):
    frames = read_frames(FROZEN / "structures.extxyz")
    stamps = [read_stamp(atoms) for atoms in frames]
    lineage = load_lineage(FROZEN)
    assert [found.lineage for found in stamps] == [lineage] * 2
    assert list(lineages_of(FROZEN / "structures.extxyz")) == [lineage]
    assert lineage.measurements == (
        Measured("gr", "gr", "fit", "targets/a-Si/gr.csv", sha256_file(FROZEN / "gr.csv")),
        Measured("sq", "xray-sq", "validate", "targets/a-Si/sq.csv", sha256_file(FROZEN / "sq.csv")),
    )
    assert lineage.params["sampling"]["schedule"]["steps"] == 6 and lineage.params["n_atoms"] == 24
    assert flat(lineage) == json.loads((FROZEN / "lineage.json").read_text())
    for atoms, found in zip(frames, stamps, strict=True):
        assert lineage_sha256(found) == found.lineage_sha256
        (again,) = stamp([atoms], lineage, [found.replica])
        assert again.info == atoms.info
    write_lineage(tmp_path / "lineage.json", lineage)
    written = json.loads((tmp_path / "lineage.json").read_text())
    assert written["params"]["n_structures"] == 2 and written["measurements"][1]["role"] == "data"
    assert load_lineage(tmp_path) == lineage


def test_roles_stand_behind_the_name_in_the_flat_form():
    table = Measured("Si K", "exafs", "fit", "glass_ml/observables/tables/Si.json", "a" * 64, "scattering table")
    entry = {"file": table.file, "kind": "exafs", "name": "Si K: scattering table", "sha256": "a" * 64, "use": "fit"}
    text = json.dumps([entry], separators=(",", ":"))
    assert measurements_text((table,)) == text and measurements_of(text) == (table,)


@pytest.mark.parametrize("field", ["measurements", "params"])
def test_a_text_that_is_not_as_it_was_written(tmp_path, field):
    """The same content in other letters is an edit."""
    record = json.loads((FROZEN / "lineage.json").read_text())
    record[field] = record[field].replace(":", ": ", 1)
    (tmp_path / "lineage.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="not as it was written"):
        load_lineage(tmp_path)
    record[field] = "{"
    (tmp_path / "lineage.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="cannot be read"):
        load_lineage(tmp_path)


def test_it_is_verified(old):
    found = {check.name: check.status for check in verify("out/structures.extxyz")}
    here = {name for name, status in found.items() if status == "ok"}
    assert here >= {
        "structure",
        "lineage",
        "lineage.json",
        "params",
        "target",
        "measurement gr",
        "measurement sq",
        "model",
    }
    assert set(found.values()) == {"ok", "not verified"}
    Path("targets/a-Si/gr.csv").write_text("1,2\n")
    changed = [check.name for check in verify("out/structures.extxyz") if check.status == "changed"]
    assert changed == ["measurement gr"]


@pytest.mark.slow
def test_it_is_made_again(old, monkeypatch, capfd):
    """By the code here, taken for that of then; other processors may change the last digits."""
    lineage = load_lineage("out")
    monkeypatch.setattr(reproduce, "code_sha256", lambda: lineage.code_sha256)
    shutil.move("out/structures.extxyz", "alone.extxyz")
    shutil.rmtree("out")
    assert main(["reproduce", "alone.extxyz", "--json"]) in (0, 1)
    (done,) = json.loads(capfd.readouterr().out)["reproductions"]
    assert [c["replica"] for c in done["compared"]] == [0, 1]
    assert max(c["displacement"] for c in done["compared"]) < 1e-4
