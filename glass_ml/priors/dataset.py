"""Training structures in files of rows: writing, opening and reading one take no memory, whatever the size."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms

from glass_ml.errors import InputError
from glass_ml.priors.rows import RowFile, RowWriter
from glass_ml.structures.io import from_atoms
from glass_ml.structures.neighbours import neighbour_pairs
from glass_ml.structures.state import Structures

ROWS: dict[str, tuple[type, tuple[int, ...]]] = {
    "positions": (np.float32, (3,)),
    "cell": (np.float32, (3, 3)),
    "numbers": (np.uint8, ()),
    "offsets": (np.int64, ()),
    "held_out": (np.bool_, ()),
}
"""Type and shape of a row of every file: rows of positions and numbers are atoms, the others structures."""
SEARCHED = 4.0
"""Distance (Å) up to which shortest distances are looked for."""


class StructureFile:
    """Structures read one by one from a folder of .npy files.

    Args:
        folder: made by `write_structure_file`.

    Raises:
        InputError: the folder is not such a data set.
    """

    def __init__(self, folder: Path | str):
        folder = Path(folder)
        try:
            files = {name: RowFile(folder / f"{name}.npy") for name in ROWS}
            self.meta: dict[str, Any] = json.loads((folder / "meta.json").read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"not a prepared data set: {error}", str(folder), "run 'dvc repro prepare'") from None
        self.positions, self.cell, self.numbers = files["positions"], files["cell"], files["numbers"]
        self.offsets = files["offsets"]
        held_out = files["held_out"].rows(0, len(files["held_out"]))
        self.training, self.validation = np.flatnonzero(~held_out), np.flatnonzero(held_out)

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that occur, ascending."""
        return tuple(self.meta["elements"])

    def structure(self, index: int) -> Structures:
        """One structure, float32."""
        first, last = self.offsets.rows(index, index + 2).tolist()
        numbers = torch.from_numpy(self.numbers.rows(first, last).astype(np.int64))
        return Structures(
            torch.from_numpy(self.positions.rows(first, last)),
            torch.from_numpy(self.cell.rows(index, index + 1)),
            numbers,
            torch.zeros_like(numbers),
        )


def _shorten(shortest: dict[tuple[int, int], float], atoms: Atoms, cutoff: float) -> None:
    structure = from_atoms([atoms])
    pairs = neighbour_pairs(structure, cutoff, full=False)
    distance = pairs.vectors(structure).norm(dim=1)
    first, second = structure.numbers[pairs.i], structure.numbers[pairs.j]
    code = torch.minimum(first, second) * 128 + torch.maximum(first, second)
    for key in code.unique().tolist():
        pair = divmod(key, 128)
        shortest[pair] = min(shortest.get(pair, cutoff), float(distance[code == key].min()))


def _shortest_rows(shortest: dict[tuple[int, int], float]) -> list[list[float]]:
    return [[*pair, round(distance, 4)] for pair, distance in sorted(shortest.items())]


def is_held_out(quench: str, validation_share: float) -> bool:
    """Whether a quench is held out of training, which its name alone decides."""
    return int.from_bytes(hashlib.sha256(quench.encode()).digest()[:8], "big") / 2**64 < validation_share


def write_structure_file(
    folder: Path | str,
    frames: Iterable[Atoms],
    *,
    validation_share: float,
    source_path: str,
    source_md5: str,
    recipe: Mapping[str, Any] | None = None,
) -> None:
    """Write structures as a data set, whole or not at all, with one of them in memory at a time.

    Frames of one quench (`info["quench"]`) are correlated, so that whole quenches are held out, chosen by a hash of
    their name: adding data never moves a quench from one side to the other.

    Args:
        folder: made new; replaced if it exists.
        frames: the structures.
        validation_share: chance of a quench to be held out, between 0 and 1.
        source_path: the data the frames come from, kept in `meta.json`.
        source_md5: its content id, likewise.
        recipe: what else the choice of structures depends on, likewise.

    Raises:
        InputError: no quench is left to train on, or none to validate with.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        meta = _write_rows(temporary, frames, validation_share, source_path)
        meta |= {"source_path": source_path, "source_md5": source_md5, "recipe": dict(recipe or {})}
        (temporary / "meta.json").write_text(json.dumps(meta, indent=2, sort_keys=True) + "\n")
        temporary.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_rows(folder: Path, frames: Iterable[Atoms], validation_share: float, source: str) -> dict[str, Any]:
    names: set[str] = set()
    held_out: set[str] = set()
    elements: set[int] = set()
    shortest: dict[tuple[int, int], float] = {}
    lowest, highest, count, atoms_so_far = math.inf, 0.0, 0, 0
    with ExitStack() as stack:
        files = {
            name: stack.enter_context(closing(RowWriter(folder / f"{name}.npy", *kind))) for name, kind in ROWS.items()
        }
        files["offsets"].append(np.array([0]))
        for atoms in frames:
            name = str(atoms.info.get("quench", count))
            names.add(name)
            if is_held_out(name, validation_share):
                held_out.add(name)
            elements.update(np.unique(atoms.numbers).tolist())
            density = len(atoms) / atoms.cell.volume
            lowest, highest = min(lowest, density), max(highest, density)
            _shorten(shortest, atoms, SEARCHED)
            count, atoms_so_far = count + 1, atoms_so_far + len(atoms)
            row = (atoms.positions, atoms.cell.array, atoms.numbers, atoms_so_far, name in held_out)
            for file, values in zip(files.values(), row, strict=True):
                file.append(np.asarray(values))
    if not 0 < len(held_out) < len(names):
        raise InputError(
            f"{len(held_out)} of {len(names)} quenches held out",
            source,
            "give more quenches or another validation_share",
        )
    return {
        "elements": sorted(elements),
        "structures": count,
        "quenches": len(names),
        "held_out_quenches": len(held_out),
        "density_range": [lowest, highest],
        "shortest": _shortest_rows(shortest),
    }
