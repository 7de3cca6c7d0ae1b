"""Structures from and to files and ASE; the only place where ASE Atoms meet the batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.io import iread, write

from glass_ml.errors import InputError
from glass_ml.files import atomic_path
from glass_ml.structures.state import Structures


def from_atoms(frames: Sequence[Atoms], dtype: torch.dtype = torch.float64) -> Structures:
    """A batch out of periodic ASE Atoms.

    Raises:
        InputError: a frame is empty, has no three-dimensional cell, or a position that is not a finite number.
    """
    for k, atoms in enumerate(frames):
        check_periodic(atoms, f"frame {k}")
    return Structures(
        torch.from_numpy(np.concatenate([a.positions for a in frames])).to(dtype),
        torch.from_numpy(np.stack([a.cell.array for a in frames])).to(dtype),
        torch.from_numpy(np.concatenate([a.numbers for a in frames])).long(),
        torch.repeat_interleave(torch.arange(len(frames)), torch.tensor([len(a) for a in frames])),
    )


def check_periodic(atoms: Atoms, where: str) -> None:
    """Raise InputError, naming the place, for what is no periodic structure: as `from_atoms`."""
    if len(atoms) == 0 or abs(atoms.cell.volume) < 1e-6:
        raise InputError("not a periodic structure", where, "give atoms in a three-dimensional cell")
    if not np.isfinite(atoms.positions).all():
        raise InputError("a position is not a finite number", where, "mend or remove the frame")


def to_atoms(structures: Structures) -> list[Atoms]:
    """ASE Atoms of every system, wrapped into the cell."""
    return [
        Atoms(
            numbers=s.numbers.cpu().numpy(),
            positions=s.positions.detach().cpu().numpy(),
            cell=s.cell[0].cpu().numpy(),
            pbc=True,
        )
        for s in structures.to(dtype=torch.float64).wrapped().split()
    ]


def iterate_frames(path: Path | str) -> Iterator[Atoms]:
    """The frames of a structure file that ASE knows, one after the other, none of them kept.

    Raises:
        InputError: the file is missing, of no known format, or holds no periodic structure; where it is met.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("no such file", str(path), "check the path")
    frames, k = iread(path, index=":"), 0
    while True:
        try:
            atoms = next(frames, None)
        except Exception as error:  # ASE readers raise anything at a malformed file
            raise InputError(
                f"not a structure file: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
                str(path),
                "give a format that ase reads, such as extxyz, cif or POSCAR",
            ) from None
        if atoms is None:
            break
        check_periodic(atoms, f"{path}: frame {k}")
        yield atoms
        k += 1
    if not k:
        raise InputError("no structure in the file", str(path))


def read_frames(path: Path | str) -> list[Atoms]:
    """Every frame of a structure file; errors as `iterate_frames`."""
    return list(iterate_frames(path))


def read_structures(path: Path | str, dtype: torch.dtype = torch.float64) -> Structures:
    """The batch of all frames in a structure file; errors as `read_frames`."""
    return from_atoms(read_frames(path), dtype)


def write_frames(path: Path | str, frames: Sequence[Atoms]) -> None:
    """Write an extended-XYZ file (8 decimals), whole or not at all."""
    with atomic_path(path) as temporary:
        write(temporary, list(frames), format="extxyz")
