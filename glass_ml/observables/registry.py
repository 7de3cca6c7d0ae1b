"""Forward models by the name of their kind."""

from __future__ import annotations

import difflib
from pathlib import Path

from torch import Tensor

from glass_ml.errors import InputError
from glass_ml.observables.angles import AngleDistribution
from glass_ml.observables.base import KINDS, RECIPROCAL_KINDS, Instrument, Observable
from glass_ml.observables.bonds import WIDTH, Cutoff
from glass_ml.observables.coordination import CoordinationDistribution
from glass_ml.observables.exafs import Exafs
from glass_ml.observables.pair_count import PairCount, WindowDepth
from glass_ml.observables.realspace import PairDistribution, RadialDistribution
from glass_ml.observables.reciprocal import ReciprocalScattering
from glass_ml.observables.scattering import Scattering
from glass_ml.observables.scattering_table import load_table, parse_edge
from glass_ml.observables.xanes import Xanes
from glass_ml.structures.state import Structures

METHODS = ("sine", "reciprocal")
PAIRED = ("gr", "coordination", "pair-count", "distance-window")
"""Kinds of two named elements."""

ANGLE_BROADENING = 2.0
"""Smearing of an angle distribution where none is stated, degrees."""


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
    broadening: float | None = None,
    radiation: str | None = None,
    pair: str | None = None,
    limit: float | None = None,
    method: str = "sine",
    cells: Structures | None = None,
    table: Path | str | None = None,
    edge: str | None = None,
    k_weight: float = 0.0,
    triplet: str | None = None,
    cutoff: Cutoff | None = None,
    width: float = WIDTH,
    between: tuple[float, float] | None = None,
    surrogate: Path | str | None = None,
) -> Observable:
    """The forward model of a kind on a grid.

    Args:
        kind: a key of `KINDS`.
        grid: the points, (n,), ascending; their unit is that of the kind.
        instrument: range, window, resolution; `Instrument()` by default.
        broadening: standard deviation, Å, added to every distance, 0 by default; of 'adf' degrees, `ANGLE_BROADENING`
            by default. The reciprocal sum has none.
        radiation: weights of the elements in 'gr' and 'pdf': 'xray', 'neutron' or 'number'.
        pair: one partial of 'gr', 'Si-O'; atoms and their neighbours of the kinds that count them.
        limit: upper limit of the sine transform, Å (reciprocal-space kinds), by default half the cell; distance
            beyond which no neighbour counts ('exafs').
        method: 'sine' transform of the pair histograms, or the exact 'reciprocal' sum (reciprocal-space kinds).
        cells: with 'reciprocal': drop the points without a reciprocal vector of these cells.
        table: scattering table of 'exafs'.
        edge: that the table must be of, where it is stated.
        k_weight: power of k that chi(k) is multiplied by ('exafs').
        triplet: elements of 'adf', 'O-Si-O'.
        cutoff, width: end of a bond, Å ('adf', 'coordination').
        between: window of 'pair-count' and 'distance-window', Å; by default one from 0 to each point of the grid.
        surrogate: folder of the model of 'xanes'.

    Raises:
        InputError: unknown kind, or an option that the kind does not have or lacks.
    """
    check_kind(kind)
    added = broadening or 0.0
    if pair and kind not in PAIRED:
        raise InputError(f"a partial ('{pair}') of kind '{kind}'", "pair", f"of kind {', '.join(PAIRED)}")
    if method not in METHODS:
        raise InputError(f"unknown method '{method}'", "method", f"one of {', '.join(METHODS)}")
    if method == "reciprocal":
        if added or (instrument is not None and instrument.qdamp):
            what = "the reciprocal-space sum has neither broadening nor resolution"
            raise InputError(what, "method", "remove 'broadening' and 'qdamp', or take 'sine'")
        return ReciprocalScattering(kind, grid, cells)
    if kind in RECIPROCAL_KINDS:
        return Scattering(kind, grid, instrument, limit, added)
    if kind == "gr":
        return RadialDistribution(grid, added, pair, radiation or "number")
    if kind == "exafs":
        if table is None:
            raise _lacking(kind, "edge")
        found = load_table(table)
        if edge is not None and parse_edge(edge) != found.edge:
            raise InputError(
                f"the table is of the {found.edge} edge, not of {edge}", str(table), "name the other table"
            )
        return Exafs(grid, found, k_weight, limit, broadening=added)
    if kind == "adf":
        if triplet is None or cutoff is None:
            raise _lacking(kind, "triplet" if triplet is None else "cutoff")
        sharp = ANGLE_BROADENING if broadening is None else broadening
        return AngleDistribution(grid, triplet, cutoff, sharp, width)
    if kind == "coordination":
        if pair is None or cutoff is None:
            raise _lacking(kind, "pair" if pair is None else "cutoff")
        return CoordinationDistribution(grid, pair, cutoff, width)
    if kind in ("pair-count", "distance-window"):
        if pair is None:
            raise _lacking(kind, "pair")
        windows = [between] if between else [(0.0, high) for high in grid.tolist()]
        return (PairCount if kind == "pair-count" else WindowDepth)(windows, pair)
    if kind == "xanes":
        if surrogate is None:
            raise _lacking(kind, "surrogate")
        return Xanes(surrogate, grid)
    return PairDistribution(kind, grid, instrument, added, radiation)


def _lacking(kind: str, name: str) -> InputError:
    return InputError(f"kind {kind} needs '{name}'", name, "state it")
