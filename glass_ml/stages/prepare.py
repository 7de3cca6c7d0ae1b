"""Stage `prepare`: training structures into a data set that is read where it lies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from ase import Atoms

from glass_ml.config import as_mapping
from glass_ml.errors import InputError
from glass_ml.execution.devices import first_process
from glass_ml.priors.dataset import StructureFile, write_structure_file
from glass_ml.provenance.data import data_identity
from glass_ml.settings.prior import PrepareConfig
from glass_ml.settings.recipe import MATERIALS, system_config
from glass_ml.stages import run_stage
from glass_ml.structures.io import iterate_frames

PAUSE = 1.0  # s, between two looks at what the first process has prepared
PATIENCE = 3600.0  # s, that it is given


def prepare(system: str) -> Path:
    """Write `prepared/SYSTEM` from `data/SYSTEM/train.extxyz`; returns the folder.

    What is there already and was made of the same data in the same way is kept. Of the processes of a launcher the
    first writes, and the others wait for it.
    """
    config = system_config(system).prepare
    source = Path("data") / system / "train.extxyz"
    if not source.is_file():
        raise InputError("no such file", str(source), "run 'dvc pull', or 'glass-ml simulate'")
    data = data_identity(f"data/{system}")
    folder = Path("prepared") / system
    recipe = as_mapping(config)
    wanted = {"source_path": data.path, "source_md5": data.md5, "recipe": recipe}
    if first_process() and not _is_there(folder, wanted):
        write_structure_file(
            folder,
            _chosen(source, config),
            validation_share=config.validation_share,
            source_path=data.path,
            source_md5=data.md5,
            recipe=recipe,
        )
    until = time.monotonic() + PATIENCE
    while not first_process() and not _is_there(folder, wanted):
        if time.monotonic() > until:
            raise InputError("the first process has not prepared the data", str(folder), "see what it says")
        time.sleep(PAUSE)
    return folder


def _is_there(folder: Path, wanted: dict) -> bool:
    try:
        meta = StructureFile(folder).meta
    except InputError:
        return False
    return all(meta.get(key) == value for key, value in wanted.items())


def _chosen(source: Path, config: PrepareConfig) -> Iterator[Atoms]:
    found = False
    for atoms in iterate_frames(source):
        if config.states in ("all", atoms.info.get("state")):
            found = True
            yield atoms
    if not found:
        raise InputError(
            f"no {config.states} frame", str(source), f"choose other states in {MATERIALS}/{source.parent.name}.yaml"
        )


if __name__ == "__main__":
    run_stage(prepare)
