"""The numbers of an inversion, which say how good its structures are, and trials compared by them, item by item.

A trial that is beaten significantly on the inversions that both have made ends early.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch
from scipy.stats import wilcoxon

from glass_ml.analysis.comparison import compare, floor
from glass_ml.analysis.coordination import coordination_fractions, find_bonds
from glass_ml.analysis.ensemble import Anatomy
from glass_ml.analysis.names import LEAST
from glass_ml.measurements.likelihood import build_likelihood
from glass_ml.measurements.target import Target
from glass_ml.sampling.constraints import MinimumDistance, too_close
from glass_ml.settings.tuning import Limits, Pruning
from glass_ml.structures.state import Structures

COMPARED = ("held_out", "realism")
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
        reference: the structures behind the data.
    """

    name: str
    seed: int
    target: Target
    judge: Target
    reference: Structures


def score(item: Item, structures: Structures, shortest: Sequence[Sequence[float]], limits: Limits) -> dict[str, float]:
    """The numbers of one inversion, means over its structures.

    - `R NAME`: R-factor of a held-out measurement;
    - `held_out`: their geometric mean;
    - `angle.rmse`, `coordination.emd`: distance from the reference structures;
    - `realism`: mean of the two, each in units of what one reference structure differs by from the others;
    - `too_close`: pairs per atom nearer than `limits.shortest` times the shortest distance;
    - `defects`: share of atoms with another number of neighbours than most of their element in the references,
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
    reference = Anatomy.of(item.reference)
    distances = compare(structures, reference, rings=False)
    apart = floor(reference, rings=False) if item.reference.n_systems > 1 else {}
    shares = []
    for name in REALISM:
        numbers[name] = float(distances[name].mean())
        shares.append(numbers[name] / max(LEAST[name], float(apart[name].mean()) if name in apart else 0.0))
    numbers["realism"] = float(np.mean(shares))
    closest = MinimumDistance({(int(a), int(b)): limits.shortest * r for a, b, r in shortest})
    numbers["too_close"] = float(too_close(structures, closest).sum()) / structures.n_atoms
    numbers["defects"] = defects(structures, reference)
    return numbers


def defects(structures: Structures, reference: Anatomy) -> float:
    """Share of atoms with a wrong number of neighbours, above that of the reference structures."""
    tables = [
        coordination_fractions(bonds) for bonds in (find_bonds(structures, reference.bonds.cutoffs), reference.bonds)
    ]
    excess = []
    for z, right in tables[1].items():
        number = int(np.nanmean(right, axis=0).argmax())
        found = np.nanmean(tables[0][z], axis=0)
        share = float(found[number]) if number < len(found) else 0.0
        atoms = float(np.mean(reference.bonds.numbers == z))
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


@dataclass(frozen=True)
class Finished:
    """A trial that ended well: its number, its network calls and the numbers of its items."""

    number: int
    calls: float
    items: Sequence[Mapping[str, float]]


def beaten_by(
    calls: float, items: Sequence[Mapping[str, float]], others: Sequence[Finished], rules: Pruning
) -> int | None:
    """The number of a finished trial that makes it pointless to go on with this one; None where there is none.

    Such a trial has no more network calls, is better in held-out misfit and in realism, each on average and by the
    margin, and significantly so: one-sided signed-rank test of the logarithms of the ratios, item by item, of both
    (Wilcoxon, doi:10.2307/3001968). A trial that is better in one of them, or cheaper, may be a compromise worth
    having.
    """
    if len(items) < max(2, rules.after):
        return None
    for other in others:
        ratios = np.array([log_ratios(items, other.items, name) for name in COMPARED])
        worth = bool((ratios.mean(axis=1) > np.log1p(rules.margin)).all())
        if other.calls <= calls and worth and chance(-ratios.ravel()) <= rules.p:
            return other.number
    return None


def log_ratios(mine: Sequence[Mapping[str, float]], theirs: Sequence[Mapping[str, float]], name: str) -> list[float]:
    """By how much the first is worse on the same items: the logarithms of the ratios of their numbers."""
    return [float(np.log(max(a[name], 1e-12) / max(b[name], 1e-12))) for a, b in zip(mine, theirs, strict=False)]


def chance(logs: np.ndarray, candidates: int = 1) -> float:
    """How probable ratios with these logarithms, or better ones, are of settings that are no better, one of so many.

    One-sided signed-rank test (Wilcoxon, doi:10.2307/3001968), with Bonferroni's correction.
    """
    return min(1.0, candidates * float(wilcoxon(logs, alternative="less").pvalue)) if np.any(logs) else 1.0


def items_needed(p: float, candidates: int) -> int:
    """How many items it takes for a `chance` of at most `p` to be possible: all ratios below 1 have 2^-items."""
    return next(items for items in count(1) if candidates * 0.5**items <= p)
