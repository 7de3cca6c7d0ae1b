"""Surrogate files: weights in safetensors, everything else in JSON. Loading one never executes code.

A folder with `model.safetensors` and `model.json`. The JSON is the model card: absorber, elements, edge, axis and
energies, data, training, held-out errors and calibration; the surrogate works without its training data.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from glass_ml.config import as_mapping, build
from glass_ml.errors import InputError
from glass_ml.files import write_json
from glass_ml.observables.surrogate import Surrogate
from glass_ml.settings.surrogate import SurrogateConfig

FORMAT_VERSION = 1
ARCHITECTURE = "spectra-per-atom"
WEIGHTS, CARD = "model.safetensors", "model.json"
REQUIRED = (
    "format_version",
    "architecture",
    "surrogate",
    "absorber",
    "elements",
    "energies",
    "axis",
    "calibration",
    "system",
)
MEND = "choose another surrogate, or 'dvc pull' this one again"


def save_surrogate(folder: Path | str, surrogate: Surrogate, card: dict[str, Any]) -> None:
    """Write a surrogate's folder, the card last: a folder with a card is complete.

    Args:
        folder: made if absent.
        surrogate: what to keep.
        card: `system`, `axis` ("eV" or "bin index") and whatever else describes the surrogate.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, suffix=".safetensors")
    os.close(handle)
    save_file({k: v.detach().cpu().contiguous() for k, v in surrogate.state_dict().items()}, temporary)
    Path(temporary).chmod(0o644)
    (folder / CARD).unlink(missing_ok=True)
    Path(temporary).replace(folder / WEIGHTS)
    content = {
        "format_version": FORMAT_VERSION,
        "architecture": ARCHITECTURE,
        "surrogate": as_mapping(surrogate.config),
        "absorber": surrogate.absorber,
        "elements": list(surrogate.elements),
        "energies": surrogate.energies.tolist(),
        "calibration": dict(zip(("atom", "cell"), surrogate.calibration, strict=True)),
        **card,
    }
    write_json(folder / CARD, content)


def is_surrogate(folder: Path | str) -> bool:
    """Whether the card in a folder is one of a surrogate; False for anything else, unreadable or absent."""
    try:
        card = json.loads((Path(folder) / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(card, dict) and card.get("architecture") == ARCHITECTURE


def read_surrogate_card(folder: Path | str) -> dict[str, Any]:
    """The JSON of a surrogate's folder, checked.

    Raises:
        InputError: missing, malformed, of another kind of model or of a newer format.
    """
    path = Path(folder) / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        mend = "run 'dvc pull' or 'glass-ml train NAME --observable xanes'"
        raise InputError(f"no surrogate here: {CARD} is missing", str(folder), mend) from None
    except (OSError, ValueError):
        raise InputError("not a surrogate: unreadable JSON", str(path), MEND) from None
    if not isinstance(card, dict) or "architecture" not in card:
        raise InputError("not a surrogate: 'architecture' is missing", str(path), MEND)
    if card["architecture"] != ARCHITECTURE:
        raise InputError(f"not a surrogate of spectra but a model '{card['architecture']}'", str(path), MEND)
    if missing := [key for key in REQUIRED if key not in card]:
        raise InputError(f"not a surrogate: '{missing[0]}' is missing", str(path), MEND)
    if card["format_version"] not in range(1, FORMAT_VERSION + 1):
        raise InputError(
            f"format version {card['format_version']} is above the version {FORMAT_VERSION} that this release reads",
            str(path),
            "update glass_ml",
        )
    elements = card["elements"]
    if not (isinstance(elements, list) and elements and all(type(z) is int and 0 < z < 119 for z in elements)):
        raise InputError("'elements' is not a list of atomic numbers", str(path), MEND)
    if elements != sorted(set(elements)) or card["absorber"] not in elements:
        raise InputError("'elements' do not ascend, or lack the 'absorber'", str(path), MEND)
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
    path = folder / WEIGHTS
    try:
        weights = load_file(path)
    except FileNotFoundError:
        raise InputError(f"no surrogate here: {WEIGHTS} is missing", str(folder), MEND) from None
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"corrupted weights: {str(error).splitlines()[0]}", str(path), MEND) from None
    try:
        surrogate.load_state_dict(weights)
    except RuntimeError:
        raise InputError("the weights do not fit the surrogate in model.json", str(path), MEND) from None
    if not all(torch.isfinite(w).all() for w in weights.values()):
        raise InputError("the weights are not finite numbers", str(path), MEND)
    return surrogate.eval().requires_grad_(False)
