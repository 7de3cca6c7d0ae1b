"""What a forward model is: a grid, and a differentiable map from structures to a spectrum on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from glass_ml.structures.state import Structures

WINDOWS = ("lorch", "none")


@runtime_checkable
class Observable(Protocol):
    """A differentiable forward model.

    Attributes:
        kind: a key of `kinds()`.
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
class Uncertain(Protocol):
    """A forward model that knows its own uncertainty."""

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
