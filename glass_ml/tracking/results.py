"""The results that lie on disk below a project."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from glass_ml.errors import InputError
from glass_ml.structures.io import iterate_frames
from glass_ml.tracking.lineage import PREFIX, Lineage, read_lineage

STORAGE = {"data", "dvc-store", "mlruns", "prepared", "training"}
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


def lineage_of(path: Path) -> Lineage | None:
    """The lineage of a structure file, as its first frame carries it; None for structures of other origin."""
    try:
        with path.open(encoding="utf-8") as stream:
            stream.readline()
            if PREFIX not in stream.readline(1 << 20):
                return None
        return read_lineage(next(iterate_frames(path)))
    except (InputError, OSError, ValueError, StopIteration):  # a damaged file is no reason to stop
        return None
