"""The results that lie on disk below a project."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path

from ase import Atoms
from ase.io.extxyz import key_val_str_to_dict

from glass_ml.errors import InputError
from glass_ml.provenance.lineage import PREFIX, Lineage, read_lineage

STORAGE = {"data", "dvc-store", "mlruns", "prepared", "training", "wandb"}
"""Folders of a project that hold no results."""


def find_files(root: Path, names: Collection[str] = (), suffix: str = "") -> Iterator[Path]:
    """Files below a folder with one of these names or this ending, in a fixed order.

    Hidden folders, virtual environments and what the project stores are left out.
    """
    for place, folders, files in os.walk(root):
        here = Path(place)
        hidden = STORAGE if here == root else set()
        folders[:] = sorted(
            f for f in folders if f not in hidden and not f.startswith(".") and not (here / f / "pyvenv.cfg").exists()
        )
        for file in sorted(files):
            if not file.startswith(".") and (file in names or (suffix and file.endswith(suffix))):
                yield here / file


def lineages_of(path: Path) -> Iterator[Lineage]:
    """The different lineages of an extended-XYZ file, in the order of its frames.

    Only the comment lines are understood, so that thousands of files are read in no time. Frames of other origin give
    none, and a damaged file ends where the damage is.
    """
    seen: set[Lineage] = set()
    try:
        with path.open(encoding="utf-8") as stream:
            while count := stream.readline().strip():
                comment = stream.readline()
                next(islice(stream, int(count) - 1, int(count)), None)  # past the atoms
                if PREFIX not in comment:
                    continue
                lineage = read_lineage(Atoms(info=key_val_str_to_dict(comment)))
                if lineage not in seen:
                    seen.add(lineage)
                    yield lineage
    except (InputError, OSError, ValueError):
        return


def lineage_of(path: Path) -> Lineage | None:
    """The lineage of a structure file, as its first frame with one carries it; None for structures of other origin."""
    return next(lineages_of(path), None)
