"""Measured spectra out of files: the columns, the uncertainty, and what was decided about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from glass_ml.errors import InputError
from glass_ml.measurements.absorption import check_weight, exafs_columns
from glass_ml.measurements.tables import Table, read_table
from glass_ml.observables.kinds import find_kind


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A measured spectrum.

    Attributes:
        x: r (Å) or Q (1/Å), (n,), float64, ascending.
        y: values in the convention of `kind`, (n,), float64.
        sigma: standard deviation of each point, (n,), float64, positive.
        kind: a key of `glass_ml.observables.kinds.kinds()`.
        name: short name, unique in a target.
        source: the file.
        sha256: checksum of the file's bytes.
        notes: what the reader decided, in plain words.
    """

    x: Tensor
    y: Tensor
    sigma: Tensor
    kind: str
    name: str = ""
    source: str = ""
    sha256: str = ""
    notes: tuple[str, ...] = ()


def read_data(
    path: Path | str, *, in_q: bool, columns: Sequence[int] | None = None, table: Table | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, list[str]]:
    """x, y and uncertainty (None if the file has none) as the file gives them, and remarks.

    Args:
        path: the file.
        table: its content, where it has been read already.
        in_q: the data are a function of Q: rows at the ends whose value and uncertainty are zero are padding.
        columns: which columns hold x, y and optionally the uncertainty, from 1; by default 1, 2 and, if there are
            three columns, 3; of four columns the last one (x, y, dx, dy as PDFgetX writes them).

    Raises:
        InputError: as `read_table`; a column that does not exist, NaN, unsorted or repeated x, a negative uncertainty.
    """
    where = str(path)
    table = table or read_table(path)
    x, y, error, notes = _select(table, columns, where)
    keep = slice(0, len(x))
    informative = np.flatnonzero((y != 0) | (error != 0)) if error is not None and in_q else np.array([], dtype=int)
    if len(informative) and len(informative) < len(x):
        keep = slice(informative[0], informative[-1] + 1)
        left_out = len(x) - (keep.stop - keep.start)
        if left_out:
            notes.append(f"left out {left_out} rows of zero padding at the ends")
    x, y, lines = x[keep], y[keep], table.lines[keep]
    error = None if error is None else error[keep]
    bad = np.flatnonzero(~(np.isfinite(x) & np.isfinite(y)))
    if len(bad):
        raise InputError("not a number (NaN)", f"{where}: line {lines[bad[0]]}", "remove the row or mend it")
    step = np.flatnonzero(np.diff(x) <= 0)
    if len(step):
        raise InputError(
            f"x = {x[step[0] + 1]:g} comes after {x[step[0]]:g}", f"{where}: line {lines[step[0] + 1]}",
            "x must ascend: sort the rows and merge equal x",
        )  # fmt: skip
    if error is not None:
        bad = np.flatnonzero(~(error >= 0) | ~np.isfinite(error))
        if len(bad):
            raise InputError(f"uncertainty {error[bad[0]]:g}", f"{where}: line {lines[bad[0]]}", "must not be negative")
    return x, y, error, notes


def read_spectrum(
    path: Path | str,
    kind: str,
    *,
    columns: Sequence[int] | None = None,
    sigma: float | None = None,
    name: str = "",
    k_weight: float = 0.0,
) -> Spectrum:
    """A measured spectrum from a file, which is read once.

    Args:
        path: the file.
        kind: a key of `kinds()`: it is never guessed.
        columns: as `read_data`.
        sigma: standard deviation of every point; wins over the file's. Where neither gives one, it is
            estimated from the scatter of the last fifth of the points about a straight line.
        name: of the spectrum; by default the file's name without its ending.
        k_weight: power of k that the data of kind 'exafs' carry; a file with names of columns gives the one of this
            weight, or plain chi(k), which is then multiplied.

    Raises:
        InputError: as `read_data`; unknown kind, sigma not positive; EXAFS that is not of this weight.
    """
    role, path = find_kind(kind).role, Path(path)
    if sigma is not None and not 0 < sigma < float("inf"):
        raise InputError(f"sigma {sigma} is not positive", f"{path}: sigma", "give a standard deviation")
    table, lacking = read_table(path), 0.0
    if kind == "exafs" and columns is None:
        columns, lacking = exafs_columns(table, k_weight, str(path))
    x, y, error, notes = read_data(path, in_q=role == "q", columns=columns, table=table)
    if lacking:
        y, error = y * x**lacking, None if error is None else error * x**lacking
        notes.append(f"chi(k) was multiplied by k^{lacking:g}")
    if kind == "exafs":
        check_weight(x, y, k_weight, str(path))
    sigmas = np.full(len(y), float(sigma)) if sigma is not None else _sigma(x, y, error, notes)
    return Spectrum(
        torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(sigmas), kind, name or path.stem, str(path),
        table.sha256, tuple(notes),
    )  # fmt: skip


def _select(
    table: Table, columns: Sequence[int] | None, where: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, list[str]]:
    """x, y, sigma (or None) and a note about the choice."""
    width = table.values.shape[1]
    notes = []
    if columns is None:
        columns = [1, 2] if width == 2 else [1, 2, 3]
        if width == 4:
            columns = [1, 2, 4]
            notes.append("four columns read as x, y, dx, sigma")
        if width > 4:
            columns = [1, 2]
            notes.append(f"{width} columns: took the first two; `columns` selects others")
    if len(columns) not in (2, 3) or any(not 1 <= c <= width for c in columns):
        raise InputError(
            f"columns {list(columns)} of a file with {width}", where, "give [x, y] or [x, y, sigma], counted from 1"
        )
    picked = [table.values[:, c - 1].copy() for c in columns]
    return picked[0], picked[1], picked[2] if len(picked) == 3 else None, notes


def _sigma(x: np.ndarray, y: np.ndarray, error: np.ndarray | None, notes: list[str]) -> np.ndarray:
    """Standard deviation of every point, positive, from the file or from the scatter at its end."""
    if error is not None and (error > 0).any():
        if (error == 0).any():
            notes.append(f"{int((error == 0).sum())} points of zero uncertainty were given the median of the others")
            error = np.where(error == 0, np.median(error[error > 0]), error)
        return error
    tail = slice(-max(len(y) // 5, 4), None)
    line = np.polyval(np.polyfit(x[tail], y[tail], 1), x[tail])
    scatter = float(np.std(y[tail] - line))
    floor = 1e-3 * float(np.ptp(y))
    notes.append(f"no uncertainty given: sigma = {max(scatter, floor):.3g} from the scatter above x = {x[tail][0]:g}")
    return np.full(len(y), max(scatter, floor, 1e-12))
