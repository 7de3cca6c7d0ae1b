"""The reader of spectra per atom: what it reads, and one clear line for every way in which a folder can be wrong."""

import numpy as np
import pytest
from ase.io import read, write
from small_surrogate import ENERGIES, carbon, write_toy

from glass_ml.errors import InputError
from glass_ml.surrogates.dataset import read_spectra


@pytest.fixture
def folder(tmp_path):
    return write_toy(tmp_path / "toy")


def test_structures_spectra_energies_and_groups(folder):
    data = read_spectra(folder, "C")
    assert (data.absorber, data.elements, data.axis) == (6, (6,), "eV")
    np.testing.assert_allclose(data.energies, ENERGIES)
    assert [item.name for item in data.items][:2] == ["a3.4_0", "a3.4_1"]
    item = data.items[2]
    atoms = read(folder / "structures" / f"{item.name}.extxyz")
    np.testing.assert_allclose(item.structure.positions, atoms.positions)
    np.testing.assert_allclose(item.spectra, np.loadtxt(folder / "xanes" / f"{item.name}.txt"))
    grams = 8 * 12.011 / 6.02214076e23 / (atoms.get_volume() * 1e-24)
    assert item.density == pytest.approx(grams, rel=1e-4)
    assert data.folds("label") == {"a3.4": [0, 1], "a3.57": [2, 3], "a3.7": [4, 5]}
    assert list(data.folds("density").values()) == [[4, 5], [2, 3], [0, 1]]


def test_without_energies_the_axis_is_the_bin_index(folder):
    (folder / "energies.txt").unlink()
    data = read_spectra(folder, "C")
    assert data.axis == "bin index" and data.energies.tolist() == list(range(len(ENERGIES)))


def test_a_file_of_groups_replaces_the_rule_of_names(folder):
    names = [item.name for item in read_spectra(folder, "C").items]
    lines = [f"{name} {'one' if k < 4 else 'two'}" for k, name in enumerate(names)]
    (folder / "groups.txt").write_text("# name group\n" + "\n".join(lines) + "\n")
    assert read_spectra(folder, "C").folds("label") == {"one": [0, 1, 2, 3], "two": [4, 5]}
    for wrong, message in ((lines[:-1], "'a3.7_1' has no group"), ([*lines, "a9 x"], "groups.txt:7: 'a9 x' is not")):
        (folder / "groups.txt").write_text("\n".join(wrong))
        with pytest.raises(InputError, match=message):
            read_spectra(folder, "C")


def test_only_rows_of_absorbers_are_wanted_in_the_order_of_the_structure(folder):
    atoms = carbon(0)
    atoms.numbers[[1, 4]] = 14
    write(folder / "structures" / "a3.4_0.extxyz", atoms)
    table = np.arange(6 * len(ENERGIES), dtype=float).reshape(6, -1)
    np.savetxt(folder / "xanes" / "a3.4_0.txt", table)
    data = read_spectra(folder, "C")
    assert data.elements == (6, 14)
    np.testing.assert_array_equal(data.items[0].spectra, table)


def edit(path, change):
    table = np.loadtxt(path)
    np.savetxt(path, change(table))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("rows", lambda f: edit(f / "xanes/a3.7_0.txt", lambda t: t[:-1]), "a3.7_0.txt: 7 rows for 8 C atoms"),
        ("nan", lambda f: edit(f / "xanes/a3.7_0.txt", lambda t: t * np.nan), "a3.7_0.txt:1: a value is not a finite"),
        ("columns", lambda f: edit(f / "xanes/a3.7_0.txt", lambda t: t[:, 1:]), "10 columns where .* have 11"),
        ("ragged", lambda f: (f / "xanes/a3.7_0.txt").write_text("1 2\n1 2 3\n"), "a3.7_0.txt:2: 3 columns where"),
        ("words", lambda f: (f / "xanes/a3.7_0.txt").write_text("1 2\nx y\n"), "a3.7_0.txt:2: not a row of numbers"),
        ("empty", lambda f: (f / "xanes/a3.7_0.txt").write_text("# nothing\n"), "holds no numbers"),
        ("no spectrum", lambda f: (f / "xanes/a3.7_0.txt").unlink(), "a3.7_0.extxyz: has no partner"),
        ("no structure", lambda f: (f / "structures/a3.7_0.extxyz").unlink(), "a3.7_0.txt: has no partner"),
        ("twice", lambda f: write(f / "structures/a3.7_0.vasp", carbon()), "2 structures named 'a3.7_0'"),
        ("frames", lambda f: write(f / "structures/a3.7_0.extxyz", [carbon()] * 2), "2 frames"),
        ("energies", lambda f: (f / "energies.txt").write_text("1 2 3"), "3 energies for 11 columns"),
        ("order", lambda f: edit(f / "energies.txt", lambda e: e[::-1]), "do not ascend"),
        ("nothing", lambda f: [p.unlink() for d in ("structures", "xanes") for p in (f / d).iterdir()], "no structure"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 13 else "",
)
def test_a_wrong_folder_is_named_in_one_line(folder, name, change, message):
    change(folder)
    with pytest.raises(InputError, match=message) as caught:
        read_spectra(folder, "C")
    assert "\n" not in str(caught.value)


def test_no_folder_and_no_element(tmp_path):
    with pytest.raises(InputError, match=r"no data of spectra per atom here .*docs/xanes.md"):
        read_spectra(tmp_path, "C")
    with pytest.raises(InputError, match="'Q' is not an element"):
        read_spectra(tmp_path, "Q")
