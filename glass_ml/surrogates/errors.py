"""What held-out structures say of a surrogate: errors per atom and per cell, and what its uncertainty is worth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Predicted:
    """A held-out structure: what every member said, and the truth.

    Attributes:
        name: of the structure.
        members: predicted spectra, (M, A, n).
        truth: (A, n).
        distance: of each environment from the training data, (A,); above 1 is outside.
    """

    name: str
    members: Tensor
    truth: Tensor
    distance: Tensor

    @property
    def error(self) -> Tensor:
        """Error of the ensemble's mean, (A, n)."""
        return self.members.mean(0) - self.truth

    @property
    def spread(self) -> Tensor:
        """Standard deviation of the members, (A, n)."""
        return self.members.std(0)

    @property
    def cell_error(self) -> Tensor:
        """Error of the cell average, (n,)."""
        return self.error.mean(0)

    @property
    def cell_spread(self) -> Tensor:
        """Standard deviation of the members' cell averages, (n,)."""
        return self.members.mean(1).std(0)


def calibration(folds: Iterable[Sequence[Predicted]]) -> tuple[float, float]:
    """Factors from the members' spread to the error, of an atom and of a cell, so that their mean squares agree."""
    every = [p for fold in folds for p in fold]
    atoms = _ratio([p.error for p in every], [p.spread for p in every])
    return atoms, _ratio([p.cell_error for p in every], [p.cell_spread for p in every])


def fold_errors(fold: Sequence[Predicted]) -> dict[str, float]:
    """Root mean square errors of held-out structures, with the spread of the truth that they stand beside.

    Returns:
        `atom_rmse`, `cell_rmse`: of single spectra and of cell averages, over structures and energies;
        `atom_spread`: standard deviation of the single spectra; `correlation`: of the spread of the members with the
        error, over atoms (Spearman); `decile_ratio`: error of the tenth of the atoms with the largest spread over
        that of the tenth with the smallest; `outside`: share of the environments that lie outside the training data;
        `structures`: how many.
    """
    truth = torch.cat([p.truth for p in fold])
    error = torch.cat([p.error for p in fold])
    spread = torch.cat([p.spread for p in fold])
    return {
        "atom_rmse": _rms([error]),
        "cell_rmse": _rms([p.cell_error for p in fold]),
        "atom_spread": float((truth - truth.mean(0)).square().mean().sqrt()),
        "decile_ratio": _decile_ratio(spread.square().mean(1), error.square().mean(1)),
        "correlation": rank_correlation(spread.square().mean(1), error.square().mean(1)),
        "outside": float((torch.cat([p.distance for p in fold]) > 1).double().mean()),
        "structures": float(len(fold)),
    }


def pooled_errors(folds: Iterable[Sequence[Predicted]]) -> dict[str, float]:
    """`fold_errors` of all folds together, and the spread of their cell averages, `cell_spread`."""
    every = [p for fold in folds for p in fold]
    averages = torch.stack([p.truth.mean(0) for p in every])
    return {**fold_errors(every), "cell_spread": float((averages - averages.mean(0)).square().mean().sqrt())}


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's rank correlation of two vectors without ties; 0 for fewer than three values."""
    if len(a) < 3:
        return 0.0
    ranks = torch.stack([v.argsort().argsort().double() for v in (a, b)])
    return float(torch.corrcoef(ranks)[0, 1])


def _decile_ratio(spread: Tensor, error: Tensor) -> float:
    """Square root of the mean square error where the spread is in its highest tenth, over that in its lowest."""
    order, tenth = spread.argsort(), max(1, len(spread) // 10)
    return float((error[order[-tenth:]].mean() / error[order[:tenth]].mean().clamp(min=1e-30)).sqrt())


def _ratio(errors: Sequence[Tensor], spreads: Sequence[Tensor]) -> float:
    return _rms(errors) / max(_rms(spreads), 1e-12)


def _rms(values: Sequence[Tensor]) -> float:
    return float(torch.cat([v.flatten() for v in values]).square().mean().sqrt())
