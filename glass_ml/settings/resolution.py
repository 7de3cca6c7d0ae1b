"""Which settings an inversion samples with: decided here, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glass_ml.config import as_mapping, build
from glass_ml.errors import InputError
from glass_ml.settings.overrides import dotted, with_settings
from glass_ml.settings.recipe import PARAMS, system_config, system_names
from glass_ml.settings.sampling import SamplingConfig


@dataclass(frozen=True)
class Resolved:
    """The settings of an inversion.

    Attributes:
        settings: all of them.
        source: where they come from: "the caller", the winner file of a sweep, "params.yaml" or "the model card".
        replacing: which of them stand in the place of others, as text.
    """

    settings: SamplingConfig
    source: str
    replacing: str = ""

    def __str__(self) -> str:
        return f"settings of {self.source}" + (f" in place of {self.replacing}" if self.replacing else "")


def described(system: str, root: Path) -> bool:
    """Whether the project in `root` has a recipe of a system."""
    return (root / PARAMS).is_file() and system in system_names(root / PARAMS)


def sampling_settings(
    system: str,
    card: Mapping[str, Any],
    *,
    argument: SamplingConfig | Mapping[str, Any] | None = None,
    root: Path | None = Path(),
) -> Resolved:
    """The settings of an inversion: those of the caller, of a sweep's winner, of params.yaml, or of the prior's card.

    The first of these that there is counts; never a default.

    Args:
        system: the material, as the target names it.
        card: of the prior.
        argument: what the caller states: all settings, or dotted keys with values that go before whatever else counts.
        root: the project; None where there is none, as for a served model.

    Raises:
        InputError: none of them has settings, or they cannot be used.
    """
    if isinstance(argument, SamplingConfig):
        return Resolved(argument, "the caller")
    if argument is not None:
        found = sampling_settings(system, card, root=root)
        if not isinstance(argument, Mapping) or not all(isinstance(key, str) for key in argument):
            raise InputError(f"'{argument}' are no settings", "settings", 'give {"schedule.steps": 200}, say')
        settings = with_settings(found.settings, dotted(argument), "settings")
        changed = _changed(found.settings, settings)
        return Resolved(settings, "the caller", f"{found.source}: {changed}") if changed else found
    if root is not None and described(system, root):
        own = system_config(system, root / PARAMS, tuned=False)
        used = system_config(system, root / PARAMS)
        changed = _changed(own.sampling, used.sampling)
        if changed and own.tuning:
            return Resolved(used.sampling, own.tuning.winner, f"{PARAMS}: {changed}")
        return Resolved(used.sampling, str(PARAMS))
    if "sampling" in card:
        return Resolved(build(SamplingConfig, card["sampling"], "model card: sampling"), "the model card")
    what = f"the prior has no recipe: its card holds no sampling settings, and no {PARAMS} here describes '{system}'"
    raise InputError(what, mend=f"describe '{system}' in {PARAMS}, or take a model of format 3: 'glass-ml models list'")


def _changed(before: SamplingConfig, after: SamplingConfig) -> str:
    old, new = dotted(as_mapping(before)), dotted(as_mapping(after))
    return ", ".join(f"{key} {_short(new[key])} for {_short(old[key])}" for key in new if new[key] != old[key])


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
