"""A measurement made ready for a cell: its forward model, and the data as that model sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from glass_ml.errors import InputError
from glass_ml.measurements.conventions import mean_length_squared
from glass_ml.measurements.edge_energy import EdgeEnergy, Open
from glass_ml.measurements.measurement import Measurement
from glass_ml.measurements.readers import Spectrum
from glass_ml.observables.base import Observable
from glass_ml.observables.exafs import ExafsSettings
from glass_ml.observables.kinds import find_kind
from glass_ml.observables.reciprocal import ReciprocalScattering
from glass_ml.observables.scattering import ScatteringSettings, real_space_window
from glass_ml.structures.state import Structures

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

    A model in a cell knows g(r) only to half the cell, L. Data are brought to the same resolution: Q -> r over the
    whole measured range, times the window, back to Q. Below the first point, S(Q) is continued by a parabola a + b Q^2.

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


FEWEST = 3
"""Points that a curve must have in its range."""


@dataclass(frozen=True)
class Channel:
    """One measurement made ready for a cell: its forward model, and the data as that model sees them.

    Attributes:
        measurement: the entry of the target.
        observable: the forward model.
        x: the compared points, (n,).
        target: data through the window, (n,).
        sigma: standard deviations, (n,).
        edge: brings the model from its own grid to the compared points, where something is open in between.
    """

    measurement: Measurement
    observable: Observable
    x: Tensor
    target: Tensor
    sigma: Tensor
    edge: EdgeEnergy | None = None


def make_channel(measurement: Measurement, composition: Mapping[str, float], structures: Structures) -> Channel:
    """The channel of a measurement for structures in cells such as these.

    Args:
        measurement: the entry of the target.
        composition: element symbol -> amount.
        structures: gives the cells; positions do not matter.

    Raises:
        InputError: a range without points; a forward model that cannot be made.
    """
    spectrum, settings = measurement.spectrum, measurement.settings
    low, high = measurement.x_range or (-float("inf"), float("inf"))
    chosen = (spectrum.x >= low) & (spectrum.x <= high)
    if find_kind(measurement.kind).role != "count":
        chosen &= spectrum.x > 0
        if int(chosen.sum()) < FEWEST:
            raise InputError("fewer than three points to compare", f"{spectrum.source}: x_range", "widen the range")
    x, target, sigma = spectrum.x[chosen], spectrum.y[chosen], spectrum.sigma[chosen]
    if isinstance(settings, ScatteringSettings):
        return _scattering(measurement, settings, x, target, sigma, composition, structures)
    edge, grid = None, x
    if isinstance(settings, ExafsSettings):
        opened = Open(settings.e0, settings.sigma2)
        if not opened.idle or settings.r_range:
            edge = EdgeEnergy(x, opened, settings.k_weight, settings.r_range)
            grid = edge.grid
            target = target if edge.filter is None else edge.filter @ target
    return Channel(measurement, settings.observable(measurement.kind, grid, structures), x, target, sigma, edge)


def _scattering(
    measurement: Measurement,
    settings: ScatteringSettings,
    grid: Tensor,
    target: Tensor,
    sigma: Tensor,
    composition: Mapping[str, float],
    structures: Structures,
) -> Channel:
    """A function of Q: its data are seen through the window of the cell."""
    spectrum, windowed = measurement.spectrum, settings.shown_window != "none"
    end = float(spectrum.x[-1]) if windowed else None
    observable = settings.observable(measurement.kind, grid, structures.to("cpu"), end)
    if isinstance(observable, ReciprocalScattering):
        return Channel(measurement, observable, observable.grid, target[observable.keep], sigma[observable.keep])
    if windowed:
        target = _windowed(spectrum, settings.shown_window, grid, settings.reach_in(structures), composition)
    return Channel(measurement, observable, grid, target, sigma)


def _windowed(spectrum: Spectrum, window: str, grid: Tensor, limit: float, composition: Mapping[str, float]) -> Tensor:
    """The data on the grid, through the window, in their own convention: S, F or Q F."""
    measured = spectrum.x > 0
    q, y, compared = spectrum.x[measured].numpy(), spectrum.y[measured].numpy(), find_kind(spectrum.kind).compared
    floor = -mean_length_squared(composition) if spectrum.kind == "neutron-fq" else -1.0
    f = y - 1 if compared == "x(y-1)" else y if compared == "xy" else y / q
    x = grid.numpy()
    seen = through_window(q, f, x, limit, window, floor)
    return torch.from_numpy(np.ascontiguousarray(x * seen if compared == "y" else seen + (compared == "x(y-1)") * 1.0))
