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
from glass_ml.observables.pairs import SPACING, MovingHistograms, PairHistograms, pair_cutoff, pair_histograms
from glass_ml.observables.reciprocal import ReciprocalScattering
from glass_ml.observables.registry import make_observable
from glass_ml.structures.neighbours import Pairs
from glass_ml.structures.state import Structures

SKIN = 1.0
"""How much farther than needed the neighbours of structures that move are searched, Å."""

NEGLIGIBLE = 1e-4
"""Singular value of a forward model, relative to its largest, below which a combination of points says nothing."""

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
        self.fitted = tuple(c for c in self.channels if c.measurement.use == "fit")
        self._moving = MovingHistograms(*self._range(self.fitted), SKIN)
        self._compressed: tuple[tuple, dict[str, tuple[Tensor, Tensor]]] | None = None

    @property
    def cutoff(self) -> float:
        """Cutoff (Å) that a list of pairs must have to be passed to `chi2` and `compare`."""
        return pair_cutoff(*self._range(self.channels))

    def _range(self, channels: Sequence[Channel]) -> tuple[float, float]:
        """Largest distance that the pair spectra among some measurements need, and their spacing of nodes, Å."""
        pairwise = [c.observable for c in channels if isinstance(c.observable, PairObservable)]
        reach = max((o.reach(self.half_width) for o in pairwise), default=0.0)
        return reach, min((o.spacing for o in pairwise), default=SPACING)

    def predict(self, structures: Structures, pairs: Pairs | None = None, *, fitted: bool = False) -> list[Tensor]:
        """The model of every measurement (or of the fitted ones only) at scale 1, (S, n) each."""
        channels = self.fitted if fitted else self.channels
        histograms = None
        if any(isinstance(c.observable, PairObservable) for c in channels):
            if fitted and pairs is None:
                histograms = self._moving(structures)
            else:
                histograms = pair_histograms(structures, *self._range(channels), pairs=pairs)
        return [
            c.observable.from_histograms(histograms)
            if histograms and isinstance(c.observable, PairObservable)
            else c.observable.forward(structures)
            for c in channels
        ]

    def chi2(
        self, structures: Structures, pairs: Pairs | None = None, extra_variance: Variance | None = None
    ) -> Tensor:
        """Weighted sum over the fitted measurements of sum ((fit - target)/sigma)^2, (S,), differentiable.

        Args:
            structures: the batch.
            pairs: list with a cutoff of `cutoff` or more. If absent, neighbours are kept from call to call for as long
                as the atoms move little.
            extra_variance: added to sigma^2, such as the variance of the model's own uncertainty: one number, or by
                name of the measurement a number or a tensor (n,) or (S, n).
        """
        total = structures.positions.new_zeros(structures.n_systems)
        for channel, model in zip(self.fitted, self.predict(structures, pairs, fitted=True), strict=True):
            fit = self._fit(channel, model, extra_variance)
            total = total + channel.measurement.weight * fit.chi2
        return total

    def residuals(self, structures: Structures, pairs: Pairs | None = None) -> Tensor:
        """Weighted residuals sqrt(weight) (fit - target)/sigma of all fitted measurements, differentiable.

        (S, n) over their joined points, so that `chi2` is the sum of squares of a row; (1, n) where the mean over
        the batch is fitted.
        """
        models = self.predict(structures, pairs, fitted=True)
        fits = (self._fit(channel, model, None) for channel, model in zip(self.fitted, models, strict=True))
        return torch.cat([self._gap(channel, fit) for channel, fit in zip(self.fitted, fits, strict=True)], dim=1)

    def linearise(self, structures: Structures) -> tuple[Tensor, Tensor]:
        """What a least-squares step needs: residuals (R, k) in few numbers, and their derivatives (k, N, 3).

        The points of a spectrum depend on each other: an S(Q) seen through L Å up to Q holds about Q L / pi numbers.
        The residuals of each measurement are projected on the space that its model can reach, so that their sum of
        squares is `chi2` but for a constant. The derivative in an atom is that of its own system's residuals (of
        the mean's where that is fitted), at the present scale and offset.
        """
        with torch.no_grad():
            fits = [
                self._fit(channel, model, None)
                for channel, model in zip(self.fitted, self.predict(structures, fitted=True), strict=True)
            ]
        compressed, slopes = {}, structures.positions.new_empty(0)
        if any(isinstance(c.observable, PairObservable) for c in self.fitted):
            compressed = self._compress(self._moving(structures))
            slopes = self._moving.jacobian(structures, torch.cat([rows for _, rows in compressed.values()]))
        residuals, jacobian, first = [], [], 0
        for channel, fit in zip(self.fitted, fits, strict=True):
            gap = self._gap(channel, fit)
            if channel.measurement.name in compressed:
                basis, rows = compressed[channel.measurement.name]
                gap, slope = gap @ basis, slopes[first : first + len(rows)]
                first += len(rows)
            else:
                slope = _slopes(channel, structures) * (channel.measurement.weight**0.5 / fit.sigma)[:, None, None]
            residuals.append(gap)
            jacobian.append(slope * fit.scale[structures.system][:, None])
        share = structures.n_systems if self.ensemble else 1
        return torch.cat(residuals, dim=1), torch.cat(jacobian) / share

    def _compress(self, histograms: PairHistograms) -> dict[str, tuple[Tensor, Tensor]]:
        """By measurement: a basis (n, k) of what its model reaches, and the share of the counts in it, (k, T, B)."""
        counts = histograms.counts
        key = (counts.shape[1:], counts.dtype, counts.device, histograms.elements, float(histograms.density[0]))
        if self._compressed is not None and self._compressed[0] == key:
            return self._compressed[1]
        found = {}
        for channel in self.fitted:
            if isinstance(channel.observable, PairObservable):
                response = channel.observable.response(histograms).double()
                weight = channel.measurement.weight**0.5 / channel.sigma.to(response)
                u, s, vt = torch.linalg.svd(weight[:, None] * response.flatten(1), full_matrices=False)
                k = max(1, int((s > NEGLIGIBLE * s[0]).sum()))
                rows = (s[:k, None] * vt[:k]).view(k, *response.shape[1:])
                found[channel.measurement.name] = u[:, :k].to(counts), rows.to(counts)
        self._compressed = key, found
        return found

    def _gap(self, channel: Channel, fit: MeasurementFit) -> Tensor:
        fitted = fit.fit.mean(0, keepdim=True) if self.ensemble else fit.fit
        return channel.measurement.weight**0.5 * (fitted - fit.target) / fit.sigma

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
        if measurement.scale[0] == measurement.scale[1] and measurement.offset[0] == measurement.offset[1]:
            scale, offset = (compared.new_full((len(compared),), b[0]) for b in (measurement.scale, measurement.offset))
        else:
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


def _slopes(channel: Channel, structures: Structures) -> Tensor:
    """Derivative of every point of a spectrum in the positions, (n, N, 3), for models without a shorter way."""
    with torch.enable_grad():
        x = structures.positions.detach().requires_grad_()
        points = channel.observable.forward(structures.at(x)).sum(0)
        return torch.stack([torch.autograd.grad(point, x, retain_graph=True)[0] for point in points])
