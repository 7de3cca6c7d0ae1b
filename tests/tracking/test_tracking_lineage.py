"""The record that a structure carries: exact through files, and broken by any change."""

import dataclasses

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from glass_ml.errors import InputError
from glass_ml.files import sha256_file, sha256_text
from glass_ml.provenance.lineage import (
    Lineage,
    lineage_sha256,
    make_lineage,
    measurement_entry,
    model_sha256,
    read_lineage,
    read_stamp,
    stamp,
    structure_sha256,
)
from glass_ml.provenance.project import PACKAGE
from glass_ml.structures.io import read_frames, write_frames

PLAIN = Lineage(
    glass_ml_version="0.1.0",
    git_commit="unknown",
    git_dirty=False,
    code_sha256="ab" * 32,
    system="a-Si",
    model_name="glass-a-Si",
    model_uri="models:/glass-a-Si/3",
    model_sha256="cd" * 32,
    data_path="data",
    data_md5="ef" * 16 + ".dir",
    target_sha256="01" * 32,
    measurements='[{"file":"a b.csv","kind":"gr","name":"g","sha256":"ff","use":"fit"}]',
    params='{"steps":30}',
    params_sha256=sha256_text('{"steps":30}'),
    seed=7,
    torch_version="2.13.0+cpu",
    device="cpu",
)
# What an extended-XYZ reader takes for a number, a truth value or JSON, and what its quoting loses.
HOSTILE = dataclasses.replace(
    PLAIN,
    git_commit="1" * 40,
    git_dirty=True,
    code_sha256="12e45" + "0" * 59,
    system="T",
    model_name="",
    model_uri='C:\\models\\"a b"\'s',
    data_path="données/Å, {x}=[1]",
    measurements='[{"file":"q\\"uote\\\\.csv"},{"file":"line\\nbreak\\t%41"}]',
    params="_JSON [1, 2]",
    device="1, 2 3",
    torch_version="nan",
    target_sha256="%_",
    seed=-(2**80),
)


def random_frames(count=3, seed=0):
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        cell = 5 * np.eye(3) + rng.normal(scale=0.3, size=(3, 3))
        positions = rng.normal(scale=6, size=(7, 3))
        positions[0] = -1e-9  # written as -0.00000000
        frames.append(Atoms("Si4O3", positions=positions, cell=cell, pbc=True))
    return frames


@pytest.mark.parametrize("lineage", [PLAIN, HOSTILE], ids=["plain", "hostile"])
def test_stamps_survive_files(lineage, tmp_path):
    stamped = stamp(random_frames(), lineage, replicas=[4, 0, 2])
    write_frames(tmp_path / "a.extxyz", stamped)
    read = read_frames(tmp_path / "a.extxyz")
    write_frames(tmp_path / "b.extxyz", read)
    for written, once, twice in zip(stamped, read, read_frames(tmp_path / "b.extxyz"), strict=True):
        assert read_stamp(written) == read_stamp(once) == read_stamp(twice)
        assert read_lineage(twice) == lineage
        assert structure_sha256(written) == structure_sha256(twice) == read_stamp(twice).structure_sha256
        assert lineage_sha256(read_stamp(twice)) == read_stamp(twice).lineage_sha256
    assert [read_stamp(atoms).replica for atoms in read] == [4, 0, 2]


def test_info_keys_are_flat_and_prefixed_once():
    atoms = random_frames(1)[0]
    atoms.info = {"energy_of": "kept", "glass_ml_old": "dropped"}
    keys = set(stamp([atoms], PLAIN)[0].info)
    assert {"energy_of", "glass_ml_version", "glass_ml_model_sha256", "glass_ml_replica"} <= keys
    assert not {"glass_ml_old", "glass_ml_glass_ml_version"} & keys
    assert atoms.info == {"energy_of": "kept", "glass_ml_old": "dropped"}


def test_structure_identity_sees_every_change():
    atoms = bulk("Si", cubic=True)
    identity = structure_sha256(atoms)
    moved, swapped, strained, other = (atoms.copy() for _ in range(4))
    moved.positions[3, 1] += 1e-8
    swapped.positions[[0, 1]] = swapped.positions[[1, 0]]
    strained.cell[0, 0] += 1e-8
    other.numbers[0] = 32
    wrapped = atoms.copy()
    wrapped.positions[0] += wrapped.cell.array[0]
    identities = {structure_sha256(a) for a in (moved, swapped, strained, other, wrapped)}
    assert len(identities) == 5 and identity not in identities
    below = atoms.copy()
    below.positions[2] += 4e-9  # under the last decimal that a file keeps
    assert structure_sha256(below) == identity


def test_minus_zero_is_zero():
    one, two = bulk("Si", cubic=True), bulk("Si", cubic=True)
    one.positions[0], two.positions[0] = 0.0, -0.0
    small = one.copy()
    small.positions[0] = -1e-8
    assert structure_sha256(one) == structure_sha256(two) != structure_sha256(small)


def test_reading_is_strict():
    good = stamp(random_frames(1), PLAIN)[0]
    with pytest.raises(InputError, match="carries no glass_ml lineage"):
        read_lineage(Atoms("Si"))
    lacking, extra, wrong = good.copy(), good.copy(), good.copy()
    del lacking.info["glass_ml_seed"]
    extra.info["glass_ml_colour"] = "blue"
    wrong.info["glass_ml_seed"] = "seven"
    for atoms, text in ((lacking, "glass_ml_seed"), (extra, "glass_ml_colour"), (wrong, "type int")):
        with pytest.raises(InputError, match=text):
            read_lineage(atoms)


def test_an_edited_field_breaks_the_checksum():
    atoms = stamp(random_frames(1), PLAIN)[0]
    atoms.info["glass_ml_seed"] = 8
    found = read_stamp(atoms)
    assert lineage_sha256(found) != found.lineage_sha256


def test_model_identity_is_of_both_files(tmp_path):
    for name, text in (("model.json", "{}"), ("model.safetensors", "w")):
        (tmp_path / name).write_text(text)
    sums = [f"{n} {sha256_file(tmp_path / n)}\n" for n in ("model.json", "model.safetensors")]
    identity = model_sha256(tmp_path)
    assert identity == sha256_text("".join(sums))
    (tmp_path / "training").mkdir()
    assert model_sha256(tmp_path) == identity
    (tmp_path / "model.json").write_text("{ }")
    assert model_sha256(tmp_path) != identity
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors is missing"):
        model_sha256(tmp_path)


def test_make_lineage_names_everything(project, tools):
    entry = measurement_entry("sq", "xray-sq", "fit", project / "targets" / "sq.csv")
    assert entry["file"] == "targets/sq.csv" and entry["sha256"] == sha256_file("targets/sq.csv")
    lineage = make_lineage(
        model="models/a-Si",
        model_uri="models/a-Si",
        target="targets/sq.yaml",
        measurements=[entry],
        params={"b": 1, "a": {"c": None}},
        seed=3,
        device="cpu",
    )
    assert lineage.git_commit == tools.git(project, "rev-parse", "HEAD").strip()
    assert (lineage.system, lineage.model_name) == ("a-Si", "glass-a-Si")
    assert lineage.model_sha256 == model_sha256("models/a-Si")
    assert lineage.data_md5 in (project / "data.dvc").read_text()
    assert lineage.params == '{"a":{"c":null},"b":1}' and lineage.params_sha256 == sha256_text(lineage.params)
    assert lineage.target_sha256 == sha256_file("targets/sq.yaml")
    shipped = measurement_entry("table", "exafs", "fit", PACKAGE / "py.typed")
    assert shipped["file"] == "glass_ml/py.typed"
    with pytest.raises(InputError, match="no such measurement"):
        measurement_entry("x", "gr", "fit", "absent.csv")
