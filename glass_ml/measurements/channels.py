"""A measurement made ready for a cell: its forward model, and the data as that model sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from glass_ml.errors import InputError
from glass_ml.measurements.conventions import mean_length_squared
from glass_ml.measurements.measurement import Measurement
from glass_ml.measurements.spectrum import Spectrum
from glass_ml.measurements.threshold import Open, Threshold
from glass_ml.measurements.window import through_window
from glass_ml.observables.base import COUNTED_KINDS, RECIPROCAL_KINDS, Observable
from glass_ml.observables.reciprocal import ReciprocalScattering
from glass_ml.observables.registry import make_observable
from glass_ml.structures.state import Structures

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
        threshold: brings the model from its own grid to the compared points, where something is open in between.
    """

    measurement: Measurement
    observable: Observable
    x: Tensor
    target: Tensor
    sigma: Tensor
    threshold: Threshold | None = None


def make_channel(
    measurement: Measurement,
    spectrum: Spectrum,
    composition: Mapping[str, float],
    structures: Structures,
    half_width: float,
) -> Channel:
    """The channel of a measurement for structures in cells such as these.

    Args:
        measurement: the entry of the target.
        spectrum: its data.
        composition: element symbol -> amount.
        structures: gives the cells; positions do not matter.
        half_width: half their smallest width, Å.

    Raises:
        InputError: a range without points; a forward model that cannot be made.
    """
    low, high = measurement.x_range or (-float("inf"), float("inf"))
    chosen = (spectrum.x >= low) & (spectrum.x <= high)
    if measurement.kind not in COUNTED_KINDS:
        chosen &= spectrum.x > 0
        if int(chosen.sum()) < FEWEST:
            raise InputError("fewer than three points to compare", f"{spectrum.source}: x_range", "widen the range")
    if measurement.between and int(chosen.sum()) != 1:
        raise InputError(f"{int(chosen.sum())} values for one window", "values", "give one value beside 'between'")
    x, target, sigma = spectrum.x[chosen], spectrum.y[chosen], spectrum.sigma[chosen]
    if measurement.kind in RECIPROCAL_KINDS:
        return _scattering(measurement, spectrum, chosen, composition, structures, half_width)
    threshold, grid = None, x
    if measurement.kind == "exafs":
        opened = Open(measurement.e0, measurement.sigma2)
        if not opened.idle or measurement.r_range:
            threshold = Threshold(x, opened, measurement.k_weight, measurement.r_range)
            grid = threshold.grid
            target = target if threshold.filter is None else threshold.filter @ target
    observable = make_observable(
        measurement.kind, grid, instrument=measurement.instrument, broadening=measurement.broadening,
        radiation=measurement.radiation, pair=measurement.pair,
        limit=measurement.limit if measurement.kind == "exafs" else None, table=measurement.table,
        edge=measurement.edge, k_weight=measurement.k_weight, triplet=measurement.triplet, cutoff=measurement.cutoff,
        width=measurement.width, between=measurement.between, surrogate=measurement.surrogate,
    )  # fmt: skip
    return Channel(measurement, observable, x, target, sigma, threshold)


def _scattering(
    measurement: Measurement,
    spectrum: Spectrum,
    chosen: Tensor,
    composition: Mapping[str, float],
    structures: Structures,
    half_width: float,
) -> Channel:
    """A function of Q: its data are seen through the window of the cell."""
    grid, target, sigma = spectrum.x[chosen], spectrum.y[chosen], spectrum.sigma[chosen]
    limit = min(half_width * (1 - 1e-6), measurement.limit)  # below the rounding of float32 cells
    instrument = measurement.instrument
    windowed = instrument.window != "none"
    if windowed:
        instrument = replace(instrument, qmax=float(spectrum.x[-1]))
    observable = make_observable(
        measurement.kind, grid, instrument=instrument, broadening=measurement.broadening,
        limit=limit, method=measurement.method, cells=structures.to("cpu"),
    )  # fmt: skip
    if isinstance(observable, ReciprocalScattering):
        return Channel(measurement, observable, observable.grid, target[observable.keep], sigma[observable.keep])
    if windowed:
        target = _windowed(spectrum, instrument.window, grid, limit, composition)
    return Channel(measurement, observable, grid, target, sigma)


def _windowed(spectrum: Spectrum, window: str, grid: Tensor, limit: float, composition: Mapping[str, float]) -> Tensor:
    """The data on the grid, through the window, in their own convention."""
    measured = spectrum.x > 0
    q, y, kind = spectrum.x[measured].numpy(), spectrum.y[measured].numpy(), spectrum.kind
    floor = -mean_length_squared(composition) if kind == "neutron-fq" else -1.0
    f = y / q if kind == "xray-fq" else y if kind == "neutron-fq" else y - 1
    x = grid.numpy()
    seen = through_window(q, f, x, limit, window, floor)
    return torch.from_numpy(
        np.ascontiguousarray(x * seen if kind == "xray-fq" else seen + (kind != "neutron-fq") * 1.0)
    )
