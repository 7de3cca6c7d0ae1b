"""Trials are compared on the inversions that both have made: one that is beaten beyond doubt ends early."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from scipy.stats import wilcoxon

from glass_ml.settings.tuning import Pruning

COMPARED = ("held_out", "realism")
Numbers = Mapping[str, float]


@dataclass(frozen=True)
class Finished:
    """A trial that ended well: its number, its network calls and the numbers of its items."""

    number: int
    calls: float
    items: Sequence[Numbers]


def beaten_by(calls: float, items: Sequence[Numbers], others: Sequence[Finished], rules: Pruning) -> int | None:
    """The number of a finished trial that makes it pointless to go on with this one; None where there is none.

    Such a trial has no more network calls, is better in held-out misfit and in realism, each on average and by the
    margin, and beyond doubt: one-sided signed-rank test of the logarithms of the ratios, item by item, of both
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


def log_ratios(mine: Sequence[Numbers], theirs: Sequence[Numbers], name: str) -> list[float]:
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
