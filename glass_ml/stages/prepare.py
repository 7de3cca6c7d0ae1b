"""Stage `prepare`: training structures into memory-mapped arrays."""

from __future__ import annotations

import sys
from pathlib import Path

from glass_ml.errors import InputError
from glass_ml.priors.dataset import write_structure_file
from glass_ml.stages.params import system_config
from glass_ml.structures.io import read_frames
from glass_ml.tracking.data import data_identity


def prepare(system: str) -> Path:
    """Write `prepared/SYSTEM` from `data/SYSTEM/train.extxyz`; returns the folder."""
    config = system_config(system).prepare
    source = Path("data") / system / "train.extxyz"
    frames = [a for a in read_frames(source) if config.states in ("all", a.info.get("state"))]
    if not frames:
        raise InputError(f"no {config.states} frame", str(source), "choose other states in params.yaml")
    data = data_identity(f"data/{system}")
    folder = Path("prepared") / system
    write_structure_file(
        folder, frames, validation_share=config.validation_share, source_path=data.path, source_md5=data.md5
    )
    return folder


if __name__ == "__main__":
    prepare(sys.argv[1])
