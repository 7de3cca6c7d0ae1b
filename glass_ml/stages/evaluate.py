"""Stage `evaluate`: fit and realism of an inversion, recomputed from its structures and its own copy of the data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glass_ml.analysis.comparison import compare, floor
from glass_ml.analysis.ensemble import Anatomy, describe, summary
from glass_ml.analysis.verdict import verdict
from glass_ml.config import build
from glass_ml.files import sha256_file, write_json
from glass_ml.measurements.target import load_target
from glass_ml.settings.sampling import SamplingConfig
from glass_ml.stages.originality import originality
from glass_ml.stages.outputs import compare_with_target, measurement_metrics
from glass_ml.stages.sync import record
from glass_ml.structures.io import from_atoms, read_frames, read_structures
from glass_ml.tracking.headline import load
from glass_ml.tracking.inversions import load_lineage


def evaluate(folder: Path | str, reference: Path | str | None = None, *, track: bool = True) -> dict[str, Any]:
    """Evaluate an inversion folder; writes `evaluation.json` there and returns its content.

    Args:
        folder: what `invert` has written.
        reference: structures to compare with, such as those a target was simulated from; of a file with thermal and
            minimised frames the thermal ones count.
        track: record the evaluation with the inversion's run and the version of its prior.

    Raises:
        InputError: the folder holds no inversion, or the reference cannot be compared with.
    """
    folder = Path(folder)
    lineage = load_lineage(folder)
    structures = read_structures(folder / "structures.extxyz")
    sampling = build(SamplingConfig, json.loads(lineage.params)["sampling"], f"{folder / 'lineage.json'}: params")
    target = load_target(folder / "target.yaml", beside=True)
    anatomy = Anatomy.of(structures)
    result: dict[str, Any] = {
        "n_structures": structures.n_systems,
        "measurements": measurement_metrics(compare_with_target(target, structures, sampling)),
        "structure": summary(describe(anatomy)),
    }
    independent = None
    if reference is not None:
        frames = read_frames(reference)
        chosen = [a for a in frames if a.info.get("state", "thermal") == "thermal"] or frames
        against = Anatomy.of(from_atoms(chosen))
        independent = from_atoms(list({a.info.get("quench", k): a for k, a in enumerate(chosen)}.values()))
        result["reference"] = summary(compare(anatomy, against))
        result["reference_sha256"] = sha256_file(reference)
        if len(chosen) > 1:
            result["reference_floor"] = summary(floor(against))
    result |= originality(structures, lineage, independent)
    known = {key: value for key, value in load(folder / "metrics.json").items() if key == "references"}
    result["verdict"] = verdict({**result, **known}).headline
    result = rounded(result)
    write_json(folder / "evaluation.json", result)
    if track:
        record("evaluation", folder)
    return result


def rounded(value: Any) -> Any:
    """Nested mappings and lists with their numbers in ten digits: the order of a sum over threads changes the rest."""
    if isinstance(value, Mapping):
        return {key: rounded(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(v) for v in value]
    return float(f"{value:.10g}") if isinstance(value, float) else value
