"""Training structures in memory-mapped arrays: opening a data set costs nothing, whatever its size."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms

from glass_ml.errors import InputError
from glass_ml.structures.io import from_atoms
from glass_ml.structures.neighbours import neighbour_pairs
from glass_ml.structures.state import Structures

ARRAYS = ("positions", "cell", "numbers", "offsets", "held_out")


class StructureFile:
    """Structures read from a folder of memory-mapped arrays.

    Args:
        folder: made by `write_structure_file`.

    Raises:
        InputError: the folder is not such a data set.
    """

    def __init__(self, folder: Path | str):
        folder = Path(folder)
        try:
            arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ARRAYS}
            self.meta: dict[str, Any] = json.loads((folder / "meta.json").read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"not a prepared data set: {error}", str(folder), "run 'dvc repro prepare'") from None
        self.positions, self.cell, self.numbers = arrays["positions"], arrays["cell"], arrays["numbers"]
        self.offsets = arrays["offsets"]
        held_out = np.asarray(arrays["held_out"])
        self.training, self.validation = np.flatnonzero(~held_out), np.flatnonzero(held_out)

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that occur, ascending."""
        return tuple(self.meta["elements"])

    def structure(self, index: int) -> Structures:
        """One structure, float32."""
        rows = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        numbers = torch.from_numpy(self.numbers[rows].astype(np.int64))
        return Structures(
            torch.from_numpy(np.array(self.positions[rows])),
            torch.from_numpy(np.array(self.cell[index]))[None],
            numbers,
            torch.zeros_like(numbers),
        )


def shortest_distances(frames: Sequence[Atoms], cutoff: float = 4.0) -> list[list[float]]:
    """Rows [Z1, Z2, distance (Å)] of the shortest distance that each pair of elements has in any frame."""
    shortest: dict[tuple[int, int], float] = {}
    for atoms in frames:
        structure = from_atoms([atoms])
        pairs = neighbour_pairs(structure, cutoff, full=False)
        distance = pairs.vectors(structure).norm(dim=1)
        first, second = structure.numbers[pairs.i], structure.numbers[pairs.j]
        code = torch.minimum(first, second) * 128 + torch.maximum(first, second)
        for key in code.unique().tolist():
            pair = divmod(key, 128)
            shortest[pair] = min(shortest.get(pair, cutoff), float(distance[code == key].min()))
    return [[*pair, round(distance, 4)] for pair, distance in sorted(shortest.items())]


def _fraction(name: str) -> float:
    # A number in [0, 1) that only the name decides.
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def write_structure_file(
    folder: Path | str, frames: Sequence[Atoms], *, validation_share: float, source_path: str, source_md5: str
) -> None:
    """Write structures as memory-mapped arrays, whole or not at all.

    Frames of one quench (`info["quench"]`) are correlated, so that whole quenches are held out, chosen by a hash of
    their name: adding data never moves a quench from one side to the other.

    Args:
        folder: made new; replaced if it exists.
        frames: the structures.
        validation_share: chance of a quench to be held out, between 0 and 1.
        source_path: the data the frames come from, kept in `meta.json`.
        source_md5: its content id, likewise.

    Raises:
        InputError: no quench is left to train on, or none to validate with.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    quench = [str(atoms.info.get("quench", k)) for k, atoms in enumerate(frames)]
    names = set(quench)
    held_out_names = {name for name in names if _fraction(name) < validation_share}
    if not 0 < len(held_out_names) < len(names):
        raise InputError(
            f"{len(held_out_names)} of {len(names)} quenches held out",
            source_path,
            "give more quenches or another validation_share",
        )
    meta = {
        "elements": sorted({int(z) for atoms in frames for z in atoms.numbers}),
        "structures": len(frames),
        "quenches": len(names),
        "held_out_quenches": len(held_out_names),
        "density_range": [f(len(a) / a.cell.volume for a in frames) for f in (min, max)],
        "shortest": shortest_distances(frames),
        "source_path": source_path,
        "source_md5": source_md5,
    }
    arrays: dict[str, np.ndarray] = {
        "positions": np.concatenate([a.positions for a in frames]).astype(np.float32),
        "cell": np.stack([a.cell.array for a in frames]).astype(np.float32),
        "numbers": np.concatenate([a.numbers for a in frames]).astype(np.uint8),
        "offsets": np.cumsum([0] + [len(a) for a in frames]).astype(np.int64),
        "held_out": np.array([name in held_out_names for name in quench]),
    }
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        for name, array in arrays.items():
            np.save(temporary / f"{name}.npy", array)
        (temporary / "meta.json").write_text(json.dumps(meta, indent=2, sort_keys=True) + "\n")
        temporary.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
