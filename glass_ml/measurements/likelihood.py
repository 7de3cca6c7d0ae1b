"""The likelihood of measured spectra: chi-square of a batch of structures, and its gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from glass_ml.errors import InputError
from glass_ml.measurements.channels import Channel, make_channel
from glass_ml.measurements.comparison import Comparison, MeasurementFit, solve_scale_offset
from glass_ml.measurements.target import Target
from glass_ml.observables.base import Jacobian, Uncertain
from glass_ml.observables.linear import PairObservable
from glass_ml.observables.pairs import SPACING, MovingHistograms, PairHistograms, pair_cutoff, pair_histograms
from glass_ml.structures.neighbours import Pairs
from glass_ml.structures.state import Structures

SKIN = 1.0
"""How much farther than needed the neighbours of structures that move are searched, Å."""

NEGLIGIBLE = 1e-4
"""Singular value of a forward model, relative to its largest, below which a combination of points says nothing."""

Variance = float | Tensor | Mapping[str, float | Tensor]


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
        the mean's where that is fitted), at the present scale, offset and edge energy.
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
            weight = channel.measurement.weight**0.5 / fit.sigma
            basis = None
            if channel.measurement.name in compressed:
                basis, rows = compressed[channel.measurement.name]
                slope = slopes[first : first + len(rows)]
                first += len(rows)
            else:
                slope = _slopes(channel, structures)
            if fit.maps is not None:
                gap, slope = _through(fit.maps, weight, basis, gap, slope, structures)
            elif basis is not None:
                gap = gap @ basis
            else:
                slope = slope * weight[:, None, None]
            residuals.append(gap)
            jacobian.append(slope * fit.scale[structures.system][:, None])
        share = structures.n_systems if self.ensemble else 1
        return torch.cat(residuals, dim=1), torch.cat(jacobian) / share

    def _compress(self, histograms: PairHistograms) -> dict[str, tuple[Tensor, Tensor]]:
        """By measurement: a basis (n, k) of what its model reaches, and the share of the counts in it, (k, T, B).

        The basis is one of weighted residuals; where the edge energy is open it is one of the model on its own grid.
        """
        counts = histograms.counts
        key = (counts.shape[1:], counts.dtype, counts.device, histograms.elements, float(histograms.density[0]))
        if self._compressed is not None and self._compressed[0] == key:
            return self._compressed[1]
        found = {}
        for channel in self.fitted:
            if isinstance(channel.observable, PairObservable):
                response = channel.observable.response(histograms).double()
                if channel.edge is None:
                    response *= (channel.measurement.weight**0.5 / channel.sigma.to(response))[:, None, None]
                u, s, vt = torch.linalg.svd(response.flatten(1), full_matrices=False)
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
        fits = []
        for channel, model in zip(self.channels, models, strict=True):
            fit = self._fit(channel, model, extra_variance)
            if isinstance(channel.observable, Uncertain):
                fit = replace(fit, opened={**fit.opened, **channel.observable.remarks(structures)})
            fits.append(fit)
        return Comparison(tuple(fits))

    def _fit(self, channel: Channel, model: Tensor, extra: Variance | None) -> MeasurementFit:
        measurement = channel.measurement
        target, sigma = channel.target.to(model), channel.sigma.to(model)
        if isinstance(extra, Mapping):
            extra = extra.get(measurement.name)
        variance = sigma.square() if extra is None else sigma.square() + extra
        compared = model.mean(0, keepdim=True) if self.ensemble else model
        if self.ensemble and variance.ndim == 2:
            variance = variance.mean(0, keepdim=True)
        opened: dict[str, Tensor] = {}
        maps = None
        if channel.edge is not None:
            e0, sigma2, maps = channel.edge.solve(compared, target, variance, measurement.scale, measurement.offset)
            opened = {"e0": e0.expand(len(model)), "sigma2": sigma2.expand(len(model))}
            compared = torch.einsum("snm,sm->sn", maps, compared)
            model = torch.einsum("snm,sm->sn", maps.expand(len(model), -1, -1), model)
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
            measurement.name, measurement.kind, measurement.use, measurement.weight, channel.x, target,
            sigma, model, fitted, scale, offset, chi2, opened, maps,
            channel.edge.held if channel.edge else None,
        )  # fmt: skip


def build_likelihood(
    target: Target,
    structures: Structures,
    *,
    ensemble: bool = False,
) -> Likelihood:
    """The likelihood of a target for structures in cells such as these.

    Args:
        target: what was measured.
        structures: gives the cell (and with it the window); positions do not matter.
        ensemble: fit the mean over the batch instead of each structure.

    Raises:
        InputError: a range without points; a forward model that cannot be made.
    """
    half_width = float(structures.half_width.min())
    channels = []
    for measurement in target.measurements:
        try:
            channels.append(make_channel(measurement, target.composition, structures))
        except InputError as error:
            where = target.place(f"{measurement.name}: {error.where}")
            raise InputError(error.what, where, error.mend) from None
    return Likelihood(channels, half_width, ensemble=ensemble)


def _through(
    maps: Tensor, weight: Tensor, basis: Tensor | None, gap: Tensor, slope: Tensor, structures: Structures
) -> tuple[Tensor, Tensor]:
    """Residuals (R, k) and slopes (k, N, 3) through each system's own map, in few numbers.

    Args:
        maps: model to compared points, (R, n, m).
        weight: (n,).
        basis: (m, k), in which the slopes are given; None: the points of the model themselves.
        gap: residuals, (R, n).
        slope: (k, N, 3).
        structures: the batch.
    """
    steep = weight[:, None] * (maps if basis is None else maps @ basis)
    q, r = torch.linalg.qr(steep)  # (R, n, k), (R, k, k)
    sizes = structures.counts.tolist() if len(maps) == structures.n_systems else [structures.n_atoms]
    turned = [torch.einsum("jk,knx->jnx", own, part) for own, part in zip(r, slope.split(sizes, dim=1), strict=True)]
    return torch.einsum("snk,sn->sk", q, gap), torch.cat(turned, dim=1)


def _slopes(channel: Channel, structures: Structures) -> Tensor:
    """Derivative of every point of a spectrum in the positions, (n, N, 3)."""
    if isinstance(channel.observable, Jacobian):
        return channel.observable.jacobian(structures)
    with torch.enable_grad():
        x = structures.positions.detach().requires_grad_()
        points = channel.observable.forward(structures.at(x)).sum(0)
        return torch.stack([torch.autograd.grad(point, x, retain_graph=True)[0] for point in points])
