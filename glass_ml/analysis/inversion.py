"""The files of an inversion, read back and checked: all that a report needs."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from glass_ml.analysis.distribution import Array
from glass_ml.analysis.ensemble import Anatomy
from glass_ml.errors import InputError
from glass_ml.structures.io import read_structures
from glass_ml.structures.state import Structures

_COLUMNS = ("x", "target", "sigma", "fit", "spread", "residual")


@dataclass(frozen=True)
class FittedSpectrum:
    """One measurement beside the ensemble, as `spectra.csv` holds it.

    Attributes:
        name, kind, use: as in the target.
        x, target, sigma, fit, spread, residual: (n,) each; fit is the mean and spread the standard deviation over
            replicas, residual is fit minus target.
    """

    name: str
    kind: str
    use: str
    x: Array
    target: Array
    sigma: Array
    fit: Array
    spread: Array
    residual: Array


@dataclass(frozen=True)
class Inversion:
    """An inversion folder in memory; `lineage` and `target` are empty where their file is missing."""

    folder: Path
    anatomy: Anatomy
    metrics: dict[str, Any]
    spectra: tuple[FittedSpectrum, ...]
    lineage: dict[str, Any]
    target: str

    @property
    def structures(self) -> Structures:
        """The ensemble."""
        return self.anatomy.structures


def read_inversion(folder: Path | str, anatomy: Anatomy | None = None) -> Inversion:
    """Read `structures.extxyz`, `metrics.json`, `spectra.csv` and, if there, `lineage.json` and `target.yaml`.

    The structures are those of `anatomy` where it is given; else they are taken apart with the recorded cutoffs.

    Raises:
        InputError: the folder or a file is missing, or a file is not what it should be.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError("no such folder", str(folder), "give the folder that 'glass-ml invert' wrote")
    for name in ("structures.extxyz", "metrics.json", "spectra.csv"):
        if not (folder / name).is_file():
            raise InputError(f"no {name} in the folder", str(folder), "give the folder that 'glass-ml invert' wrote")
    metrics = _read_object(folder / "metrics.json")
    for key in ("measurements", "structure"):
        if not isinstance(metrics.get(key), dict):
            raise InputError(f"no '{key}' in it", str(folder / "metrics.json"), "run the inversion again")
    target = folder / "target.yaml"
    lineage = folder / "lineage.json"
    if anatomy is None:
        cutoffs = {n[7:]: v["mean"] for n, v in metrics["structure"].items() if n.startswith("cutoff.")}
        anatomy = Anatomy.of(read_structures(folder / "structures.extxyz"), cutoffs)
    return Inversion(
        folder,
        anatomy,
        metrics,
        read_spectra(folder / "spectra.csv"),
        _read_object(lineage) if lineage.is_file() else {},
        target.read_text(encoding="utf-8", errors="replace") if target.is_file() else "",
    )


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"not JSON: {error}", str(path), "run the inversion again") from None
    if not isinstance(content, dict):
        raise InputError("not a JSON object", str(path), "run the inversion again")
    return content


def read_spectra(path: Path) -> tuple[FittedSpectrum, ...]:
    """The measurements of a `spectra.csv`, in its order.

    Raises:
        InputError: a column is missing or a value is not a number.
    """
    rows: dict[tuple[str, str, str], list[list[float]]] = {}
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        missing = {"measurement", "kind", "use", *_COLUMNS} - set(reader.fieldnames or ())
        if missing:
            raise InputError(f"no column {', '.join(sorted(missing))}", str(path), "run the inversion again")
        for row in reader:
            try:
                values = [float(row[column]) for column in _COLUMNS]
            except (TypeError, ValueError):
                mend = "run the inversion again"
                raise InputError("a value is not a number", f"{path}: line {reader.line_num}", mend) from None
            rows.setdefault((row["measurement"], row["kind"], row["use"]), []).append(values)
    return tuple(FittedSpectrum(*key, *np.array(table).T) for key, table in rows.items())
