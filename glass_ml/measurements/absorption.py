"""X-ray absorption files: columns with names (XDI, Athena, larch), mu(E), and chi(k) that is what it says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glass_ml.errors import InputError
from glass_ml.measurements.tables import Table, read_table
from glass_ml.observables.scattering_table import parse_edge

WEIGHTED = {"chi": 0, "chik": 1, "chik1": 1, "chik2": 2, "chik3": 3}
"""Name of a column -> power of k that it carries, as Athena and larch write them."""

UNCERTAINTIES = ("delta_chi", "epsilon_k", "sigma", "error", "err", "dchi", "dy")
"""Names of a column of uncertainties; the first two are of plain chi."""

LARGEST_CHI, SMALLEST_CHI = 1.2, 0.015
"""Bounds of the largest |chi(k)| between k = 4 and 7 1/Å: foils reach 0.15, weakly ordered light elements 0.03. A
weight that is wrong by two or more is found; by one it may pass."""

LARGEST_K = 40.0  # 1/Å; above it x is an energy
PRE_EDGE = 30.0
"""Energies below the edge that a pre-edge line needs, eV."""


@dataclass(frozen=True)
class Absorption:
    """A measured mu(E).

    Attributes:
        energy: (n,), eV, ascending.
        mu: absorption, in any unit, (n,).
        edge: 'Cu K', or '' where the file does not say.
        signal: 'transmission', 'fluorescence' or the name of the column.
        header: the file's header lines.
    """

    energy: np.ndarray
    mu: np.ndarray
    edge: str
    signal: str
    header: list[str]


def column_names(table: Table) -> list[str]:
    """Names of the columns in lower case, from XDI's Column.N fields or from the last header line that has as many
    words as there are columns; [] where the file has none."""
    width = table.values.shape[1]
    fields = (re.match(r"\W*column\.(\d+):\s*(\w+)", line, re.IGNORECASE) for line in table.header)
    numbered = {int(f[1]): f[2].lower() for f in fields if f}
    if sorted(numbered) == list(range(1, width + 1)):
        return [numbered[n] for n in sorted(numbered)]
    for line in reversed(table.header):
        words = line.lstrip("#!;%/ \t").replace(",", " ").split()
        if len(words) == width and all(re.match(r"[A-Za-z]", word) for word in words):
            return [word.lower() for word in words]
    return []


def header_field(table: Table, name: str) -> str:
    """Value of a field of an XDI header, such as 'Element.symbol'; '' where it is absent."""
    for line in table.header:
        found = re.match(rf"\W*{re.escape(name)}:\s*(.+)", line, re.IGNORECASE)
        if found:
            return found[1].strip()
    return ""


def exafs_columns(table: Table, k_weight: float, path: str) -> tuple[Sequence[int] | None, float]:
    """Which columns of a chi(k) file hold k and chi, from 1, and the power of k to multiply the latter by.

    Files without names of columns are taken as they are: (None, 0).

    Raises:
        InputError: the file holds mu(E); a named file has no chi of this weight and no plain chi.
    """
    names = column_names(table)
    first = table.values[:, names.index("k") if "k" in names else names.index("energy") if "energy" in names else 0]
    if first[-1] > LARGEST_K:
        what = f"x from {first[0]:g} to {first[-1]:g} are energies: this is mu(E), not chi(k)"
        raise InputError(what, path, f"reduce it first: glass-ml data reduce {path}")
    if "k" not in names:
        return None, 0.0
    for name, weight in WEIGHTED.items():
        if name in names and weight == k_weight:
            return [names.index("k") + 1, names.index(name) + 1, *_error(names, weight)], 0.0
    if "chi" in names:
        return [names.index("k") + 1, names.index("chi") + 1, *_error(names, 0)], k_weight
    raise InputError(f"no column chi among {', '.join(names)}", path, "name them with 'columns: [x, y]'")


def _error(names: list[str], weight: int) -> list[int]:
    """Column of the uncertainty, from 1, where there is one: by its name, or the third beside k and one chi."""
    known = [
        name for name in UNCERTAINTIES if name in names and (weight == 0 or name not in ("delta_chi", "epsilon_k"))
    ]
    if not known and len(names) == 3:
        known = [name for name in names if name not in ("k", "win", *WEIGHTED)]
    return [names.index(name) + 1 for name in known[:1]]


def check_weight(k: np.ndarray, y: np.ndarray, k_weight: float, where: str) -> None:
    """Refuse data that cannot be k^w chi(k) with the stated w.

    Raises:
        InputError: chi(k) would be larger, or smaller, than any; the message names a weight that would do.
    """
    near = (k >= 4) & (k <= 7)
    if not near.any():
        return
    sizes = {w: float(np.abs(y[near] / k[near] ** w).max()) for w in (*range(4), k_weight)}
    if SMALLEST_CHI <= sizes[k_weight] <= LARGEST_CHI or not np.abs(y).max() > 0:
        return
    fitting = [w for w in range(4) if SMALLEST_CHI <= sizes[w] <= LARGEST_CHI]
    mend = f"state k_weight: {fitting[len(fitting) // 2]}" if fitting else "give chi(k), or k^w chi(k) with its w"
    word = "large" if sizes[k_weight] > LARGEST_CHI else "small"
    raise InputError(f"with k_weight {k_weight:g} chi(k) is {sizes[k_weight]:.2g}, too {word} for any", where, mend)


def read_absorption(path: Path | str, edge: str | None = None) -> Absorption:
    """mu(E) from an XDI file, or from any table whose columns have names or are E and mu.

    Columns that are understood: energy; mutrans, mufluor, mu, xmu, norm; itrans or i1, ifluor or if, i0.

    Args:
        path: the file.
        edge: wins over the file's.

    Raises:
        InputError: not such a file; energies in keV or not ascending.
    """
    table = read_table(path)
    names = column_names(table)
    if table.values.shape[1] == 2 and "energy" not in names and table.values[-1, 0] > LARGEST_K:
        names = ["energy", "mu"]
    if "energy" not in names:
        raise InputError("no column 'energy'", str(path), "give an XDI file, or two columns E (eV) and mu")
    column = {name: table.values[:, k] for k, name in enumerate(names)}
    energy, (mu, signal) = column["energy"], _signal(column, str(path))
    stated = header_field(table, "Element.symbol"), header_field(table, "Element.edge")
    edge = parse_edge(edge, "--edge") if edge else parse_edge(" ".join(stated), str(path)) if all(stated) else ""
    keep = energy > np.maximum.accumulate(np.concatenate([[-np.inf], energy[:-1]]))
    if keep.sum() < 0.9 * len(keep):
        raise InputError("the energies do not ascend", str(path), "sort the rows")
    energy, mu = energy[keep], mu[keep]
    if not np.isfinite(mu).all():
        where = f"{path}: line {table.lines[keep][~np.isfinite(mu)][0]}"
        raise InputError("mu is not a number there", where, "a detector reads zero: remove the row")
    if energy[-1] < 150 and energy[0] > 0.03:
        what = f"energies from {energy[0]:g} to {energy[-1]:g} look like keV"
        raise InputError(what, str(path), "give eV: multiply them by 1000")
    return Absorption(energy, mu, edge, signal, table.header)


def _signal(column: dict[str, np.ndarray], where: str) -> tuple[np.ndarray, str]:
    for name in ("mutrans", "mufluor", "mu", "xmu", "norm"):
        if name in column:
            return column[name], {"mutrans": "transmission", "mufluor": "fluorescence"}.get(name, name)
    with np.errstate(divide="ignore", invalid="ignore"):
        if "i0" in column:
            for name in ("itrans", "i1"):
                if name in column:
                    return np.log(column["i0"] / column[name]), "transmission"
            for name in ("ifluor", "if", "iff"):
                if name in column:
                    return column[name] / column["i0"], "fluorescence"
    raise InputError(f"no mu(E) among the columns {', '.join(column)}", where, "mu, or i0 with itrans or ifluor")
