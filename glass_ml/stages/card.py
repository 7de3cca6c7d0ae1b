"""Stage `card`: a trained prior gets the card that it travels with: recipe, descriptors of its material."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from glass_ml.analysis.references import reference_record
from glass_ml.config import as_mapping
from glass_ml.priors.checkpoint import load_prior, read_card, save_prior
from glass_ml.priors.dataset import is_held_out
from glass_ml.settings.recipe import system_config
from glass_ml.settings.resolution import sampling_settings
from glass_ml.stages import run_stage
from glass_ml.stages.evaluate import rounded
from glass_ml.structures.io import iterate_frames


def make_card(system: str) -> Path:
    """Write `models/SYSTEM`: the weights of `trained/SYSTEM`, with settings and reference descriptors of the system.

    Raises:
        InputError: the prior has not been trained, or the project does not describe the system.
    """
    trained, folder = Path("trained") / system, Path("models") / system
    card = read_card(trained)
    card["sampling"] = as_mapping(sampling_settings(system, {}).settings)
    if record := references_of(system):
        card["references"] = rounded(record)
    save_prior(folder, load_prior(trained), card)
    return folder


def references_of(system: str) -> dict[str, Any] | None:
    """The record of the files `data/SYSTEM/reference-*.extxyz` that are of the same potential as those of the target.

    Without such files, that of the held-out training structures; None where these are not here either.

    Raises:
        InputError: as `reference_record`.
    """
    data, config = Path("data") / system, system_config(system)
    potentials = {file: _potential(file) for file in sorted(data.glob("reference-*.extxyz"))}
    wanted = potentials.get(data / config.target.reference)
    if files := [file for file, potential in potentials.items() if wanted in (None, potential)]:
        return reference_record(files)
    if not (data / "train.extxyz").is_file():
        return None
    source, share = data / "train.extxyz", config.prepare.validation_share
    frames = [a for k, a in enumerate(iterate_frames(source)) if is_held_out(str(a.info.get("quench", k)), share)]
    return reference_record({str(source): frames}, held_out=True)


def _potential(file: Path) -> str:
    return str(next(iterate_frames(file)).info.get("potential", ""))


if __name__ == "__main__":
    run_stage(make_card)
