"""Stage `card`: gives a trained prior the card that it travels with, with recipe and references."""

from __future__ import annotations

import sys
from pathlib import Path

from glass_ml.analysis.references import reference_record
from glass_ml.config import as_mapping
from glass_ml.priors.checkpoint import load_prior, read_card, save_prior
from glass_ml.settings.resolution import sampling_settings


def make_card(system: str) -> Path:
    """Write `models/SYSTEM`: the weights of `trained/SYSTEM`, with what the project knows of the system:
    its sampling settings, and the descriptors of the reference structures in `data/SYSTEM`, where there are any.

    Raises:
        InputError: the prior has not been trained, or params.yaml does not describe the system.
    """
    trained, folder = Path("trained") / system, Path("models") / system
    card = read_card(trained)
    card["sampling"] = as_mapping(sampling_settings(system, {}).settings)
    if files := sorted((Path("data") / system).glob("reference-*.extxyz")):
        card["references"] = reference_record(files)
    save_prior(folder, load_prior(trained), card)
    return folder


if __name__ == "__main__":
    make_card(sys.argv[1])
