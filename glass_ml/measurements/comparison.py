"""How well a model meets a measurement: scale and offset in closed form, chi-square, the R-factor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from glass_ml.observables.kinds import find_kind

if TYPE_CHECKING:
    from pandas import DataFrame


def solve_scale_offset(
    model: Tensor, target: Tensor, variance: Tensor, scale: tuple[float, float], offset: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Scale and offset that minimise sum (s m + o - y)^2 / variance inside their bounds.

    Args:
        model: (S, n).
        target: (n,).
        variance: (n,) or (S, n).
        scale, offset: bounds; equal ones fix the value.

    Returns:
        Scale and offset of each system, (S,) each, without gradient: at the optimum, or at a bound, the derivative of
        the minimum in the positions is the one at constant scale and offset (envelope theorem).
    """
    with torch.no_grad():
        m, w = model.double(), (1 / variance.double()).expand_as(model)
        y = target.double()
        s0, s1, sm, sy = w.sum(-1), (w * m).sum(-1), (w * m * m).sum(-1), (w * y).sum(-1)
        smy, syy = (w * m * y).sum(-1), (w * y * y).sum(-1)
        determinant = sm * s0 - s1 * s1
        tiny = torch.finfo(torch.float64).tiny

        def best_offset(s: Tensor) -> Tensor:
            return ((sy - s * s1) / s0).clamp(*offset)

        def best_scale(o: Tensor) -> Tensor:
            return ((smy - o * s1) / sm.clamp(min=tiny)).clamp(*scale)

        full = torch.full_like(s0, 1.0)
        free = (smy * s0 - s1 * sy) / determinant.clamp(min=tiny)
        inside = free.clamp(*scale)
        # the problem is convex: the best of the clamped interior and the four edges is the optimum
        candidates = [(inside, best_offset(inside))]
        candidates += [(full * bound, best_offset(full * bound)) for bound in scale]
        candidates += [(best_scale(full * bound), full * bound) for bound in offset]
        cost = torch.stack([s * s * sm + o * o * s0 + syy + 2 * (s * o * s1 - s * smy - o * sy) for s, o in candidates])
        best = cost.argmin(0, keepdim=True)
        picked = [torch.stack([c[k] for c in candidates]).gather(0, best)[0] for k in (0, 1)]
    return picked[0].to(model), picked[1].to(model)


def asymptote_free(y: Tensor, x: Tensor, kind: str) -> Tensor:
    """The function that the R-factor compares: Q F(Q) or Q (S - 1); G, D, T as they are; r (g - 1) for g(r)."""
    compared = find_kind(kind).compared
    return x * (y - 1) if compared == "x(y-1)" else x * y if compared == "xy" else y


def r_factor(model: Tensor, data: Tensor, x: Tensor, kind: str = "neutron-fq") -> float:
    """R = sqrt(sum (model - data)^2 / sum data^2) on Q F(Q), for S(Q) on Q (S - 1).

    Of data that are zero throughout (a window without pairs) it is the root mean square of the model.

    Args:
        model: mean over replicas, at scale 1 and offset 0, (n,).
        data: seen through the same window, (n,).
        x: Q or r, (n,).
        kind: says how to form the compared function; see `asymptote_free`.
    """
    x = x.double()
    m, d = asymptote_free(model.detach().double(), x, kind), asymptote_free(data.double(), x, kind)
    size = float(d.square().sum())
    return float((m - d).square().sum() / (size or len(d))) ** 0.5


@dataclass(frozen=True)
class MeasurementFit:
    """One measurement beside the model.

    Attributes:
        name, kind, use, weight: as in the target.
        x: points compared, (n,).
        target: the data as the model sees it (through the window), (n,).
        sigma: standard deviations, (n,).
        model: prediction of each system at scale 1 and offset 0, (S, n).
        fit: scale times model plus offset, (S, n).
        scale, offset: of each system, (S,).
        chi2: sum over points of ((fit - target) / sigma)^2, (S,); in ensemble mode that of the mean, S times.
        opened: what else there is to know, by name, (S,) each: 'e0' (eV) and 'sigma2' (Å^2) that were fitted to EXAFS,
            and what an `Uncertain` model remarks.
        maps: from the model on its own grid to the compared points, (S, n, m), or (1, n, m) of the mean; None where
            these are the same.
        held: independent numbers that filtered data hold; None: as many as points.
    """

    name: str
    kind: str
    use: str
    weight: float
    x: Tensor
    target: Tensor
    sigma: Tensor
    model: Tensor
    fit: Tensor
    scale: Tensor
    offset: Tensor
    chi2: Tensor
    opened: dict[str, Tensor] = field(default_factory=dict)
    maps: Tensor | None = None
    held: float | None = None

    @property
    def n_points(self) -> int:
        """Points compared."""
        return len(self.x)

    @property
    def chi2_reduced(self) -> float:
        """Mean over systems of chi-square per number that the data hold."""
        return float(self.chi2.detach().mean()) / (self.held or self.n_points)

    @property
    def _rated(self) -> Tensor:
        """What R rates, (S, n): the model at scale 1; of EXAFS, whose amplitude factor no theory gives, the fit."""
        return self.fit if find_kind(self.kind).rates_fit else self.model

    @property
    def r_factor(self) -> float:
        """R of the mean over systems; see the function of this name. Scale and offset are left out but for EXAFS."""
        return r_factor(self._rated.mean(0), self.target, self.x, self.kind)

    @property
    def r_factors(self) -> Tensor:
        """R of every system by itself, (S,)."""
        return torch.tensor([r_factor(rated, self.target, self.x, self.kind) for rated in self._rated])

    @property
    def mean(self) -> Tensor:
        """Mean fit over systems, (n,)."""
        return self.fit.mean(0)

    @property
    def spread(self) -> Tensor:
        """Standard deviation of the fit over systems, (n,); zero for one system."""
        return self.fit.std(0) if len(self.fit) > 1 else torch.zeros_like(self.target)


@dataclass(frozen=True)
class Comparison:
    """Every measurement of a target beside the model, fitted and validating ones alike."""

    measurements: tuple[MeasurementFit, ...]

    def table(self) -> DataFrame:
        """A row for each measurement: name, kind, use, R, reduced chi-square, points compared, scale and offset."""
        import pandas as pd

        rows = [
            {
                "measurement": m.name, "kind": m.kind, "use": m.use, "R": m.r_factor, "chi2/n": m.chi2_reduced,
                "points": m.n_points, "scale": float(m.scale.mean()), "offset": float(m.offset.mean()),
            }
            for m in self.measurements
        ]  # fmt: skip
        return pd.DataFrame(rows).set_index("measurement")

    def __getitem__(self, name: str) -> MeasurementFit:
        """The measurement of that name; KeyError if there is none."""
        for m in self.measurements:
            if m.name == name:
                return m
        raise KeyError(name)

    @property
    def chi2(self) -> Tensor:
        """Weighted sum over the fitted measurements, (S,)."""
        return torch.stack([m.weight * m.chi2 for m in self.measurements if m.use == "fit"]).sum(0)
