"""Measured scattering seen through the real-space window of a finite cell.

A model in a cell knows g(r) only to half the cell, L. Data are brought to the same resolution: Q -> r over the
whole measured range, times the window, back to Q. Below the first point, S(Q) is continued by a parabola a + b Q^2.
"""

from __future__ import annotations

import numpy as np
from scipy.interpolate import PchipInterpolator

from glass_ml.observables.scattering import real_space_window

STEP_R = 0.01
"""Step of the real-space integral, Å: sin(Qr) is integrated to 1e-4 at Q = 50 1/Å."""


def extrapolate_low_q(q: np.ndarray, f: np.ndarray, floor: float) -> tuple[float, float]:
    """a and b of a + b Q^2 that continues f below q[0], the limit `a` kept between `floor` and the first values.

    The parabola is fitted to the points within 0.4 1/Å of the first one (four at least); noise or a peak close by may
    give an impossible limit, hence the bounds. S(Q) is even in Q, and its limit is the compressibility's.
    """
    near = np.flatnonzero(q <= max(q[0] + 0.4, q[min(3, len(q) - 1)]))
    start = float(f[near[: max(1, len(near) // 4)]].mean())
    b, a = np.polyfit(q[near] ** 2, f[near], 1)
    if not floor <= a <= max(start, floor) + abs(start - floor):
        a = min(max(a, floor), max(start, floor))
        b = (start - a) / q[0] ** 2 if q[0] > 0 else 0.0
    return float(a), float(b)


def through_window(
    q: np.ndarray, f: np.ndarray, grid: np.ndarray, limit: float, window: str = "lorch", floor: float = -1.0
) -> np.ndarray:
    """f(Q) (which tends to zero at high Q: S - 1, or Keen's F) as a cell of half width `limit` (Å) would show it.

    Args:
        q: measured Q, (m,), 1/Å, ascending.
        f: measured f, (m,).
        grid: Q of the result, (n,), 1/Å.
        limit: L, Å.
        window: as in `real_space_window`.
        floor: lowest possible f(0): -1 for S - 1, -<b>^2 for Keen's F.

    Returns:
        (n,): f'(Q) = 1/Q int_0^L D(r) w(r) sin(Qr) dr with D(r) = 2/pi int Q f(Q) sin(Qr) dQ.
        Beyond the last point f is taken as zero. Between points it is the monotone cubic interpolant, which does not
        overshoot where merged scans leave two points close together.
    """
    step = float(np.clip(0.5 * np.median(np.diff(q)), 0.002, 0.01))
    n_fine = int(np.ceil(q[-1] / step))
    fine = (np.arange(n_fine) + 0.5) * q[-1] / n_fine
    a, b = extrapolate_low_q(q, f, floor)
    values = np.where(fine < q[0], a + b * fine**2, PchipInterpolator(q, f)(np.clip(fine, q[0], None)))
    n_r = int(np.ceil(limit / STEP_R))
    r = (np.arange(n_r) + 0.5) * limit / n_r
    d = 2 / np.pi * np.sin(np.outer(r, fine)) @ (fine * values) * (q[-1] / n_fine)
    d *= real_space_window(r, limit, window)
    return (np.sinc(np.outer(grid, r) / np.pi) * r) @ d * (limit / n_r)
