"""What a forward model is: a grid, and a differentiable map from structures to a spectrum on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from glass_ml.structures.state import Structures

KINDS: dict[str, tuple[str, str]] = {
    "gr": ("r (Å)", "g(r), 1 at large r"),
    "pdf": ("r (Å)", "G(r) = 4 pi rho r (g - 1), Å^-2"),
    "dr": ("r (Å)", "D(r) = 4 pi rho r sum c_a c_b b_a b_b (g_ab - 1), barn Å^-2"),
    "tr": ("r (Å)", "T(r) = D(r) + 4 pi rho r <b>^2, barn Å^-2"),
    "xray-sq": ("Q (1/Å)", "S(Q) normalised by <f>^2 (Faber-Ziman), 1 at large Q"),
    "xray-fq": ("Q (1/Å)", "F(Q) = Q (S - 1) of X-rays, 1/Å"),
    "neutron-sq": ("Q (1/Å)", "S(Q) normalised by <b>^2 (Faber-Ziman), 1 at large Q"),
    "neutron-fq": ("Q (1/Å)", "F(Q) = sum c_a c_b b_a b_b (S_ab - 1), barn/sr/atom"),
    "exafs": ("k (1/Å)", "k^w chi(k) of one absorption edge"),
    "xanes": ("E (eV)", "X-ray absorption near one edge, as its surrogate was trained"),
    "adf": ("angle (degrees)", "distribution of a bond angle, % per degree"),
    "coordination": ("neighbours", "fraction of the atoms that have so many"),
    "pair-count": ("r (Å)", "neighbours per atom up to r"),
    "distance-window": ("r (Å)", "depth of the pairs inside a forbidden window, Å per atom"),
}
"""Kind of a spectrum -> (its x and unit, what y is); scattering after Keen, J. Appl. Cryst. 34, 172 (2001)."""

RECIPROCAL_KINDS = ("xray-sq", "xray-fq", "neutron-sq", "neutron-fq")
"""The kinds that are functions of Q."""

COUNTED_KINDS = ("coordination", "pair-count", "distance-window")
"""The kinds that are numbers and no curves."""


@runtime_checkable
class Observable(Protocol):
    """A differentiable forward model.

    Attributes:
        kind: a key of `KINDS`.
        grid: the points, (n,), at which the spectrum is predicted.
    """

    kind: str
    grid: Tensor

    def forward(self, structures: Structures) -> Tensor:
        """The spectrum of every system, (S, n), differentiable in the positions."""
        ...


@runtime_checkable
class Jacobian(Protocol):
    """A forward model with a short way to the derivative of every point."""

    def jacobian(self, structures: Structures) -> Tensor:
        """Derivative of every point of each atom's own system in the positions, (n, N, 3)."""
        ...


@runtime_checkable
class Doubtful(Protocol):
    """A forward model that knows how far it can be trusted."""

    def remarks(self, structures: Structures) -> dict[str, Tensor]:
        """What it says of every system, by name, (S,) each."""
        ...


@dataclass(frozen=True)
class Instrument:
    """What the measurement does to the ideal spectrum.

    Attributes:
        qmin: lower end of the Q-range that was transformed to a real-space function, 1/Å.
        qmax: upper end of it, 1/Å; None: no termination. Functions of Q that go through the window share it: data end
            there, and what lies beyond is missing on both sides.
        qdamp: Gaussian Q-resolution, 1/Å: real-space functions decay by exp(-(r qdamp)^2 / 2).
        qbroad: peaks of real-space functions widen by qbroad r, added in quadrature (PDFgui's Qbroad is relative to
            the thermal width: multiply it by that width, Å).
        window: 'lorch' or 'none'. Reciprocal-space kinds: in real space, sin(pi r/L)/(pi r/L) with L half the
            cell. Real-space kinds with `qmax`: in Q, sin(pi Q/qmax)/(pi Q/qmax).
    """

    qmin: float = 0.0
    qmax: float | None = None
    qdamp: float = 0.0
    qbroad: float = 0.0
    window: str = "none"
