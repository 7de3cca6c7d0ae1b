"""Structures with a computed spectrum for every absorber atom, from a folder of plain files (docs/xanes.md)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers
from torch import Tensor

from glass_ml.errors import InputError
from glass_ml.structures.io import from_atoms, read_frames
from glass_ml.structures.state import Structures
from glass_ml.units import mass_density

STRUCTURES, SPECTRA = "structures", "xanes"
ENERGIES, GROUPS = "energies.txt", "groups.txt"
BIN_INDEX = "bin index"


@dataclass(frozen=True)
class Labelled:
    """One structure with its spectra.

    Attributes:
        name: stem of its files.
        group: what is held out together by label.
        density: mass density, g/cm^3.
        structure: float64.
        spectra: of the absorber atoms in their order, (A, n), float64.
    """

    name: str
    group: str
    density: float
    structure: Structures
    spectra: Tensor


@dataclass(frozen=True)
class SpectraData:
    """All structures of a folder.

    Attributes:
        absorber: atomic number of the element that has spectra.
        elements: atomic numbers that occur, ascending.
        energies: axis of the spectra, (n,), float64, ascending.
        axis: "eV", or "bin index" where the folder has no energies.
        items: the structures, sorted by name.
    """

    absorber: int
    elements: tuple[int, ...]
    energies: Tensor
    axis: str
    items: tuple[Labelled, ...]

    def folds(self, by: str) -> dict[str, list[int]]:
        """What is held out together: name of the group -> indices of its items.

        Args:
            by: "label" (groups.txt, or what precedes the first "_" of a name) or "density" (mass density to 0.1
                g/cm^3, from the structures themselves).
        """
        folds: dict[str, list[int]] = {}
        for k, item in enumerate(self.items):
            key = item.group if by == "label" else f"{item.density:.1f} g/cm3"
            folds.setdefault(key, []).append(k)
        return dict(sorted(folds.items()))


def read_spectra(folder: Path | str, absorber: str) -> SpectraData:
    """Read a folder of structures and spectra, and check all of it.

    Args:
        folder: `structures/NAME.*` in any format of ASE, one frame each; `xanes/NAME.txt`, a row for every absorber
            atom in the order of the structure, a column for every energy; optionally `energies.txt` (eV, one for every
            column) and `groups.txt` (lines "NAME GROUP").
        absorber: symbol of the element that has spectra.

    Raises:
        InputError: a file is missing, malformed or does not fit the others.
    """
    folder = Path(folder)
    if absorber not in atomic_numbers or absorber == "X":
        raise InputError(f"'{absorber}' is not an element", "absorber", "give a symbol such as C")
    if not (folder / STRUCTURES).is_dir() or not (folder / SPECTRA).is_dir():
        mend = f"give a folder with '{STRUCTURES}' and '{SPECTRA}' in it; docs/xanes.md describes them"
        raise InputError("no data of spectra per atom here", str(folder), mend)
    names = _paired(folder)
    groups = _groups(folder / GROUPS, set(names))
    items, columns = [], None
    number = atomic_numbers[absorber]
    for name, (structure_file, spectra_file) in names.items():
        frames = read_frames(structure_file)
        if len(frames) != 1:
            raise InputError(f"{len(frames)} frames", str(structure_file), "give one structure a file")
        atoms = frames[0]
        table = _table(spectra_file)
        found = int((atoms.numbers == number).sum())
        if len(table) != found:
            what = f"{len(table)} rows for {found} {absorber} atoms in {structure_file.name}"
            raise InputError(what, str(spectra_file), "give one row for every absorber atom, in their order")
        if columns is not None and table.shape[1] != columns:
            what = f"{table.shape[1]} columns where the files before it have {columns}"
            raise InputError(what, str(spectra_file), "give every file the same energies")
        columns = table.shape[1]
        items.append(Labelled(name, groups[name], _density(atoms), from_atoms([atoms]), torch.from_numpy(table)))
    energies, axis = _energies(folder / ENERGIES, columns or 0)
    elements = sorted({int(z) for item in items for z in item.structure.numbers.unique()})
    return SpectraData(number, tuple(elements), energies, axis, tuple(items))


def _paired(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Name -> (structure, spectra), sorted; every file has its partner."""
    structures, spectra = (
        {p.stem: p for p in sorted((folder / part).iterdir()) if p.is_file() and not p.name.startswith(".")}
        for part in (STRUCTURES, SPECTRA)
    )
    files = Counter(p.stem for p in (folder / STRUCTURES).iterdir() if p.is_file() and not p.name.startswith("."))
    for stem, count in sorted(files.items()):
        if count > 1:
            raise InputError(f"{count} structures named '{stem}'", str(folder / STRUCTURES), "keep one")
    for here, there, of, missing in (
        (structures, spectra, SPECTRA, "txt"),
        (spectra, structures, STRUCTURES, "vasp, .extxyz or another format of ase"),
    ):
        if lonely := sorted(set(here) - set(there)):
            path = here[lonely[0]]
            raise InputError("has no partner", str(path), f"add {of}/{lonely[0]}.{missing}, or remove it")
    if not structures:
        raise InputError("no structure in it", str(folder / STRUCTURES), "docs/xanes.md describes the format")
    return {name: (structures[name], spectra[name]) for name in sorted(structures)}


def _table(path: Path) -> np.ndarray:
    """The numbers of a text file, (rows, columns), float64."""
    try:
        rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", str(path)) from None
    kept = [(k, row) for k, row in enumerate(rows, 1) if row and not row[0].startswith("#")]
    if not kept:
        raise InputError("holds no numbers", str(path), "give a row for every absorber atom")
    width = len(kept[0][1])
    values = []
    for k, row in kept:
        if len(row) != width:
            raise InputError(f"{len(row)} columns where the first row has {width}", f"{path}:{k}", "mend the row")
        try:
            values.append([float(text) for text in row])
        except ValueError:
            raise InputError("not a row of numbers", f"{path}:{k}", "mend the row") from None
        if not np.isfinite(values[-1]).all():
            raise InputError("a value is not a finite number", f"{path}:{k}", "mend or remove the structure")
    return np.array(values)


def _energies(path: Path, columns: int) -> tuple[Tensor, str]:
    if not path.exists():
        return torch.arange(columns, dtype=torch.float64), BIN_INDEX
    energies = _table(path).ravel()
    if len(energies) != columns:
        raise InputError(f"{len(energies)} energies for {columns} columns", str(path), "give one (eV) for every column")
    if (np.diff(energies) <= 0).any():
        raise InputError("the energies do not ascend", str(path), "sort them, and the columns of the spectra with them")
    return torch.from_numpy(energies), "eV"


def _groups(path: Path, names: set[str]) -> dict[str, str]:
    if not path.exists():
        return {name: name.split("_")[0] for name in names}
    groups = {}
    for k, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 2 or words[0] not in names or words[0] in groups:
            raise InputError(f"'{line.strip()}' is not 'NAME GROUP' of one structure", f"{path}:{k}", "mend the line")
        groups[words[0]] = words[1]
    if missing := sorted(names - set(groups)):
        raise InputError(f"'{missing[0]}' has no group", str(path), f"add a line '{missing[0]} GROUP'")
    return groups


def _density(atoms: Atoms) -> float:
    return mass_density(len(atoms) / atoms.get_volume(), Counter(atoms.symbols))
