"""Early ends: a trial is compared with better ones on the inversions that both have made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from glass_ml.tuning.config import Pruning

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

    Such a trial has no more network calls and is better in held-out misfit and in realism, with confidence. A trial
    that is better in one of them, or cheaper, may be a compromise worth having.
    """
    if len(items) < max(2, rules.after):
        return None
    for other in others:
        if other.calls <= calls and all(_worse(items, other.items, name, rules) for name in COMPARED):
            return other.number
    return None


def _worse(mine: Sequence[Numbers], theirs: Sequence[Numbers], name: str, rules: Pruning) -> bool:
    """Whether the first is worse on the same items: a paired, one-sided t test of the logarithms of the ratios."""
    pairs = list(zip(mine, theirs, strict=False))
    ratio = np.log([max(a[name], 1e-12) / max(b[name], 1e-12) for a, b in pairs])
    mean, n = float(ratio.mean()), len(ratio)
    if mean <= np.log1p(rules.margin):
        return False
    error = float(ratio.std(ddof=1)) / n**0.5
    return error == 0 or float(student.sf(mean / error, n - 1)) <= rules.p
