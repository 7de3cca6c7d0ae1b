"""Model files: weights in safetensors, everything else in JSON. Loading one never executes code.

A model is a folder with `model.safetensors` and `model.json`, its card. The card names the format version, the
architecture and its size, the elements, the data and the held-out errors, so that a model works without its training
data; since version 3 that of a prior also has

    sampling      the settings of inversions that it was tuned with (`SamplingConfig` as a mapping),
    references    descriptors of its material, by which structures are judged (a record with a version of its own).

Versions 1 and 2 lack these two.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from glass_ml.errors import InputError
from glass_ml.files import write_json

FORMAT_VERSION = 3
WEIGHTS, CARD = "model.safetensors", "model.json"
MEND = "choose another model, or 'dvc pull' this one again"
COMMON = ("architecture", "format_version", "elements", "system")


@dataclass(frozen=True)
class Kind:
    """A kind of model.

    Attributes:
        noun: as people call it.
        architecture: what its cards name.
        required: keys that its cards cannot do without.
        source: how to come by one.
    """

    noun: str
    architecture: str
    required: tuple[str, ...]
    source: str


PRIOR = Kind(
    "prior",
    "angular",
    (*COMMON, "network", "sigma_min", "sigma_max", "held_out_loss", "shortest", "density_range"),
    "run 'dvc pull' or 'glass-ml train'",
)
SURROGATE = Kind(
    "surrogate",
    "spectra-per-atom",
    (*COMMON, "surrogate", "absorber", "energies", "axis", "calibration"),
    "run 'dvc pull' or 'glass-ml train NAME --observable xanes'",
)
KINDS = {kind.architecture: kind for kind in (PRIOR, SURROGATE)}


def save_model(folder: Path | str, kind: Kind, model: nn.Module, card: Mapping[str, Any]) -> None:
    """Write a model's folder, the card last: a folder with a card is complete.

    Args:
        folder: made if absent.
        kind: of the model.
        model: the weights to keep.
        card: everything else; format version and architecture are those of this release.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, suffix=".safetensors")
    os.close(handle)
    save_file({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}, temporary)
    Path(temporary).chmod(0o644)
    (folder / CARD).unlink(missing_ok=True)
    Path(temporary).replace(folder / WEIGHTS)
    write_json(folder / CARD, {**card, "format_version": FORMAT_VERSION, "architecture": kind.architecture})


def kind_of(folder: Path | str) -> Kind | None:
    """The kind of model in a folder, by its card; None for anything else, unreadable or absent."""
    try:
        card = json.loads((Path(folder) / CARD).read_text(encoding="utf-8"))
        return KINDS.get(card["architecture"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def read_model_card(folder: Path | str, kind: Kind) -> dict[str, Any]:
    """The card of a model, checked as far as all kinds share it.

    Raises:
        InputError: missing, malformed, of another kind of model or of a newer format.
    """
    path, noun = Path(folder) / CARD, kind.noun
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"no {noun} here: {CARD} is missing", str(folder), kind.source) from None
    except (OSError, ValueError):
        raise InputError(f"not a {noun}: unreadable JSON", str(path), MEND) from None
    if isinstance(card, dict) and card.get("architecture", kind.architecture) != kind.architecture:
        other = KINDS.get(card["architecture"]) if isinstance(card["architecture"], str) else None
        if other:
            raise InputError(f"not a {noun} but a {other.noun}", str(path), f"choose a {noun}")
        raise InputError(f"unknown architecture '{card['architecture']}'", str(path), "update glass_ml")
    if missing := [key for key in kind.required if not isinstance(card, dict) or key not in card]:
        raise InputError(f"not a {noun}: '{missing[0]}' is missing", str(path), MEND)
    if card["format_version"] not in range(1, FORMAT_VERSION + 1):
        raise InputError(
            f"format version {card['format_version']} is above the version {FORMAT_VERSION} that this release reads",
            str(path),
            "update glass_ml",
        )
    elements = card["elements"]
    if not (isinstance(elements, list) and elements and all(type(z) is int and 0 < z < 119 for z in elements)):
        raise InputError("'elements' is not a list of atomic numbers", str(path), MEND)
    for key in ("sampling", "references"):
        if not isinstance(card.get(key, {}), dict):
            raise InputError(f"'{key}' is not a mapping", str(path), MEND)
    return card


def load_weights(
    folder: Path | str,
    kind: Kind,
    model: nn.Module,
    upgrade: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None,
) -> None:
    """Fill a model with the weights in its folder; then it is in evaluation mode, and its weights have no gradients.

    Args:
        folder: of the model.
        kind: of the model.
        model: of the size that the card states.
        upgrade: makes the weights of an older format those of the present one.

    Raises:
        InputError: missing or damaged weights, of other shapes, or not finite.
    """
    path = Path(folder) / WEIGHTS
    try:
        weights = load_file(path)
    except FileNotFoundError:
        raise InputError(f"no {kind.noun} here: {WEIGHTS} is missing", str(folder), MEND) from None
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"corrupted weights: {str(error).splitlines()[0]}", str(path), MEND) from None
    try:
        weights = upgrade(weights) if upgrade else weights
        model.load_state_dict(weights)
    except (KeyError, RuntimeError):
        raise InputError("the weights do not fit the architecture in model.json", str(path), MEND) from None
    if not all(torch.isfinite(w).all() for w in weights.values()):
        raise InputError("the weights are not finite numbers", str(path), MEND)
    model.eval().requires_grad_(False)
