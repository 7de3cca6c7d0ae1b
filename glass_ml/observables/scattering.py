"""X-ray and neutron scattering as a sine transform of the pair histograms to half the cell."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from glass_ml.observables.base import Instrument
from glass_ml.observables.factors import BARN
from glass_ml.observables.linear import WeightedPairs
from glass_ml.observables.pairs import SPACING, PairHistograms
from glass_ml.observables.windows import real_space_window


class Scattering(WeightedPairs):
    """S(Q) or F(Q) from S_ab(Q) - 1 = 4 pi rho int_0^L r^2 (g_ab - 1) sin(Qr)/(Qr) w(r) dr.

    L is `limit`, by default half the smallest cell width of the batch, so no atom is counted with two images. w is
    the window of `instrument`, times exp(-(r qdamp)^2 / 2). The weights are Faber-Ziman's.

    Args:
        kind: one of 'xray-sq', 'xray-fq', 'neutron-sq', 'neutron-fq'.
        grid: Q, (n,), 1/Å.
        instrument: window, Q-resolution, and with `qmax` the end of the data that were brought through the window.
        limit: L, Å, at most half the cell.
        broadening: standard deviation, Å, of distances by motion that the structures do not carry (zero-point motion,
            or all of it at rest): S - 1 is multiplied by exp(-(broadening Q)^2 / 2).

    Source: Keen, J. Appl. Cryst. 34, 172 (2001), eqs. 9-11 and 19; Faber and Ziman, Phil. Mag. 11, 153 (1965).
    """

    def __init__(
        self,
        kind: str,
        grid: Tensor,
        instrument: Instrument | None = None,
        limit: float | None = None,
        broadening: float = 0.0,
    ):
        q_max = max(float(grid.max()), 1.0)
        super().__init__(kind, grid, kind.split("-")[0], min(SPACING, 0.5 / q_max))
        self.instrument = instrument or Instrument()
        self.limit = limit
        self.broadening = broadening

    def reach(self, half_width: float) -> float:
        """The upper limit L of the sine transform, Å; ValueError where it would leave the cell."""
        if self.limit is None:
            return half_width
        if self.limit > half_width * (1 + 1e-4):
            raise ValueError(f"the sine transform to {self.limit:.3f} Å leaves a cell of half width {half_width:.3f} Å")
        return self.limit

    def kernel(self, r: np.ndarray, half_width: float) -> np.ndarray:
        """w(r) sin(Qr)/(Qr) exp(-(broadening Q)^2/2); with `qmax` its transform restricted to Q < qmax."""
        limit = self.reach(half_width)
        q = self.grid.detach().cpu().double().numpy()
        if self.instrument.qmax is None:
            shape = self._window(r, limit)[:, None] * np.sinc(r[:, None] * q / np.pi)
        else:
            # what the data went through: Q < qmax to r, window, back to Q
            n = int(np.ceil(limit / 0.01))
            inner = (np.arange(n) + 0.5) * limit / n
            back = np.sinc(np.outer(inner, q) / np.pi) * (inner * self._window(inner, limit))[:, None] * (limit / n)
            top, safe = self.instrument.qmax / np.pi, np.maximum(r, 1e-3)[:, None]
            shape = (np.sinc(top * (inner - safe)) - np.sinc(top * (inner + safe))) * top / safe @ back
            shape[r > limit] = 0.0
        return shape * np.exp(-0.5 * (self.broadening * q) ** 2)

    def _window(self, r: np.ndarray, limit: float) -> np.ndarray:
        """Window and resolution in real space, zero beyond L."""
        return real_space_window(r, limit, self.instrument.window) * np.exp(-0.5 * (r * self.instrument.qdamp) ** 2)

    def assemble(self, h: PairHistograms, sums: Tensor, volume: Tensor) -> Tensor:
        """The spectrum (S, n)."""
        total, mean = self.weighted(h, sums, volume)
        if self.kind == "neutron-fq":
            return total * BARN
        structure = total / mean
        return self.grid.to(structure) * structure if self.kind == "xray-fq" else structure + 1
