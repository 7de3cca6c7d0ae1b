"""Stage `card`: a trained prior gets the card that it travels with: recipe, descriptors of its material."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from glass_ml.analysis.references import reference_record
from glass_ml.config import as_mapping
from glass_ml.priors.checkpoint import load_prior, read_card, save_prior
from glass_ml.priors.dataset import is_held_out
from glass_ml.settings.recipe import system_config
from glass_ml.settings.resolution import sampling_settings
from glass_ml.stages.evaluate import rounded
from glass_ml.structures.io import iterate_frames


def make_card(system: str) -> Path:
    """Write `models/SYSTEM`: the weights of `trained/SYSTEM`, with settings and reference descriptors of the system.

    Raises:
        InputError: the prior has not been trained, the project does not describe the system, or has no structures.
    """
    trained, folder = Path("trained") / system, Path("models") / system
    card = read_card(trained)
    card["sampling"] = as_mapping(sampling_settings(system, {}).settings)
    card["references"] = rounded(references_of(system))
    save_prior(folder, load_prior(trained), card)
    return folder


def references_of(system: str) -> dict[str, Any]:
    """The record of `data/SYSTEM/reference-*.extxyz`, or, without such files, of the held-out training structures.

    Raises:
        InputError: as `reference_record`.
    """
    data = Path("data") / system
    if files := sorted(data.glob("reference-*.extxyz")):
        return reference_record(files)
    source, share = data / "train.extxyz", system_config(system).prepare.validation_share
    frames = [a for k, a in enumerate(iterate_frames(source)) if is_held_out(str(a.info.get("quench", k)), share)]
    return reference_record({str(source): frames}, held_out=True)


if __name__ == "__main__":
    make_card(sys.argv[1])
