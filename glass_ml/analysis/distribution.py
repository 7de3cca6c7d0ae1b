"""Partial pair distribution functions by plain counting, for description and comparison (not differentiable)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from glass_ml.analysis.names import element_rank, pair_name
from glass_ml.structures.neighbours import neighbour_pairs
from glass_ml.structures.state import Structures

Array = NDArray[np.float64]

BIN = 0.02
"""Width of a distance bin, Å."""

R_MAX = 8.4
"""Distance to which pairs are counted, Å: 8 Å and four times the smearing of 0.1 Å."""


@dataclass(frozen=True)
class PartialGr:
    """Pair counts of S structures for P element pairs in R distance bins.

    Attributes:
        pairs: the two atomic numbers of each pair, the more electropositive first.
        r: bin centres, (R,), Å.
        counts: ordered pairs found, (S, P, R).
        ideal: ordered pairs that an ideal gas of the same density has, (S, P, R); 0 if an element is absent.
        shortest: shortest distance, (S, P), Å; nan if none within R_MAX.
    """

    pairs: tuple[tuple[int, int], ...]
    r: Array
    counts: Array
    ideal: Array
    shortest: Array

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the pairs, 'Si-O'."""
        return tuple(pair_name(a, b) for a, b in self.pairs)

    def g(self, smearing: float = 0.0) -> Array:
        """g_ab(r) of every structure, (S, P, R), smeared by a Gaussian of `smearing` (Å, standard deviation)."""
        return _ratio(self.counts, self.ideal, smearing)

    def pooled(self, smearing: float = 0.0) -> Array:
        """g_ab(r) of all structures together, (P, R)."""
        return _ratio(self.counts.sum(0), self.ideal.sum(0), smearing)

    def total(self, smearing: float = 0.0) -> Array:
        """Number-weighted total g(r) of every structure, (S, R)."""
        weight = np.array([1.0 if a == b else 2.0 for a, b in self.pairs])
        counts, ideal = (np.einsum("p,spr->sr", weight, x) for x in (self.counts, self.ideal))
        return _ratio(counts, ideal, smearing)


def _ratio(counts: Array, ideal: Array, smearing: float) -> Array:
    g = np.divide(counts, ideal, out=np.zeros_like(counts), where=ideal > 0)
    return gaussian_filter1d(g, smearing / BIN, axis=-1, mode="nearest") if smearing else g


def partial_gr(structures: Structures, r_max: float = R_MAX) -> PartialGr:
    """Count the pairs of every structure; g_ab(r) = V n_ab(r) / (N_a N_b 4 pi r^2 dr), n_ab ordered pairs."""
    elements = sorted(structures.numbers.unique().tolist(), key=element_rank)
    pairs = tuple((a, b) for k, a in enumerate(elements) for b in elements[k:])
    index = np.zeros((len(elements), len(elements)), dtype=np.int64)
    for p, (a, b) in enumerate(pairs):
        index[elements.index(a), elements.index(b)] = index[elements.index(b), elements.index(a)] = p
    kind_of = np.zeros(max(elements) + 1, dtype=np.int64)
    kind_of[elements] = np.arange(len(elements))
    n_bins = round(r_max / BIN)
    edges = BIN * np.arange(n_bins + 1, dtype=np.float64)
    shell = 4 / 3 * np.pi * np.diff(edges**3)
    counts = np.zeros((structures.n_systems, len(pairs), n_bins))
    ideal = np.zeros_like(counts)
    shortest = np.full((structures.n_systems, len(pairs)), np.nan)
    same = np.array([a == b for a, b in pairs])
    for s, one in enumerate(structures.split()):
        found = neighbour_pairs(one, r_max, full=False)
        distance = found.vectors(one).norm(dim=-1).cpu().double().numpy()
        kind = kind_of[one.numbers.cpu().numpy()]
        pair = index[kind[found.i.cpu().numpy()], kind[found.j.cpu().numpy()]]
        bins = np.minimum((distance / BIN).astype(np.int64), n_bins - 1)
        half = np.bincount(pair * n_bins + bins, minlength=len(pairs) * n_bins).reshape(len(pairs), n_bins)
        counts[s] = half * np.where(same, 2.0, 1.0)[:, None]
        amount = np.bincount(kind, minlength=len(elements))
        number = np.array([amount[elements.index(a)] * amount[elements.index(b)] for a, b in pairs])
        ideal[s] = number[:, None] * shell / float(one.volume[0])
        for p in range(len(pairs)):
            if (chosen := distance[pair == p]).size:
                shortest[s, p] = chosen.min()
    return PartialGr(pairs, edges[:-1] + BIN / 2, counts, ideal, shortest)
