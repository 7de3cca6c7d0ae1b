"""How good the structures of one inversion are: held-out spectra, realism, distances and coordination."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from glass_ml.analysis.comparison import compare, floor
from glass_ml.analysis.coordination import coordination_fractions, find_bonds
from glass_ml.analysis.ensemble import Anatomy
from glass_ml.analysis.names import LEAST
from glass_ml.measurements.likelihood import build_likelihood
from glass_ml.measurements.target import Target
from glass_ml.sampling.constraints import MinimumDistance, too_close
from glass_ml.settings.tuning import Limits
from glass_ml.structures.state import Structures

REALISM = ("angle.rmse", "coordination.emd")
"""The descriptors that make up realism."""


@dataclass(frozen=True)
class Item:
    """One inversion that every trial makes.

    Attributes:
        name: of the target.
        seed: of the inversion.
        target: what is fitted.
        judge: what is held out, free of noise.
        hidden: the structures behind the data.
    """

    name: str
    seed: int
    target: Target
    judge: Target
    hidden: Structures


def score(item: Item, structures: Structures, shortest: Sequence[Sequence[float]], limits: Limits) -> dict[str, float]:
    """The numbers of one inversion, means over its structures.

    - `R NAME`: R-factor of a held-out measurement;
    - `held_out`: their geometric mean;
    - `angle.rmse`, `coordination.emd`: distance from the hidden structures;
    - `realism`: mean of the two, each in units of what one hidden structure differs by from the others;
    - `too_close`: pairs per atom nearer than `limits.shortest` times the shortest distance;
    - `defects`: share of atoms with another number of neighbours than most of their element in the hidden structures,
      less the share that these have.

    Args:
        item: what was inverted.
        structures: what came out.
        shortest: two atomic numbers and their shortest distance (Å) in the training data, a row for each pair.
        limits: what counts as too close.
    """
    with torch.no_grad():
        fits = build_likelihood(item.judge, structures).compare(structures).measurements
    numbers = {f"R {m.name}": float(m.r_factors.mean()) for m in fits}
    numbers["held_out"] = geometric_mean(list(numbers.values()))
    hidden = Anatomy.of(item.hidden)
    distances = compare(structures, hidden, rings=False)
    apart = floor(hidden, rings=False) if item.hidden.n_systems > 1 else {}
    shares = []
    for name in REALISM:
        numbers[name] = float(distances[name].mean())
        shares.append(numbers[name] / max(LEAST[name], float(apart[name].mean()) if name in apart else 0.0))
    numbers["realism"] = float(np.mean(shares))
    closest = MinimumDistance({(int(a), int(b)): limits.shortest * r for a, b, r in shortest})
    numbers["too_close"] = float(too_close(structures, closest).sum()) / structures.n_atoms
    numbers["defects"] = defects(structures, hidden)
    return numbers


def defects(structures: Structures, hidden: Anatomy) -> float:
    """Share of atoms with a wrong number of neighbours, above that of the hidden structures."""
    tables = [coordination_fractions(bonds) for bonds in (find_bonds(structures, hidden.bonds.cutoffs), hidden.bonds)]
    excess = []
    for z, right in tables[1].items():
        number = int(np.nanmean(right, axis=0).argmax())
        found = np.nanmean(tables[0][z], axis=0)
        share = float(found[number]) if number < len(found) else 0.0
        atoms = float(np.mean(hidden.bonds.numbers == z))
        excess.append(atoms * (float(np.nanmean(right, axis=0)[number]) - share))
    return float(np.sum(excess))


def total(items: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The numbers of a trial out of those of its inversions: geometric means of held-out misfit and realism."""
    return {
        "held_out": geometric_mean([item["held_out"] for item in items]),
        "realism": geometric_mean([item["realism"] for item in items]),
        **{name: float(np.mean([item[name] for item in items])) for name in (*REALISM, "too_close", "defects")},
    }


def geometric_mean(values: Sequence[float]) -> float:
    """exp of the mean logarithm; ratios count, so that no spectrum and no target outweighs the others."""
    return float(np.exp(np.mean(np.log(np.maximum(values, 1e-12)))))
