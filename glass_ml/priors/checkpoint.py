"""Checkpoint folders of priors: what their cards hold beside what all models have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glass_ml.checkpoint import CARD, MEND, PRIOR, WEIGHTS, load_weights, read_model_card, save_model
from glass_ml.config import as_mapping, build
from glass_ml.errors import InputError
from glass_ml.priors.prior import Prior
from glass_ml.settings.prior import NetworkConfig
from glass_ml.settings.sampling import SamplingConfig

__all__ = ["CARD", "WEIGHTS", "load_prior", "read_card", "save_prior"]


def save_prior(folder: Path | str, prior: Prior, card: Mapping[str, Any]) -> None:
    """Write a checkpoint folder, as `save_model` does.

    Args:
        folder: made if absent.
        prior: the weights to keep.
        card: `system`, `sigma_min`, `sigma_max` (Å), `held_out_loss`, `shortest`, `density_range` and whatever else
            describes the prior, such as `sampling` and `references`.
    """
    own = {"network": as_mapping(prior.config), "elements": list(prior.elements)}
    save_model(folder, PRIOR, prior, {**own, **card})


def read_card(folder: Path | str) -> dict[str, Any]:
    """The card of a prior, checked.

    Raises:
        InputError: missing, malformed, of another kind of model or of a newer format.
    """
    card = read_model_card(folder, PRIOR)
    if "sampling" in card:
        build(SamplingConfig, card["sampling"], f"{Path(folder) / CARD}: sampling")
    return card


def load_prior(folder: Path | str) -> Prior:
    """The prior of a checkpoint folder, in evaluation mode and without gradients of its weights.

    Raises:
        InputError: the folder is not a complete, uncorrupted prior.
    """
    folder = Path(folder)
    card = read_card(folder)
    network = build(NetworkConfig, card["network"], f"{folder / CARD}: network")
    try:
        losses = {float(k): float(v) for k, v in card["held_out_loss"].items()}
        shortest = [(int(a), int(b), float(r)) for a, b, r in card["shortest"]]
        low, high = (float(density) for density in card["density_range"])
        if not all(0 < value < math.inf for pair in (*losses.items(), (low, high)) for value in pair):
            raise ValueError
    except (AttributeError, TypeError, ValueError):
        place = "'held_out_loss', 'shortest' or 'density_range'"
        raise InputError(f"{place} is malformed", str(folder / CARD), MEND) from None
    prior = Prior(tuple(card["elements"]), network, losses, shortest, (low, high))
    first = card["format_version"] == 1
    load_weights(folder, PRIOR, prior, (lambda weights: _from_version_1(weights, network)) if first else None)
    return prior


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
