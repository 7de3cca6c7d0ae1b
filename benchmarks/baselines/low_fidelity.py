"""Low-fidelity structures at the density of a target: the training recipe of a material, run anew."""

from __future__ import annotations

import json
import resource
from dataclasses import replace
from pathlib import Path

from glass_ml.files import write_json
from glass_ml.simulation.generate import generate
from glass_ml.simulation.materials import recipe_of
from glass_ml.simulation.recipe import Recipe
from glass_ml.structures.io import from_atoms, read_frames
from glass_ml.structures.state import Structures

SEED = 1000
"""Added to the seed of a row: no training structure was made with such a seed."""


def quenched(
    system: str, density: float, count: int, state: str, seed: int, folder: Path, processes: int = 1
) -> tuple[Structures, float]:
    """Structures of the first training batch's recipe, and the CPU seconds of molecular dynamics that one took.

    Args:
        system: a material with a recipe.
        density: g/cm^3, within the training data or not.
        count: structures.
        state: 'thermal' (the last frame before minimisation) or 'minimised'.
        seed: of the starts and velocities.
        folder: where they are kept: what is there is not simulated again.
        processes: simulations side by side.
    """
    batch = recipe_of(system).quenches[0]
    if batch.role != "train":
        raise ValueError(f"the first batch of {system} is not training data")
    quench = replace(batch, name="start", density=(density, density), count=count)
    folder = folder / f"{system}-{density}-{count}-{seed}"
    seconds = folder / "seconds.json"
    if not seconds.is_file():
        before = _children()
        generate(Recipe(system, (quench,)), folder, processes=processes, seed=SEED + seed)
        write_json(seconds, (_children() - before) / count)
    frames = [a for a in read_frames(folder / "train.extxyz") if a.info["state"] == state]
    last = {a.info["quench"]: a for a in frames}
    return from_atoms(list(last.values())), float(json.loads(seconds.read_text()))


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
