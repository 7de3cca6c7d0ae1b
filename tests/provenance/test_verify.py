"""Tracing a structure: every change is found and named, and what is out of reach is never called ok."""

import json
import shutil
from dataclasses import replace

import pytest
from ase.io import read, write

from glass_ml.cli.main import main
from glass_ml.errors import InputError
from glass_ml.provenance import verify as verification
from glass_ml.provenance.data import data_identity, folder_entries
from glass_ml.provenance.lineage import read_lineage, stamp
from glass_ml.structures.io import read_frames, write_frames
from glass_ml.tracking.registry import register_prior, resolve_model
from glass_ml.tracking.versions import records_of

SHARED = {"lineage.json", "params", "seed", "target", "measurement sq", "model", "data", "git commit", "code"}
OWN = {"structure", "lineage", "duplicates"}


@pytest.fixture
def inversion(project, tools):
    return tools.write_inversion(project / "out" / "one")


def verify(path, project=None):
    """Every check, as `glass-ml trace` makes them: with the registry."""
    root = project or verification.find_project(path)
    return verification.verify(path, root, records_of(root) if root else None)


def statuses(path, **options):
    """The worst status of each check."""
    found = {}
    for check in verify(path, **options):
        order = ("ok", "not verified", "changed")
        found[check.name] = max(found.get(check.name, "ok"), check.status, key=order.index)
    return found


def only_changed(path, name, detail=""):
    checks = [c for c in verify(path) if c.status != "ok"]
    assert {(c.name, c.status) for c in checks} == {(name, "changed")}, checks
    assert detail in checks[0].detail, checks
    return checks


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_untouched_is_ok(inversion):
    checks = verify(inversion / "structures.extxyz")
    assert {c.name for c in checks} == SHARED | OWN
    assert {c.status for c in checks} == {"ok"}
    assert len(checks) == len(SHARED | OWN) and {c.frames for c in checks} == {(0, 1, 2)}


def test_moved_atom_is_named(inversion):
    path = inversion / "structures.extxyz"
    frames = read_frames(path)
    frames[1].positions[4, 2] += 1e-6
    write_frames(path, frames)
    (check,) = only_changed(path, "structure", "replica 1")
    assert check.frames == (1,)


def test_edited_field_is_named(inversion):
    path = inversion / "structures.extxyz"
    path.write_text(path.read_text().replace("glass_ml_seed=1 ", "glass_ml_seed=2 ", 1))
    found = {c.name: c for c in verify(path) if c.status == "changed"}
    assert set(found) == {"lineage", "lineage.json"} and found["lineage"].frames == (0,)


def test_doubled_and_foreign_frames(inversion, tools):
    path = inversion / "structures.extxyz"
    frames = read_frames(path)
    write_frames(path, [*frames, frames[0]])
    (check,) = only_changed(path, "duplicates", "0, 3")
    assert check.frames == (0, 3)
    bare = frames[0].copy()
    bare.info = {}
    write_frames(path, [*frames, bare])
    (check,) = only_changed(path, "lineage", "carries no glass_ml lineage")
    assert check.frames == (3,)
    write_frames(path, [bare])
    with pytest.raises(InputError, match="no frame carries"):
        verify(path)
    other = tools.write_inversion("out/two", seed=2) / "structures.extxyz"
    write_frames("merged.extxyz", [*frames, *read_frames(other)])
    assert {c.frames for c in verify("merged.extxyz") if c.name == "seed"} == {(0, 1, 2), (3, 4, 5)}


def test_one_byte_of_the_prior(inversion, project):
    flip(project / "models" / "a-Si" / "model.safetensors")
    only_changed(inversion / "structures.extxyz", "model", "is not the recorded prior")


def test_one_byte_of_the_prior_beside_an_intact_copy(inversion, project, store):
    """The registry's copy says which file it is; it does not hide the change."""
    register_prior("models/a-Si", system="a-Si", store=store)
    assert statuses(inversion / "structures.extxyz")["model"] == "ok"
    flip(project / "models" / "a-Si" / "model.safetensors")
    (check,) = only_changed(inversion / "structures.extxyz", "model", "model.safetensors changed (intact:")
    assert "model.json" not in check.detail


def test_registered_prior_is_found_by_content(project, store, tools):
    done = register_prior("models/a-Si", system="a-Si", store=store)
    folder = resolve_model(done.uri, store=store).folder
    path = tools.write_inversion("out/one", model_uri=done.uri, model=folder) / "structures.extxyz"
    tools.write_prior("models/a-Si", seed=1)
    register_prior("models/a-Si", system="a-Si", store=store)
    assert statuses(path)["model"] == "ok"  # a newer version in models/ is another model, not a damaged one
    flip(folder / "model.json")
    only_changed(path, "model", str(folder))
    shutil.rmtree(folder)
    shutil.rmtree(project / "models")
    assert statuses(path)["model"] == "not verified"


def test_data(inversion, project):
    path = inversion / "structures.extxyz"
    cache = project / ".dvc" / "cache" / "files" / "md5"
    md5 = json.loads((inversion / "lineage.json").read_text())["data_md5"]
    (cache / md5[:2]).mkdir(parents=True)
    (cache / md5[:2] / md5[2:]).write_text(json.dumps(folder_entries(project / "data")))
    flip(project / "data" / "a-Si" / "low.extxyz")
    (check,) = only_changed(path, "data", "has changed: a-Si/low.extxyz")
    assert "card.json" not in check.detail
    flip(project / "data" / "a-Si" / "low.extxyz")
    (project / "data" / "a-Si" / "extra").write_text("")
    only_changed(path, "data", "a-Si/extra")
    (project / "data" / "a-Si" / "extra").unlink()
    record = project / "data.dvc"
    record.write_text(record.read_text().replace(md5, "0" * 32 + ".dir"))
    # The record is a tracked file, so the tree has changed; what is traced is the commit, which is there.
    only_changed(path, "data", "another version")


def test_part_of_the_data(project, tools):
    part = data_identity("data/a-Si")
    tools.write_prior("models/a-Si", data_path=part.path, data_md5=part.md5)
    path = tools.write_inversion("out/one") / "structures.extxyz"
    (project / "data" / "another-system").write_text("not a part of it\n")
    assert statuses(path)["data"] == "ok"
    flip(project / "data" / "a-Si" / "low.extxyz")
    only_changed(path, "data", "data/a-Si has changed")


def test_measurement_and_target(inversion, project):
    path = inversion / "structures.extxyz"
    flip(project / "targets" / "sq.csv")
    only_changed(path, "measurement sq", "targets/sq.csv has changed")
    (project / "targets" / "sq.csv").unlink()
    assert statuses(path)["measurement sq"] == "not verified"
    (inversion / "sq.csv").write_text("1.0,0.5\n1.1,0.6\n")  # beside the structures
    assert statuses(path)["measurement sq"] == "ok"
    flip(inversion / "target.yaml")
    only_changed(path, "target")


def test_params(inversion):
    path = inversion / "structures.extxyz"
    frames = read_frames(path)
    for atoms in frames:
        atoms.info["glass_ml_params"] = atoms.info["glass_ml_params"].replace("30", "31")
    write_frames(path, frames)
    assert {c.name for c in verify(path) if c.status == "changed"} == {"params", "lineage", "lineage.json"}


def test_code(inversion, project, tools, monkeypatch):
    path = inversion / "structures.extxyz"
    monkeypatch.setattr(verification, "code_sha256", lambda: "0" * 64)
    assert statuses(path)["code"] == "not verified"  # this repository does not hold the package
    recorded = json.loads((inversion / "lineage.json").read_text())["code_sha256"]
    monkeypatch.setattr(verification, "code_sha256_at", lambda root, commit: recorded)
    assert statuses(path)["code"] == "ok"
    monkeypatch.setattr(verification, "code_sha256_at", lambda root, commit: "1" * 64)
    only_changed(path, "code")
    shutil.rmtree(project / ".git")
    found = statuses(path)
    assert found["git commit"] == found["code"] == "not verified"


def test_copied_elsewhere(inversion, tmp_path, monkeypatch):
    """Without a project, what the structure carries is verified and the rest is not."""
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(inversion / "structures.extxyz", alone)
    monkeypatch.chdir(alone)
    monkeypatch.setattr(verification, "PACKAGE", alone)
    found = statuses("structures.extxyz")
    assert {name for name, status in found.items() if status == "ok"} == OWN | {"params", "seed", "code"}
    assert {status for status in found.values()} == {"ok", "not verified"}
    assert main(["trace", "structures.extxyz"]) == 0
    frames = read("structures.extxyz", index=":")
    frames[2].positions[0, 0] += 0.001
    write("structures.extxyz", frames)
    assert main(["trace", "structures.extxyz"]) == 1


def test_trace_from_another_folder_against_a_project(inversion, project, tmp_path, monkeypatch, capsys, tools):
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(inversion / "structures.extxyz", alone)
    monkeypatch.chdir(alone)
    flip(project / "models" / "a-Si" / "model.json")
    assert main(["trace", "structures.extxyz", "--project", str(project), "--json"]) == 1
    document = tools.run_json(capsys)
    assert document["verdict"] == "changed" and document["lineage"][0]["system"] == "a-Si"
    assert [c["name"] for c in document["checks"] if c["status"] == "changed"] == ["model"]


def test_trace_prints_for_people(inversion, project, capsys):
    assert main(["trace", str(inversion / "structures.extxyz")]) == 0
    text = capsys.readouterr().out
    assert text.rstrip().endswith("all verified") and "seed 1" not in text.splitlines()[0]
    assert "structure       ok  3 of 3 as made" in text
    flip(project / "models" / "a-Si" / "model.safetensors")
    assert main(["trace", str(inversion / "structures.extxyz")]) == 1
    text = capsys.readouterr().out
    assert "model           CHANGED" in text and text.rstrip().endswith("CHANGED")


@pytest.mark.parametrize("content", [None, "not a structure\n", ""])
def test_trace_of_no_structure_is_the_users_fault(project, content, capsys):
    if content is not None:
        (project / "x.extxyz").write_text(content)
    assert main(["trace", "x.extxyz"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_data_outside_the_project_are_not_read(inversion, project, tmp_path):
    """A file from elsewhere may name any folder; only the project's own is looked into."""
    frames = read_frames(inversion / "structures.extxyz")
    lineage = replace(read_lineage(frames[0]), data_path="/", system="a\x1b]0;owned\x07")
    write_frames(tmp_path / "foreign.extxyz", stamp(frames, lineage))
    found = {check.name: check for check in verification.verify(tmp_path / "foreign.extxyz", project)}
    assert found["data"].status == "not verified" and "outside the project" in found["data"].detail


def test_trace_shows_nothing_that_a_terminal_obeys(inversion, project, tmp_path, capsys):
    frames = read_frames(inversion / "structures.extxyz")
    lineage = replace(read_lineage(frames[0]), system="a\x1b]0;owned\x07")
    write_frames(tmp_path / "foreign.extxyz", stamp(frames, lineage))
    main(["trace", str(tmp_path / "foreign.extxyz")])
    assert "\x1b" not in (text := capsys.readouterr().out) and "a?]0;owned?" in text
