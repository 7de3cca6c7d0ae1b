"""Structure files: round trips, and every malformed file is the user's to mend."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.io import write

from glass_ml.errors import InputError
from glass_ml.structures.io import from_atoms, read_frames, read_structures, to_atoms, write_frames


def frames() -> list[Atoms]:
    silicon = bulk("Si", "diamond", a=5.43)
    silicon.positions += np.random.default_rng(0).normal(scale=3.0, size=silicon.positions.shape)
    return [silicon, bulk("NaCl", "rocksalt", a=5.64, cubic=True)]


def test_atoms_to_batch_and_back():
    original = frames()
    batch = from_atoms(original)
    assert batch.numbers.tolist() == [14, 14, 11, 17, 11, 17, 11, 17, 11, 17]
    assert batch.system.tolist() == [0, 0] + [1] * 8
    for before, after in zip(original, to_atoms(batch), strict=True):
        before.wrap()
        np.testing.assert_allclose(after.positions, before.positions, atol=1e-12)
        np.testing.assert_array_equal(after.cell.array, before.cell.array)
        assert after.pbc.all() and (after.numbers == before.numbers).all()


def test_file_round_trip_keeps_structures_and_info(tmp_path):
    atoms = to_atoms(from_atoms(frames()))
    atoms[0].info["glass_ml_model_sha256"] = "ab" * 32
    path = tmp_path / "deep" / "structures.extxyz"
    write_frames(path, atoms)
    read = read_frames(path)
    assert read[0].info["glass_ml_model_sha256"] == "ab" * 32
    torch.testing.assert_close(read_structures(path).positions, from_atoms(atoms).positions, rtol=0, atol=1e-8)
    torch.testing.assert_close(read_structures(path).cell, from_atoms(atoms).cell, rtol=0, atol=1e-8)
    assert [p.name for p in path.parent.iterdir()] == ["structures.extxyz"]


def test_a_failing_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "structures.extxyz"
    write_frames(path, frames())
    before = path.read_bytes()
    with pytest.raises(AttributeError):
        write_frames(path, [*frames(), "not atoms"])  # type: ignore[list-item]
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_frames(tmp_path / "none.extxyz")


@pytest.mark.parametrize("name", ["prose.txt", "prose.extxyz", "prose.cif", "POSCAR"])
def test_text_is_not_a_structure(tmp_path, name):
    path = tmp_path / name
    path.write_text("It was a dark and stormy night;\nthe rain fell in torrents.\n")
    with pytest.raises(InputError, match=name):
        read_frames(path)


@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe\x80" * 40])
def test_empty_and_binary_files(tmp_path, content):
    path = tmp_path / "structures.extxyz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"structures\.extxyz"):
        read_frames(path)


def test_molecule_without_cell_names_the_frame(tmp_path):
    path = tmp_path / "mixed.extxyz"
    write(path, [bulk("Si", "diamond", a=5.43), Atoms("H2", [[0, 0, 0], [0, 0, 0.7]])])
    with pytest.raises(InputError, match=r"mixed\.extxyz: frame 1"):
        read_frames(path)


def test_positions_that_are_no_numbers(tmp_path):
    atoms = bulk("Si", "diamond", a=5.43)
    atoms.positions[1, 2] = np.nan
    path = tmp_path / "nan.extxyz"
    write(path, atoms)
    with pytest.raises(InputError, match=r"nan\.extxyz: frame 0"):
        read_frames(path)
