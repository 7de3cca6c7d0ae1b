"""Prior files: weights in safetensors, everything else in JSON. Loading one never executes code.

A checkpoint is a folder with `model.safetensors` and `model.json`. The JSON names the format version, the
architecture and its size, the elements, the range of noise levels, the data and the held-out losses, so that the
prior works without its training data.
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
from torch import Tensor

from glass_ml.config import as_mapping, build
from glass_ml.errors import InputError
from glass_ml.files import write_json
from glass_ml.priors.prior import Prior
from glass_ml.settings.prior import NetworkConfig

FORMAT_VERSION = 2
ARCHITECTURE = "angular"
WEIGHTS, CARD = "model.safetensors", "model.json"
REQUIRED = (
    "format_version",
    "architecture",
    "network",
    "elements",
    "sigma_min",
    "sigma_max",
    "held_out_loss",
    "shortest",
    "density_range",
    "system",
)


def save_prior(folder: Path | str, prior: Prior, card: dict[str, Any]) -> None:
    """Write a checkpoint folder, the card last: a folder with a card is complete.

    Args:
        folder: made if absent.
        prior: the weights to keep.
        card: `system`, `sigma_min`, `sigma_max` (Å) and whatever else describes the prior.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, suffix=".safetensors")
    os.close(handle)
    save_file({k: v.detach().cpu().contiguous() for k, v in prior.state_dict().items()}, temporary)
    Path(temporary).chmod(0o644)
    (folder / CARD).unlink(missing_ok=True)
    Path(temporary).replace(folder / WEIGHTS)
    content = {
        "format_version": FORMAT_VERSION,
        "architecture": ARCHITECTURE,
        "network": as_mapping(prior.config),
        "elements": list(prior.elements),
        **card,
    }
    write_json(folder / CARD, content)


def read_card(folder: Path | str) -> dict[str, Any]:
    """The JSON of a checkpoint folder, checked.

    Raises:
        InputError: missing, malformed or of a newer format.
    """
    path = Path(folder) / CARD
    mend = "choose another model, or 'dvc pull' this one again"
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"no prior here: {CARD} is missing", str(folder), "run 'dvc pull' or 'glass-ml train'"
        ) from None
    except (OSError, ValueError):
        raise InputError("not a prior: unreadable JSON", str(path), mend) from None
    missing = [key for key in REQUIRED if not isinstance(card, dict) or key not in card]
    if missing:
        raise InputError(f"not a prior: '{missing[0]}' is missing", str(path), mend)
    if card["format_version"] not in range(1, FORMAT_VERSION + 1):
        raise InputError(
            f"format version {card['format_version']} is above the version {FORMAT_VERSION} that this release reads",
            str(path),
            "update glass_ml",
        )
    if card["architecture"] != ARCHITECTURE:
        raise InputError(f"unknown architecture '{card['architecture']}'", str(path), "update glass_ml")
    elements = card["elements"]
    if not (isinstance(elements, list) and elements and all(type(z) is int and 0 < z < 119 for z in elements)):
        raise InputError("'elements' is not a list of atomic numbers", str(path), mend)
    return card


def load_prior(folder: Path | str) -> Prior:
    """The prior of a checkpoint folder, in evaluation mode and without gradients of its weights.

    Raises:
        InputError: the folder is not a complete, uncorrupted prior.
    """
    folder = Path(folder)
    card = read_card(folder)
    path = folder / WEIGHTS
    mend = "choose another model, or 'dvc pull' this one again"
    network = build(NetworkConfig, card["network"], f"{folder / CARD}: network")
    try:
        losses = {float(k): float(v) for k, v in card["held_out_loss"].items()}
        shortest = [(int(a), int(b), float(r)) for a, b, r in card["shortest"]]
        low, high = (float(density) for density in card["density_range"])
        if not all(0 < value < math.inf for pair in (*losses.items(), (low, high)) for value in pair):
            raise ValueError
    except (AttributeError, TypeError, ValueError):
        place = "'held_out_loss', 'shortest' or 'density_range'"
        raise InputError(f"{place} is malformed", str(folder / CARD), mend) from None
    prior = Prior(tuple(card["elements"]), network, losses, shortest, (low, high))
    try:
        weights = load_file(path)
    except FileNotFoundError:
        raise InputError(f"no prior here: {WEIGHTS} is missing", str(folder), mend) from None
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"corrupted weights: {str(error).splitlines()[0]}", str(path), mend) from None
    try:
        if card["format_version"] == 1:
            weights = _from_version_1(weights, network)
        prior.load_state_dict(weights)
    except (KeyError, RuntimeError):
        raise InputError("the weights do not fit the architecture in model.json", str(path), mend) from None
    if not all(torch.isfinite(w).all() for w in weights.values()):
        raise InputError("the weights are not finite numbers", str(path), mend)
    return prior.eval().requires_grad_(False)


def _from_version_1(weights: dict[str, Tensor], network: NetworkConfig) -> dict[str, Tensor]:
    # Version 1 knew neither density nor composition, and carried an atom update that nothing read.
    unread = tuple(f"network.layers.{network.layers - 1}.atom_{end}." for end in ("in", "out"))
    new = {
        name.replace("network.noise.", "network.condition."): weight
        for name, weight in weights.items()
        if not name.startswith(unread)
    }
    first = new["network.condition.0.weight"]
    new["network.condition.0.weight"] = torch.cat([first, first.new_zeros(len(first), 1)], dim=1)
    new["network.composition.weight"] = first.new_zeros(network.features, network.features)
    return new
