"""The likelihood of measured spectra: chi-square of a batch of structures, and its gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from glass_ml.errors import InputError
from glass_ml.measurements.comparison import Comparison, MeasurementFit, solve_scale_offset
from glass_ml.measurements.conventions import mean_length_squared
from glass_ml.measurements.spectrum import Spectrum
from glass_ml.measurements.target import Measurement, Target
from glass_ml.measurements.window import through_window
from glass_ml.observables.base import RECIPROCAL_KINDS
from glass_ml.observables.linear import PairObservable
from glass_ml.observables.pairs import SPACING, pair_histograms
from glass_ml.observables.reciprocal import ReciprocalScattering
from glass_ml.observables.registry import make_observable
from glass_ml.structures.neighbours import Pairs
from glass_ml.structures.state import Structures

Variance = float | Tensor | Mapping[str, float | Tensor]


@dataclass(frozen=True)
class Channel:
    """One measurement made ready for a cell: its forward model, and the data as that model sees them.

    Attributes:
        measurement: the entry of the target.
        observable: the forward model on the compared grid.
        target: data through the window, (n,).
        sigma: standard deviations, (n,).
    """

    measurement: Measurement
    observable: PairObservable | ReciprocalScattering
    target: Tensor
    sigma: Tensor


class Likelihood:
    """Chi-square of structures against measured spectra.

    One pass over the pairs feeds all measurements. Built by `build_likelihood` for one cell (to rounding).

    Args:
        channels: the measurements.
        half_width: half the smallest cell width that the data were windowed for, Å.
        ensemble: False: every structure is fitted alone. True: the mean over the batch is fitted; every entry of
            chi2 is then that of the mean, so that its sum over S replicas pulls each as hard as a fit alone would
            (the restraint of an average must grow with S: Pitera and Chodera, J. Chem. Theory Comput. 8, 3445 (2012)).
    """

    def __init__(self, channels: Sequence[Channel], half_width: float, *, ensemble: bool = False):
        self.channels, self.half_width, self.ensemble = tuple(channels), half_width, ensemble
        pairwise = [c.observable for c in self.channels if isinstance(c.observable, PairObservable)]
        self.r_max = max((o.reach(half_width) for o in pairwise), default=0.0)
        self.spacing = min((o.spacing for o in pairwise), default=SPACING)

    @property
    def cutoff(self) -> float:
        """Cutoff (Å) that a list of pairs must have to be passed to `chi2` and `compare`."""
        return self.r_max + 2 * self.spacing

    def predict(self, structures: Structures, pairs: Pairs | None = None, *, fitted: bool = False) -> list[Tensor]:
        """The model of every measurement (or of the fitted ones only) at scale 1, (S, n) each."""
        observables = [c.observable for c in self.channels if not fitted or c.measurement.use == "fit"]
        histograms = None
        if any(isinstance(o, PairObservable) for o in observables):
            histograms = pair_histograms(structures, self.r_max, self.spacing, pairs=pairs)
        return [
            o.from_histograms(histograms) if histograms and isinstance(o, PairObservable) else o.forward(structures)
            for o in observables
        ]

    def chi2(
        self, structures: Structures, pairs: Pairs | None = None, extra_variance: Variance | None = None
    ) -> Tensor:
        """Weighted sum over the fitted measurements of sum ((fit - target)/sigma)^2, (S,), differentiable.

        Args:
            structures: the batch.
            pairs: list with a cutoff of `cutoff` or more; searched if absent.
            extra_variance: added to sigma^2, such as the variance of the model's own uncertainty: one number, or by
                name of the measurement a number or a tensor (n,) or (S, n).
        """
        total = structures.positions.new_zeros(structures.n_systems)
        channels = [c for c in self.channels if c.measurement.use == "fit"]
        for channel, model in zip(channels, self.predict(structures, pairs, fitted=True), strict=True):
            fit = self._fit(channel, model, extra_variance)
            total = total + channel.measurement.weight * fit.chi2
        return total

    def residuals(self, structures: Structures, pairs: Pairs | None = None) -> Tensor:
        """Weighted residuals sqrt(weight) (fit - target)/sigma of all fitted measurements, differentiable.

        (S, n) over their joined points, so that `chi2` is the sum of squares of a row; (1, n) where the mean over
        the batch is fitted.
        """
        columns = []
        channels = [c for c in self.channels if c.measurement.use == "fit"]
        for channel, model in zip(channels, self.predict(structures, pairs, fitted=True), strict=True):
            fit = self._fit(channel, model, None)
            fitted = fit.fit.mean(0, keepdim=True) if self.ensemble else fit.fit
            columns.append(channel.measurement.weight**0.5 * (fitted - fit.target) / fit.sigma)
        return torch.cat(columns, dim=1)

    def compare(
        self, structures: Structures, pairs: Pairs | None = None, extra_variance: Variance | None = None
    ) -> Comparison:
        """Every measurement, validating ones too, beside the model; arguments as `chi2`."""
        models = self.predict(structures, pairs)
        return Comparison(tuple(self._fit(c, m, extra_variance) for c, m in zip(self.channels, models, strict=True)))

    def _fit(self, channel: Channel, model: Tensor, extra: Variance | None) -> MeasurementFit:
        measurement = channel.measurement
        target, sigma = channel.target.to(model), channel.sigma.to(model)
        if isinstance(extra, Mapping):
            extra = extra.get(measurement.name)
        variance = sigma.square() if extra is None else sigma.square() + extra
        compared = model.mean(0, keepdim=True) if self.ensemble else model
        if self.ensemble and variance.ndim == 2:
            variance = variance.mean(0, keepdim=True)
        scale, offset = solve_scale_offset(compared, target, variance, measurement.scale, measurement.offset)
        fitted = scale[:, None] * compared + offset[:, None]
        chi2 = ((fitted - target).square() / variance).sum(-1)
        if self.ensemble:
            scale, offset, chi2 = (t.expand(len(model)) for t in (scale, offset, chi2))
            fitted = scale[:, None] * model + offset[:, None]
        return MeasurementFit(
            measurement.name, measurement.kind, measurement.use, measurement.weight, channel.observable.grid, target,
            sigma, model, fitted, scale, offset, chi2,
        )  # fmt: skip


def build_likelihood(
    target: Target,
    structures: Structures,
    *,
    ensemble: bool = False,
    spectra: Sequence[Spectrum] | None = None,
) -> Likelihood:
    """The likelihood of a target for structures in cells such as these.

    Args:
        target: what was measured.
        structures: gives the cell (and with it the window); positions do not matter.
        ensemble: fit the mean over the batch instead of each structure.
        spectra: the data, if they are at hand already; otherwise read from the target's files.

    Raises:
        InputError: as `Target.load_spectra`; a range without points.
    """
    half_width = float(structures.half_width.min())
    spectra = target.load_spectra() if spectra is None else spectra
    channels = [
        _channel(m, s, target.composition, structures, half_width)
        for m, s in zip(target.measurements, spectra, strict=True)
    ]
    return Likelihood(channels, half_width, ensemble=ensemble)


def _channel(
    measurement: Measurement,
    spectrum: Spectrum,
    composition: Mapping[str, float],
    structures: Structures,
    half_width: float,
) -> Channel:
    low, high = measurement.x_range or (0.0, float("inf"))
    chosen = (spectrum.x >= low) & (spectrum.x <= high) & (spectrum.x > 0)
    if int(chosen.sum()) < 3:
        raise InputError("fewer than three points to compare", f"{spectrum.source}: x_range", "widen the range")
    kind, grid, in_q = measurement.kind, spectrum.x[chosen], measurement.kind in RECIPROCAL_KINDS
    limit = min(half_width * (1 - 1e-6), measurement.limit)  # below the rounding of float32 cells
    instrument = measurement.instrument
    windowed = in_q and instrument.window != "none"
    if windowed:
        instrument = replace(instrument, qmax=float(spectrum.x[-1]))
    observable = make_observable(
        kind, grid, instrument=instrument, broadening=measurement.broadening,
        radiation=measurement.radiation, pair=measurement.pair, limit=limit if in_q else None,
        method=measurement.method, cells=structures.to("cpu"),
    )  # fmt: skip
    target, sigma = spectrum.y[chosen], spectrum.sigma[chosen]
    if isinstance(observable, ReciprocalScattering):
        target, sigma = target[observable.keep], sigma[observable.keep]
    elif windowed:
        target = _windowed(spectrum, instrument.window, grid, limit, composition)
    return Channel(measurement, observable, target, sigma)


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
