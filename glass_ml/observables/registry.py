"""Forward models by the name of their kind."""

from __future__ import annotations

import difflib

from torch import Tensor

from glass_ml.errors import InputError
from glass_ml.observables.base import KINDS, RECIPROCAL_KINDS, Instrument
from glass_ml.observables.linear import PairObservable
from glass_ml.observables.realspace import PairDistribution, RadialDistribution
from glass_ml.observables.reciprocal import ReciprocalScattering
from glass_ml.observables.scattering import Scattering
from glass_ml.structures.state import Structures

METHODS = ("sine", "reciprocal")


def check_kind(kind: str, where: str = "kind") -> str:
    """The kind itself.

    Raises:
        InputError: it is none of `KINDS`; the message names the closest one.
    """
    if kind not in KINDS:
        close = difflib.get_close_matches(str(kind), KINDS, 1)
        mend = f"did you mean '{close[0]}'? " if close else ""
        raise InputError(f"unknown kind '{kind}'", where, f"{mend}known: {', '.join(KINDS)}")
    return kind


def make_observable(
    kind: str,
    grid: Tensor,
    *,
    instrument: Instrument | None = None,
    broadening: float = 0.0,
    radiation: str | None = None,
    pair: str | None = None,
    limit: float | None = None,
    method: str = "sine",
    cells: Structures | None = None,
) -> PairObservable | ReciprocalScattering:
    """The forward model of a kind on a grid.

    Args:
        kind: a key of `KINDS`.
        grid: r (Å) or Q (1/Å), (n,), ascending.
        instrument: range, window, resolution; `Instrument()` by default.
        broadening: standard deviation, Å, added to every distance (not with the reciprocal sum).
        radiation: weights of the elements in 'gr' and 'pdf': 'xray', 'neutron' or 'number'.
        pair: one partial, 'Si-O' ('gr' only).
        limit: upper limit of the sine transform, Å (reciprocal-space kinds); by default half the cell.
        method: 'sine' transform of the pair histograms, or the exact 'reciprocal' sum (reciprocal-space kinds).
        cells: with 'reciprocal': drop the points without a reciprocal vector of these cells.

    Raises:
        InputError: unknown kind, or an option that the kind does not have.
    """
    check_kind(kind)
    if pair and kind != "gr":
        raise InputError(f"a partial ('{pair}') of kind '{kind}'", "pair", "partials exist for kind gr")
    if method not in METHODS:
        raise InputError(f"unknown method '{method}'", "method", f"one of {', '.join(METHODS)}")
    if method == "reciprocal":
        return ReciprocalScattering(kind, grid, cells)
    if kind in RECIPROCAL_KINDS:
        return Scattering(kind, grid, instrument, limit, broadening)
    if kind == "gr":
        return RadialDistribution(grid, broadening, pair, radiation or "number")
    return PairDistribution(kind, grid, instrument, broadening, radiation)
