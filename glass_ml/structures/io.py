"""Structures from and to files and ASE; the only place where ASE Atoms meet the batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.io import read, write

from glass_ml.errors import InputError
from glass_ml.files import atomic_path
from glass_ml.structures.state import Structures


def from_atoms(frames: Sequence[Atoms], dtype: torch.dtype = torch.float64) -> Structures:
    """A batch out of periodic ASE Atoms.

    Raises:
        InputError: a frame is empty, has no three-dimensional cell, or a position that is not a finite number.
    """
    for k, atoms in enumerate(frames):
        if len(atoms) == 0 or abs(atoms.cell.volume) < 1e-6:
            raise InputError("not a periodic structure", f"frame {k}", "give atoms in a three-dimensional cell")
        if not np.isfinite(atoms.positions).all():
            raise InputError("a position is not a finite number", f"frame {k}", "mend or remove the frame")
    return Structures(
        torch.from_numpy(np.concatenate([a.positions for a in frames])).to(dtype),
        torch.from_numpy(np.stack([a.cell.array for a in frames])).to(dtype),
        torch.from_numpy(np.concatenate([a.numbers for a in frames])).long(),
        torch.repeat_interleave(torch.arange(len(frames)), torch.tensor([len(a) for a in frames])),
    )


def to_atoms(structures: Structures) -> list[Atoms]:
    """ASE Atoms of every system, wrapped into the cell."""
    return [
        Atoms(
            numbers=s.numbers.cpu().numpy(),
            positions=s.positions.detach().cpu().double().numpy(),
            cell=s.cell[0].cpu().double().numpy(),
            pbc=True,
        )
        for s in structures.wrapped().split()
    ]


def read_frames(path: Path | str) -> list[Atoms]:
    """Every frame of a structure file that ASE knows.

    Raises:
        InputError: the file is missing, of no known format, or holds no periodic structure.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("no such file", str(path), "check the path")
    try:
        frames = list(read(path, index=":"))
    except Exception as error:  # ASE readers raise anything at a malformed file
        raise InputError(
            f"not a structure file: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            str(path),
            "give a format that ase reads, such as extxyz, cif or POSCAR",
        ) from None
    if not frames:
        raise InputError("no structure in the file", str(path))
    try:
        from_atoms(frames)
    except InputError as error:
        raise InputError(error.what, f"{path}: {error.where}", error.mend) from None
    return frames


def read_structures(path: Path | str, dtype: torch.dtype = torch.float64) -> Structures:
    """The batch of all frames in a structure file; errors as `read_frames`."""
    return from_atoms(read_frames(path), dtype)


def write_frames(path: Path | str, frames: Sequence[Atoms]) -> None:
    """Write an extended-XYZ file (8 decimals), whole or not at all."""
    with atomic_path(path) as temporary:
        write(temporary, list(frames), format="extxyz")
