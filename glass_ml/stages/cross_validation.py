"""Leaving each measurement out in turn: what the others say of it."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from glass_ml.errors import InputError
from glass_ml.files import write_json, write_text
from glass_ml.measurements.target import Target, load_target
from glass_ml.observables.fields import described
from glass_ml.observables.kinds import find_kind
from glass_ml.stages.invert import invert
from glass_ml.stages.sync import record
from glass_ml.tracking.inversions import RESULT
from glass_ml.tracking.runs import clean_name


def cross_validate(target_file: Path | str, out: Path | str, *, track: bool = True, **options: Any) -> dict[str, Any]:
    """Invert a target with every fitted measurement, and again without each of them in turn; returns the matrix.

    Every inversion is one of `invert`, in a folder of its own in `out`; the same command finishes what was interrupted.
    `out/cross-validation.json` holds the R-factor of every measurement in every inversion.

    Args:
        target_file: TARGET.yaml with two or more fitted measurements.
        out: folder.
        track: record the inversions in MLflow, as children of one run.
        options: further arguments of `invert`.

    Raises:
        InputError: as `invert`; fewer than two measurements are fitted.
    """
    out = Path(out)
    target = load_target(target_file)
    content = yaml.safe_load(target.path.read_text(encoding="utf-8"))
    fitted = [m.name for m, _ in zip(target.measurements, content["measurements"], strict=False) if m.use == "fit"]
    if len(fitted) < 2:
        what = f"{len(fitted)} fitted measurement{'s' if len(fitted) != 1 else ''}: nothing can be left out"
        raise InputError(what, f"{target.path}: measurements", "list two or more with 'use: fit'")
    files = {
        left_out: _write_without(target, content, left_out, number, out)
        for number, left_out in enumerate((None, *fitted))
    }

    rows = []
    for left_out, (file, folder) in files.items():
        metrics = invert(file, folder, track=track, **options)
        if not metrics:  # another process of this command speaks
            return {}
        rows.append({"left_out": left_out, "folder": folder.name, "measurements": metrics["measurements"]})
    result = {"target": str(target.path), "rows": rows}
    write_json(out / RESULT, result)
    if track:
        record("cross-validation", out, metrics=parent_metrics(result))
    return result


def _write_without(
    target: Target, content: Mapping[str, Any], left_out: str | None, number: int, out: Path
) -> tuple[Path, Path]:
    """A target in which one measurement only validates; returns its file and the folder of its inversion."""
    changed = copy.deepcopy(dict(content))
    for entry, measurement in zip(changed["measurements"], target.measurements, strict=False):
        entry["name"] = measurement.name
        own = find_kind(measurement.kind).fields
        files = {key: getattr(measurement.settings, key) for key, f in own.items() if described(f).file}
        files["file"] = measurement.file
        entry |= {key: str(Path(path).resolve()) for key, path in files.items() if entry.get(key)}
        if measurement.name == left_out:
            entry["use"] = "validate"
    slug = "all" if left_out is None else f"without-{number}-" + re.sub(r"[^\w.-]+", "-", left_out).strip("-")
    file = out / f"{slug}.yaml"
    write_text(file, yaml.safe_dump(changed, sort_keys=False, width=120, allow_unicode=True))
    return file, out / slug


def parent_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """R of each measurement in the inversion that did not see it, by the names that MLflow takes."""
    blind = {r["left_out"]: r["measurements"] for r in result.get("rows", ()) if r["left_out"] is not None}
    return {clean_name(f"R without {name}"): found[name]["r_factor"] for name, found in blind.items()}
