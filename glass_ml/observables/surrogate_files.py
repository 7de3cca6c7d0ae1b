"""Folders of surrogates: what their cards hold beside what all models have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from glass_ml.checkpoint import CARD, MEND, SURROGATE, WEIGHTS, kind_of, load_weights, read_model_card, save_model
from glass_ml.config import as_mapping, build
from glass_ml.errors import InputError
from glass_ml.observables.surrogate import Surrogate
from glass_ml.settings.surrogate import SurrogateConfig

__all__ = ["CARD", "WEIGHTS", "is_surrogate", "load_surrogate", "read_surrogate_card", "save_surrogate"]


def save_surrogate(folder: Path | str, surrogate: Surrogate, card: Mapping[str, Any]) -> None:
    """Write a surrogate's folder, as `save_model` does.

    Args:
        folder: made if absent.
        surrogate: what to keep.
        card: `system`, `axis` ("eV" or "bin index") and whatever else describes the surrogate.
    """
    own = {
        "surrogate": as_mapping(surrogate.config),
        "absorber": surrogate.absorber,
        "elements": list(surrogate.elements),
        "energies": surrogate.energies.tolist(),
        "calibration": dict(zip(("atom", "cell"), surrogate.calibration, strict=True)),
    }
    save_model(folder, SURROGATE, surrogate, {**own, **card})


def is_surrogate(folder: Path | str) -> bool:
    """Whether the card in a folder is one of a surrogate; False for anything else, unreadable or absent."""
    return kind_of(folder) is SURROGATE


def read_surrogate_card(folder: Path | str) -> dict[str, Any]:
    """The card of a surrogate, checked.

    Raises:
        InputError: missing, malformed, of another kind of model or of a newer format.
    """
    card = read_model_card(folder, SURROGATE)
    elements = card["elements"]
    if elements != sorted(set(elements)) or card["absorber"] not in elements:
        raise InputError("'elements' do not ascend, or lack the 'absorber'", str(Path(folder) / CARD), MEND)
    return card


def load_surrogate(folder: Path | str) -> Surrogate:
    """The surrogate of a folder, in evaluation mode and without gradients of its weights.

    Raises:
        InputError: the folder is not a complete, uncorrupted surrogate.
    """
    folder = Path(folder)
    card = read_surrogate_card(folder)
    config = build(SurrogateConfig, card["surrogate"], f"{folder / CARD}: surrogate")
    try:
        energies = torch.tensor([float(e) for e in card["energies"]], dtype=torch.float64)
        calibration = (float(card["calibration"]["atom"]), float(card["calibration"]["cell"]))
        rising = len(energies) > 1 and bool((energies.diff() > 0).all()) and bool(energies.isfinite().all())
        if not rising or not all(0 < c < math.inf for c in calibration):
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise InputError("'energies' or 'calibration' is malformed", str(folder / CARD), MEND) from None
    surrogate = Surrogate(card["absorber"], card["elements"], config, energies, calibration=calibration)
    load_weights(folder, SURROGATE, surrogate)
    return surrogate
