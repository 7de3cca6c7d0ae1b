"""X-ray and neutron scattering as a sine transform of the pair histograms to half the cell."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from glass_ml.errors import InputError
from glass_ml.observables.base import WINDOWS, Instrument, Observable
from glass_ml.observables.factors import BARN
from glass_ml.observables.fields import Context, setting
from glass_ml.observables.kinds import Kind, Settings, register
from glass_ml.observables.linear import WeightedPairs
from glass_ml.observables.pairs import SPACING, PairHistograms
from glass_ml.observables.reciprocal import ReciprocalScattering
from glass_ml.structures.state import Structures

METHODS = ("sine", "reciprocal")
Q_AXIS, Q_SPAN = "Q (1/Å)", (0.5, 20.0)
FABER_ZIMAN = "(Faber-Ziman), 1 at large Q"


@register(
    Kind(
        "xray-sq", "X-ray S(Q)", Q_AXIS, "S(Q)", f"S(Q) over ⟨f⟩² {FABER_ZIMAN}", "q", "x(y-1)", span=Q_SPAN,
    ),
    Kind("xray-fq", "X-ray F(Q)", Q_AXIS, "F(Q) (Å⁻¹)", "Q (S − 1) of X-rays, 1/Å", "q", span=Q_SPAN),
    Kind(
        "neutron-sq", "Neutron S(Q)", Q_AXIS, "S(Q)", f"S(Q) over ⟨b⟩² {FABER_ZIMAN}", "q", "x(y-1)", span=Q_SPAN,
    ),
    Kind(
        "neutron-fq", "Neutron F(Q)", Q_AXIS, "F(Q) (barn/sr/atom)", "Keen's F(Q) = Σ c c b b (S_ab − 1), barn/sr/atom",
        "q", "xy", span=Q_SPAN,
    ),
)  # fmt: skip
@dataclass(frozen=True, kw_only=True)
class ScatteringSettings(Settings):
    """Fields of the functions of Q."""

    window: str | None = setting(
        None,
        choices=WINDOWS,
        alone="none",
        help="of the sine transform, in model and data alike: `lorch` (the default where data are compared) or `none`",
    )
    method: str = setting(
        "sine",
        choices=METHODS,
        help="`sine`: transform of the pair histograms to half the cell; `reciprocal`: exact sum over vectors of the "
        "cell, without a window, for low Q",
    )
    limit: float | None = setting(
        13.0,
        unit="Å",
        above=0,
        alone=None,
        help="largest upper limit of the sine transform, half the cell where that is smaller",
    )
    qdamp: float = setting(0.0, unit="1/Å", least=0, help="Gaussian resolution in Q: exp(−(r qdamp)²/2)")
    broadening: float = setting(
        0.0, unit="Å", least=0, help="standard deviation of distances by motion that structures do not carry"
    )

    @property
    def shown_window(self) -> str:
        """The window, the default of the method filled in."""
        return self.window or ("lorch" if self.method == "sine" else "none")

    def check(self, context: Context) -> ScatteringSettings:
        """Refuse what the sum over reciprocal vectors does not have."""
        if self.method == "reciprocal":
            if self.shown_window != "none":
                what = "the reciprocal-space sum has no window"
                raise InputError(what, context.at("method"), "remove one of the two")
            if self.broadening or self.qdamp:
                what = "the reciprocal-space sum has neither broadening nor resolution"
                raise InputError(what, context.at("method"), "remove 'broadening' and 'qdamp', or take 'sine'")
        return self

    def exact(self) -> ScatteringSettings:
        """By the sum over reciprocal vectors."""
        return replace(self, method="reciprocal", window=None, broadening=0.0, qdamp=0.0)

    def observable(
        self, kind: str, grid: Tensor, cells: Structures | None = None, end: float | None = None
    ) -> Observable:
        """The forward model; points without a reciprocal vector of `cells` are left out.

        Args:
            kind: which of the functions.
            grid: Q, (n,), 1/Å.
            cells: gives the cells.
            end: last Q of data that are seen through the window, too.
        """
        if self.check(Context()).method == "reciprocal":
            return ReciprocalScattering(kind, grid, cells)
        instrument = Instrument(qmax=end, qdamp=self.qdamp, window=self.shown_window)
        return Scattering(kind, grid, instrument, self.reach_in(cells) if cells else self.limit, self.broadening)

    def reach_in(self, cells: Structures) -> float:
        """Upper limit of the sine transform in these cells, Å."""
        half_width = float(cells.half_width.min())
        return min(half_width * (1 - 1e-6), self.limit or half_width)  # below the rounding of float32 cells


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
        self.factors_at = grid
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


def real_space_window(r: np.ndarray, limit: float, name: str) -> np.ndarray:
    """Weight of g(r) - 1 at r (Å): 'lorch' is sin(pi r/L)/(pi r/L), 'none' is 1; both zero beyond L = `limit`.

    'none' falls to zero over the last 0.1 Å, so that a spectrum stays smooth in the positions.
    Source: Lorch, J. Phys. C 2, 229 (1969).

    Raises:
        InputError: unknown name.
    """
    if name == "lorch":
        return np.where(r < limit, np.sinc(r / limit), 0.0)
    if name == "none":
        return 0.5 * (1 + np.cos(np.pi * np.clip((r - limit + 0.1) / 0.1, 0, 1)))
    raise InputError(f"unknown window '{name}'", "window", f"one of {', '.join(WINDOWS)}")
