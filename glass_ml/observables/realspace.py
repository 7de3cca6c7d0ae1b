"""Pair distribution functions: g(r), and G(r), D(r), T(r) as an instrument sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ase.data import atomic_numbers
from torch import Tensor

from glass_ml.errors import InputError
from glass_ml.observables.base import WINDOWS, Instrument, Observable
from glass_ml.observables.factors import BARN
from glass_ml.observables.fields import setting
from glass_ml.observables.kinds import Kind, Settings, register
from glass_ml.observables.linear import WeightedPairs
from glass_ml.observables.pairs import SPACING, PairHistograms, pair_types
from glass_ml.structures.state import Structures

RIPPLES = 6
"""How many periods 2 pi / qmax beyond the grid pairs are taken into the convolution with the termination."""

RADIATIONS = ("xray", "neutron", "number")
R_AXIS = "r (Å)"
BROADENING = "standard deviation of distances by motion that structures do not carry"


def parse_pair(text: str, where: str = "pair") -> tuple[int, int]:
    """Two atomic numbers, ascending, of a text such as 'Si-O'.

    Raises:
        InputError: not two element symbols.
    """
    parts = text.split("-")
    if len(parts) != 2 or any(p not in atomic_numbers or p == "X" for p in parts):
        raise InputError(f"'{text}' is not a pair of elements", where, "write two symbols, such as Si-O")
    a, b = sorted(atomic_numbers[p] for p in parts)
    return a, b


def pair_text(value: Any, where: str) -> str:
    """The text itself, if it is a pair of elements."""
    parse_pair(str(value), where)
    return str(value)


def elements_in(text: str) -> list[str]:
    """The symbols that a text such as 'Si-O', 'Si-*' or 'O-Si-O' names."""
    return text.removesuffix("-*").split("-")


@register(Kind("gr", "g(r)", R_AXIS, "g(r)", "g(r), 1 at large r", "r", "x(y-1)"))
@dataclass(frozen=True, kw_only=True)
class RadialSettings(Settings):
    """Fields of g(r)."""

    pair: str | None = setting(
        None,
        parse=pair_text,
        elements=elements_in,
        help="one partial, such as `O-O`; all pairs by `radiation` otherwise",
    )
    radiation: str = setting(
        "number", choices=RADIATIONS, help="weights of the elements: `number` weighs all atoms alike"
    )
    broadening: float = setting(0.0, unit="Å", least=0, help=BROADENING)

    def observable(self, kind: str, grid: Tensor, cells: Structures | None = None) -> Observable:
        """g(r) on a grid of distances (n,), Å."""
        return RadialDistribution(grid, self.broadening, self.pair, self.radiation)


@register(
    Kind("pdf", "G(r)", R_AXIS, "G(r) (Å⁻²)", "G(r) = 4πρr (g − 1), Å⁻²", "r"),
    Kind("dr", "D(r)", R_AXIS, "D(r) (barn Å⁻²)", "D(r) = ⟨b⟩² G(r) of Keen, barn Å⁻²", "r"),
    Kind("tr", "T(r)", R_AXIS, "T(r) (barn Å⁻²)", "T(r) = D(r) + 4πρr ⟨b⟩², barn Å⁻²", "r"),
)
@dataclass(frozen=True, kw_only=True)
class PairDistributionSettings(Settings):
    """Fields of G(r), D(r) and T(r), which were transformed from data in Q."""

    radiation: str | None = setting(
        None, choices=RADIATIONS, help="weights of the elements: `xray` by default of `pdf`, `neutron` of `dr` and `tr`"
    )
    window: str = setting("none", choices=WINDOWS, help="in Q, of the transform: `lorch` or `none`")
    qmin: float = setting(0.0, unit="1/Å", least=0, help="lower end of the Q-range that was transformed")
    qmax: float | None = setting(None, unit="1/Å", above=0, help="upper end of it; without it no termination")
    qdamp: float = setting(0.0, unit="1/Å", least=0, help="Gaussian resolution in Q: exp(−(r qdamp)²/2)")
    qbroad: float = setting(0.0, least=0, help="peaks widen by qbroad r")
    broadening: float = setting(0.0, unit="Å", least=0, help=BROADENING)

    def observable(self, kind: str, grid: Tensor, cells: Structures | None = None) -> Observable:
        """The function on a grid of distances (n,), Å."""
        instrument = Instrument(self.qmin, self.qmax, self.qdamp, self.qbroad, self.window)
        return PairDistribution(kind, grid, instrument, self.broadening, self.radiation)


class RadialDistribution(WeightedPairs):
    """g(r), each point the average over a soft shell, so that an ideal gas gives exactly 1.

    The shell is a Gaussian of width `broadening`, or without it the quadratic B-spline of the grid's own spacing.

    Args:
        grid: r, (n,), Å, positive and ascending.
        broadening: standard deviation, Å.
        pair: two element symbols, as in O-O, for one partial; otherwise all pairs with the weights of `radiation`.
        radiation: 'number', 'xray' (f0 at Q = 0) or 'neutron'.
    """

    def __init__(self, grid: Tensor, broadening: float = 0.0, pair: str | None = None, radiation: str = "number"):
        self.step = np.gradient(grid.detach().cpu().double().numpy()) if len(grid) > 1 else np.array([0.1])
        width = broadening if broadening > 0 else float(self.step.min())
        super().__init__("gr", grid, radiation, min(SPACING, width / 2.5))
        self.broadening = broadening
        self.pair = parse_pair(pair) if pair else None

    def reach(self, half_width: float) -> float:
        """The last point and its shell, Å."""
        return float(self.grid[-1]) + (5 * self.broadening if self.broadening > 0 else 1.5 * float(self.step[-1]))

    def kernel(self, r: np.ndarray, half_width: float) -> np.ndarray:
        """The shell around each point; its normalisation is its own volume integral."""
        distance = r[:, None] - self.grid.detach().cpu().double().numpy()
        if self.broadening > 0:
            shell = np.exp(-0.5 * (distance / self.broadening) ** 2)
            return np.where(np.abs(distance) <= 5 * self.broadening, shell, 0.0)
        t = np.abs(distance) / self.step
        return np.where(t <= 0.5, 0.75 - t**2, 0.5 * np.clip(1.5 - t, 0, None) ** 2)

    def assemble(self, h: PairHistograms, sums: Tensor, volume: Tensor) -> Tensor:
        """g(r), (S, n)."""
        if self.pair is None:
            total, mean = self.weighted(h, sums, volume)
            return total / (h.density[:, None] * mean * volume) + 1
        a, b = self.pair
        row = pair_types(h.elements).index((a, b)) if {a, b} <= set(h.elements) else None
        if row is None:
            return torch.zeros_like(sums[:, 0])
        per_type = h.amounts[:, h.elements.index(a)] * h.amounts[:, h.elements.index(b)]
        ideal = per_type[:, None] * volume / h.volume[:, None] / (2 if a == b else 1)
        return sums[:, row] / ideal


class PairDistribution(WeightedPairs):
    """G(r), D(r) or T(r) with the termination, resolution and broadening of the measurement.

    G(x) = exp(-(x qdamp)^2/2) 4 pi rho int r (g(r) - 1) C(x, r) dr, where C is the Gaussian of width
    sqrt(broadening^2 + (qbroad x)^2), and with `qmax` its transform restricted to the measured Q:
    C(x, r) = 2/pi int_qmin^qmax sin(Qx) sin(Qr) exp(-(sigma Q)^2/2) w(Q) dQ. This is exact for isotropic Gaussian
    motion (a Debye-Waller factor in Q). PDFfit divides a peak by x, not by the pair's r: a difference of the order of
    the width over r.

    Args:
        kind: 'pdf' (normalised by <w>^2), 'dr' or 'tr' (Keen's, in barn Å^-2, radiation 'neutron').
        grid: r, (n,), Å, positive and ascending.
        instrument: qmin, qmax, qdamp, qbroad, window.
        broadening: standard deviation of every peak, Å.
        radiation: 'xray' (f0 at Q = 0), 'neutron' or 'number'; 'xray' by default for 'pdf'.

    Source: Farrow et al., J. Phys. Condens. Matter 19, 335219 (2007); Keen (2001), eqs. 26 and 29.
    """

    def __init__(self, kind: str, grid: Tensor, instrument: Instrument | None = None, broadening: float = 0.0,
                 radiation: str | None = None):  # fmt: skip
        self.instrument = instrument or Instrument()
        self.broadening = broadening
        x = grid.detach().cpu().double().numpy()
        self.width = np.sqrt(broadening**2 + (self.instrument.qbroad * x) ** 2)
        step = float(np.diff(x).min()) if len(x) > 1 else 0.05
        if self.instrument.qmax is not None:
            spacing = 0.5 / self.instrument.qmax
        else:
            self.width = np.maximum(self.width, 0.6 * step)
            spacing = float(self.width.min()) / 2.5
        super().__init__(kind, grid, radiation or ("xray" if kind == "pdf" else "neutron"), min(SPACING, spacing))

    def reach(self, half_width: float) -> float:
        """The last point, its width and the ripples that reach it, Å."""
        ripples = 0.0 if self.instrument.qmax is None else RIPPLES * 2 * np.pi / self.instrument.qmax
        return float(self.grid[-1]) + max(5 * float(self.width[-1]), ripples)

    def kernel(self, r: np.ndarray, half_width: float) -> np.ndarray:
        """C(x, r) / r exp(-(x qdamp)^2/2)."""
        x = self.grid.detach().cpu().double().numpy()
        damping = np.exp(-0.5 * (x * self.instrument.qdamp) ** 2)
        safe = np.maximum(r, 1e-3)[:, None]
        qmax = self.instrument.qmax
        if qmax is None:
            shape = np.exp(-0.5 * ((r[:, None] - x) / self.width) ** 2) / (np.sqrt(2 * np.pi) * self.width)
            shape = np.where(np.abs(r[:, None] - x) <= 5 * self.width, shape, 0.0)
            return shape / safe * damping
        n_q = int(np.ceil((qmax - self.instrument.qmin) * self.reach(half_width) / np.pi * 4)) + 2
        q, dq = _midpoints(self.instrument.qmin, qmax, n_q)
        weight = np.exp(-0.5 * np.outer(q, self.width) ** 2)
        if self.instrument.window == "lorch":
            weight *= np.sinc(q / qmax)[:, None]
        shape = np.sin(np.outer(r, q)) @ (np.sin(np.outer(q, x)) * weight) * (2 / np.pi * dq)
        edge = self.reach(half_width)
        taper = 0.5 * (1 + np.cos(np.pi * np.clip((r - x[-1]) / max(edge - x[-1], 1e-9), 0, 1)))
        return shape / safe * taper[:, None] * damping

    def assemble(self, h: PairHistograms, sums: Tensor, volume: Tensor) -> Tensor:
        """The spectrum (S, n)."""
        total, mean = self.weighted(h, sums, volume)
        if self.kind == "pdf":
            return total / mean
        if self.kind == "dr":
            return total * BARN
        r = self.grid.to(total)
        return BARN * (total + 4 * np.pi * h.density[:, None] * r * mean)


def _midpoints(low: float, high: float, n: int) -> tuple[np.ndarray, float]:
    """Centres and width of n equal intervals."""
    step = (high - low) / n
    return low + (np.arange(n) + 0.5) * step, step
