"""Neighbours within windows of distance: how many an atom has, and how deep they lie where none should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from glass_ml.errors import InputError
from glass_ml.observables.base import Observable
from glass_ml.observables.fields import setting
from glass_ml.observables.kinds import Kind, Settings, register
from glass_ml.observables.linear import PairObservable, spline_coefficients
from glass_ml.observables.pairs import PairHistograms
from glass_ml.observables.realspace import R_AXIS, elements_in, pair_text, parse_pair
from glass_ml.structures.state import Structures

EDGE = 0.1
"""Distance over which a window opens and closes, Å, about its ends."""

SPAN = (0.5, 6.0)


@register(
    Kind(
        "pair-count", "Neighbours", R_AXIS, "neighbours per atom", "neighbours per atom up to r, or inside `between`",
        "count", fixes="Coordination", span=SPAN,
    ),
)  # fmt: skip
@dataclass(frozen=True, kw_only=True)
class PairCountSettings(Settings):
    """Fields of a number of neighbours."""

    pair: str = setting(parse=pair_text, elements=elements_in, help="`Si-O`: the O around each Si")
    between: tuple[float, float] | None = setting(
        None, unit="Å", help="window of distances, for one value; from 0 to each x by default"
    )

    def grid(self, low: float, high: float, points: int) -> Tensor:
        """The end of the window, or the points from low to high."""
        if self.between:
            return torch.tensor(self.between[1:], dtype=torch.float64)
        return super().grid(low, high, points)

    def windows(self, grid: Tensor) -> list[tuple[float, float]]:
        """The window of every point; raises InputError where there are several points for one."""
        if self.between and len(grid) != 1:
            raise InputError(f"{len(grid)} values for one window", "values", "give one value beside 'between'")
        return [self.between] if self.between else [(0.0, high) for high in grid.tolist()]

    def observable(self, kind: str, grid: Tensor, cells: Structures | None = None) -> Observable:
        """The numbers, one for each window."""
        return PairCount(self.windows(grid), self.pair)


@register(
    Kind(
        "distance-window", "Distance window", R_AXIS, "depth (Å per atom)",
        "depth of the pairs inside a forbidden window, Å per atom", "count", fixes="Coordination", span=SPAN,
    ),
)  # fmt: skip
@dataclass(frozen=True, kw_only=True)
class WindowSettings(PairCountSettings):
    """Fields of a forbidden window."""

    between: tuple[float, float] = setting(unit="Å", help="the forbidden window of distances; x is its upper end")

    def observable(self, kind: str, grid: Tensor, cells: Structures | None = None) -> Observable:
        """The depth, for each window."""
        return WindowDepth(self.windows(grid), self.pair)


class PairCount(PairObservable):
    """Mean number of neighbours b of an atom a between two distances, one point per window.

    Args:
        windows: (low, high), Å; both ends are soft over `EDGE`, but a low end of 0 is not.
        pair: 'Si-O': the O around each Si.

    Raises:
        InputError: not a pair; a window that does not ascend from 0.
    """

    kind_of = "pair-count"

    def __init__(self, windows: Sequence[tuple[float, float]], pair: str):
        parse_pair(pair)
        if any(not 0 <= low < high for low, high in windows):
            raise InputError("a window of distances does not ascend from 0", "between", "write [low, high] in Å")
        super().__init__(self.kind_of, torch.tensor([high for _, high in windows], dtype=torch.float64))
        from ase.data import atomic_numbers

        self.windows = tuple(windows)
        self.centre, self.end = (atomic_numbers[symbol] for symbol in pair.split("-"))
        self._kernels: dict[tuple, Tensor] = {}

    def reach(self, half_width: float) -> float:
        """The farthest window's end, Å."""
        return max(high for _, high in self.windows) + EDGE

    def shape(self, r: np.ndarray, low: float, high: float) -> np.ndarray:
        """What a pair at distances r (B,), Å, counts in a window, (B,)."""
        return _below(r, high) - (_below(r, low) if low > 0 else 0.0)

    def from_histograms(self, h: PairHistograms) -> Tensor:
        """Neighbours per atom, (S, n); 0 where an element is missing."""
        if not {self.centre, self.end} <= set(h.elements):
            return h.counts.new_zeros(len(h.counts), len(self.windows))
        return h.counts[:, self._row(h)] @ self._kernel(h) / self._amount(h)[:, None]

    def response(self, h: PairHistograms) -> Tensor:
        """Derivative in the counts, (n, T, B)."""
        response = h.counts.new_zeros(len(self.windows), *h.counts.shape[1:])
        response[:, self._row(h)] = self._kernel(h).T / self._amount(h)[0]
        return response

    def _row(self, h: PairHistograms) -> int:
        return h.pair_types.index((min(self.centre, self.end), max(self.centre, self.end)))

    def _amount(self, h: PairHistograms) -> Tensor:
        return h.amounts[:, h.elements.index(self.centre)].clamp(min=1)

    def _kernel(self, h: PairHistograms) -> Tensor:
        """Spline coefficients of the windows, (B, n)."""
        key = (h.counts.shape[-1], h.spacing, h.counts.dtype, h.counts.device)
        if key not in self._kernels:
            self.check_reach(h)
            r = np.arange(h.counts.shape[-1]) * h.spacing
            both = 2.0 if self.centre == self.end else 1.0  # either atom of a pair is a neighbour of the other
            shapes = [self.shape(r, low, high) for low, high in self.windows]
            coefficients = spline_coefficients(both * np.stack(shapes, axis=1))
            self._kernels = {key: torch.from_numpy(coefficients).to(h.counts)}
        return self._kernels[key]


class WindowDepth(PairCount):
    """How far the pairs inside a window are from its nearer end, Å, summed per atom a: what a forbidden window costs.

    Unlike their number it has a slope everywhere in the window, which leads pairs out of it. From a window that begins
    at 0 the only way is out at its upper end. Arguments as `PairCount`.
    """

    kind_of = "distance-window"

    def shape(self, r: np.ndarray, low: float, high: float) -> np.ndarray:
        """The depth, (B,), Å."""
        return np.clip(high - r if low == 0 else np.minimum(r - low, high - r), 0, None)


def _below(r: np.ndarray, end: float) -> np.ndarray:
    """1 below `end`, 0 above it, half a cosine over `EDGE` between."""
    return 0.5 * (1 + np.cos(np.pi * np.clip((r - end) / EDGE + 0.5, 0, 1)))
