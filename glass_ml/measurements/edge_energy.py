"""What an EXAFS analysis leaves open: the edge energy E0 and the thermal motion, fitted inside bounds.

Data whose edge energy was taken to be E0 belong, at their k, to k' = sqrt(k^2 - c dE0) of the model; sigma^2 damps it
by exp(-2 k'^2 sigma^2). Both are maps of the model's chi(k) from one grid to another, linear in it, so that no pair is
counted twice to fit them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

from glass_ml.errors import InputError
from glass_ml.measurements.comparison import solve_scale_offset
from glass_ml.units import EV_TO_K2

STEP_E0, STEP_SIGMA2 = 1.0, 0.002
"""Spacing of the values that are tried first, eV and Å^2."""

ROUNDS = 2
"""Times that the best of them is refined, each by a paraboloid through nine values, ever closer."""

STEP_K = 0.05
"""Largest spacing of the model's grid, 1/Å."""


@dataclass(frozen=True)
class Open:
    """Bounds of what is fitted besides scale and offset; equal bounds fix a value.

    Attributes:
        e0: shift of the edge energy, eV: positive where it lies above the one that the data were given.
        sigma2: mean square displacement along the bond that the structures do not carry, Å^2.
    """

    e0: tuple[float, float] = (0.0, 0.0)
    sigma2: tuple[float, float] = (0.0, 0.0)

    @property
    def idle(self) -> bool:
        """Whether nothing is shifted or damped."""
        return self.e0 == self.sigma2 == (0.0, 0.0)


class EdgeEnergy:
    """The map from the model on its own grid to the data's, for every shift and damping inside bounds.

    Args:
        k: grid of the data, (n,), 1/Å.
        bounds: see `Open`.
        k_weight: power of k that data and model carry.
        r_range: distances (Å) that a Fourier filter lets through, on the model's side and the data's; None: all.

    Attributes:
        grid: k of the model, (m,), 1/Å.
        filter: matrix of the Fourier filter, (n, n), or None.
        held: independent numbers that filtered data hold, or None.

    Raises:
        InputError: a shift inside the bounds leaves no photoelectron at the first point.
    """

    def __init__(self, k: Tensor, bounds: Open, k_weight: float, r_range: tuple[float, float] | None = None):
        self.k, self.bounds, self.k_weight = k.double(), bounds, k_weight
        self.filter = fourier_filter(self.k, r_range) if r_range else None
        # white noise leaves the filter with this sum of variances
        self.held = None if self.filter is None else float(self.filter.square().sum())
        if float(self.k[0]) ** 2 <= EV_TO_K2 * bounds.e0[1]:
            what = f"at k = {float(self.k[0]):g} 1/Å a shift of {bounds.e0[1]:g} eV leaves no photoelectron"
            raise InputError(what, "e0", "raise x_range, or narrow e0")
        shifted = [self._true_k(e0) for e0 in bounds.e0]
        low, high = float(shifted[1][0]), float(shifted[0][-1])
        self.grid = torch.linspace(low, high, max(8, int(np.ceil((high - low) / STEP_K)) + 1), dtype=torch.float64)
        self.e0 = _values(bounds.e0, STEP_E0)
        self.sigma2 = _values(bounds.sigma2, STEP_SIGMA2)
        self._spline = CubicSpline(self.grid.numpy(), np.eye(len(self.grid)), axis=0)

    def _true_k(self, e0: float) -> Tensor:
        return (self.k.square() - EV_TO_K2 * e0).clamp(min=0.01).sqrt()

    def matrix(self, e0: float, sigma2: float) -> Tensor:
        """The map (n, m) of a shift (eV) and a damping (Å^2)."""
        k = self._true_k(e0)
        gain = self.k.pow(self.k_weight) * torch.exp(-2 * k.square() * sigma2)
        seen = gain[:, None] * torch.from_numpy(self._spline(k.numpy())) / self.grid.pow(self.k_weight)
        return seen if self.filter is None else self.filter @ seen

    def solve(
        self, model: Tensor, target: Tensor, variance: Tensor, scale: tuple[float, float], offset: tuple[float, float]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Shift, damping and map that fit each system best, scale and offset at their own best.

        Args:
            model: (S, m), on `grid`.
            target, variance: (n,), or (S, n) for the variance.
            scale, offset: bounds.

        Returns:
            e0 (S,), sigma2 (S,) and the maps (S, n, m), without gradient, which the envelope theorem makes
            unnecessary.
        """
        with torch.no_grad():
            rows = variance.double().cpu().expand(len(model), len(target))
            found = [
                self._best(_Misfit(self, m, target.double().cpu(), v, scale, offset))
                for m, v in zip(model.detach().double().cpu(), rows, strict=True)
            ]
        e0, sigma2 = (torch.tensor(values, dtype=torch.float64) for values in zip(*found, strict=True))
        maps = torch.stack([self.matrix(*pair) for pair in found])
        return e0.to(model), sigma2.to(model), maps.to(model)

    def _best(self, misfit: _Misfit) -> tuple[float, float]:
        e0, sigma2 = (_values(*each) for each in zip(self.bounds_of, (STEP_E0, STEP_SIGMA2), strict=True))
        cost = misfit(e0, sigma2)
        row, column = divmod(int(cost.argmin()), len(sigma2))
        best = [e0[row], sigma2[column]]
        step = [STEP_E0, STEP_SIGMA2]
        for _ in range(ROUNDS):
            around = [_three(b, s, bounds) for b, s, bounds in zip(best, step, self.bounds_of, strict=True)]
            best = _lowest(around, misfit(*around))
            step = [0.25 * s for s in step]
        return best[0], best[1]

    @property
    def bounds_of(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Bounds of the shift and of the damping."""
        return self.bounds.e0, self.bounds.sigma2


class _Misfit:
    """Chi-square of one model for tables of shifts and dampings, scale and offset at their best."""

    def __init__(
        self,
        edge: EdgeEnergy,
        model: Tensor,
        target: Tensor,
        variance: Tensor,
        scale: tuple[float, float],
        offset: tuple[float, float],
    ):
        self.edge, self.target, self.variance = edge, target, variance
        self.scale, self.offset = scale, offset
        self._spline = CubicSpline(edge.grid.numpy(), (model / edge.grid.pow(edge.k_weight)).numpy())

    def __call__(self, e0: np.ndarray, sigma2: np.ndarray) -> np.ndarray:
        """Chi-square, (E, D)."""
        own = self.edge
        k = torch.stack([own._true_k(float(e)) for e in e0])
        damping = torch.exp(-2 * k.square()[:, None] * torch.as_tensor(sigma2, dtype=torch.float64)[:, None])
        seen = damping * (own.k.pow(own.k_weight) * torch.from_numpy(self._spline(k.numpy())))[:, None]
        if own.filter is not None:
            seen = seen @ own.filter.T
        rows = seen.reshape(-1, seen.shape[-1])
        a, b = solve_scale_offset(rows, self.target, self.variance.expand_as(rows), self.scale, self.offset)
        cost = ((a[:, None] * rows + b[:, None] - self.target).square() / self.variance).sum(-1)
        return cost.view(seen.shape[:-1]).numpy()


def fourier_filter(k: Tensor, r_range: tuple[float, float]) -> Tensor:
    """Matrix (n, n) that keeps of a function of k what oscillates like sin(2kr) with r inside `r_range` (Å).

    The function is tapered over 1 1/Å at both ends of k and the range over 0.2 Å at both ends of r, as half a cosine.
    Distances are those of Fourier transforms of EXAFS, without the phase shift that puts them 0.3-0.5 Å below the true.
    """
    step = 0.02
    edge = torch.clamp(torch.minimum(k - k[0], k[-1] - k), 0, 1)
    taper = 0.5 * (1 - torch.cos(torch.pi * edge))
    low, high = r_range
    r = torch.arange(max(0.0, low - 0.1), high + 0.1, step, dtype=k.dtype)
    inside = torch.clamp(torch.minimum(r - (low - 0.1), high + 0.1 - r) / 0.2, 0, 1)
    weight = 0.5 * (1 - torch.cos(torch.pi * inside)) * step
    phase = 2 * torch.outer(k, r)
    kernel = (phase.cos() * weight) @ phase.cos().T + (phase.sin() * weight) @ phase.sin().T
    return 2 / torch.pi * kernel * (taper * torch.gradient(k)[0])


def _values(bounds: tuple[float, float], step: float) -> np.ndarray:
    low, high = bounds
    return np.linspace(low, high, max(2, int(np.ceil((high - low) / step)) + 1)) if high > low else np.array([low])


def _three(best: float, step: float, bounds: tuple[float, float]) -> np.ndarray:
    """Three values about the best one, a step apart and all inside the bounds."""
    low, high = bounds
    step = min(step, 0.5 * (high - low))
    centre = min(max(best, low + step), high - step)
    return np.array([centre - step, centre, centre + step])


def _lowest(around: list[np.ndarray], cost: np.ndarray) -> list[float]:
    """Where the paraboloid through nine values, (3,) by (3,), is lowest inside them; else the lowest of the nine."""
    units = [_unit(values) for values in around]
    x, y = np.meshgrid(*units, indexing="ij")
    columns = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1).reshape(9, 6)
    _, bx, by, xx, xy, yy = np.linalg.lstsq(columns, (cost - cost.min()).ravel(), rcond=None)[0]
    if not (xx >= 0 and yy >= 0 and 4 * xx * yy >= xy * xy):
        row, column = divmod(int(cost.argmin()), 3)
        return [float(around[0][row]), float(around[1][column])]

    def along(value: float, slope: float, curvature: float, span: np.ndarray) -> float:
        best = -(slope + xy * value) / (2 * curvature) if curvature > 0 else 0.0
        return float(np.clip(best, span[0], span[2]))

    free = -np.linalg.pinv(np.array([[2 * xx, xy], [xy, 2 * yy]])) @ np.array([bx, by])
    candidates = [(v, along(v, by, yy, units[1])) for v in (units[0][0], units[0][2])]
    candidates += [(along(v, bx, xx, units[0]), v) for v in (units[1][0], units[1][2])]
    if all(span[0] <= v <= span[2] for v, span in zip(free, units, strict=True)):
        candidates = [(free[0], free[1])]
    best = min(candidates, key=lambda m: bx * m[0] + by * m[1] + xx * m[0] ** 2 + xy * m[0] * m[1] + yy * m[1] ** 2)
    return [float(values[1] + m * (values[1] - values[0])) for values, m in zip(around, best, strict=True)]


def _unit(values: np.ndarray) -> np.ndarray:
    """Three values in units of their step, from the middle one; zeros where all are equal."""
    step = values[1] - values[0]
    return (values - values[1]) / step if step > 0 else np.zeros(3)
