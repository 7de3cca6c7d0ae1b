"""The evaluations of a version in its tags, `evaluation/<target>/<name>`: numbers, and beside them what they rest on.

A target is called as the folder of its inversion, and folders of one name hold different things at different times. So
the checksums of target, measured files and reference structures say which numbers compare.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glass_ml.analysis.names import LEAST
from glass_ml.errors import InputError
from glass_ml.files import sha256_text
from glass_ml.provenance.lineage import Lineage, canonical_json
from glass_ml.tracking.runs import clean_name
from glass_ml.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

FILE = "evaluation.json"
PREFIX = "evaluation"
RUN = "run"
DATA = ("target_sha256", "measurements_sha256")
"""What was inverted: the target's file, and the files that it names."""
REFERENCE = "reference_sha256"
"""What the numbers `reference.*` are distances from."""
UNFINISHED = "unfinished"
"""Stands for the first of `DATA` while an evaluation is being written: where a kill leaves it, nothing compares."""


def evidence(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of an evaluation that are recorded with a model.

    They are every misfit, every mean of a descriptor, what the reference structures differ by from each other, the
    diversity and the share of copies.

    Raises:
        InputError: there is none.
    """
    numbers = {
        f"{name}.{key}": m[key]
        for name, m in evaluation["measurements"].items()
        for key in ("r_factor", "chi2_reduced")
    }
    for part in ("structure", "reference"):
        numbers |= {f"{part}.{name}": value["mean"] for name, value in evaluation.get(part, {}).items()}
    floor = evaluation.get("reference_floor", {})
    numbers |= {f"reference_floor.{name}": floor[name]["mean"] for name in LEAST if name in floor}
    numbers |= {f"diversity.{key}": value for key, value in evaluation.get("diversity", {}).items()}
    copied = evaluation.get("copies", {})
    numbers |= {f"copies.{key}": copied[key] for key in ("mean", "max") if key in copied}
    if not numbers:
        raise InputError("nothing to record", "evaluation")
    return numbers


def read_evaluation(folder: Path) -> dict[str, Any]:
    """The `evaluation.json` of an inversion.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    file = folder / FILE
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"unreadable: {error}", str(file), "run 'glass-ml evaluate' again") from None
    return content


def evaluations(tags: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """The evaluations in a version's tags: target -> name -> number."""
    found: dict[str, dict[str, float]] = {}
    for key, text in tags.items():
        part, _, rest = key.partition("/")
        target, _, name = rest.rpartition("/")
        if part == PREFIX and (value := number(text)) is not None:
            found.setdefault(target, {})[name] = value
    return found


def number(text: str | None) -> float | None:
    """The finite number that a tag says, if it does."""
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def origin(lineage: Lineage, run_id: str, reference_sha256: str | None) -> dict[str, str]:
    """What the numbers of an evaluation rest on, as it stands in the tags beside them.

    Args:
        lineage: of the inversion.
        run_id: its run.
        reference_sha256: checksum of the file of reference structures, if there is one.
    """
    measured = sorted(entry["sha256"] for entry in json.loads(lineage.measurements))
    said = {RUN: run_id, DATA[0]: lineage.target_sha256, DATA[1]: sha256_text(canonical_json(measured))}
    return said if reference_sha256 is None else {**said, REFERENCE: reference_sha256}


def write_evaluation(
    store: Store, version: ModelVersion, target: str, numbers: Mapping[str, float], told: Mapping[str, str]
) -> None:
    """Put an evaluation into a version's tags in place of the one that it has on this target.

    What the old one had beyond the new goes last, so that a kill loses no evidence. The caller holds `store.lock()`,
    and has read the version since.

    Args:
        store: where the version is registered.
        version: with its tags.
        target: name of the target.
        numbers: name -> number.
        told: `origin` of the numbers.
    """
    place = clean_name(f"{PREFIX}/{target}")
    texts = {**{key: f"{value:.6g}" for key, value in numbers.items()}, **told, DATA[0]: f"{UNFINISHED} {told[RUN]}"}
    content = {f"{place}/{key}"[:250]: text for key, text in texts.items()}
    first = f"{place}/{DATA[0]}"
    for key in (first, *(key for key in content if key != first)):
        store.client.set_model_version_tag(version.name, version.version, key, content[key])
    for key in version.tags:
        if key.rpartition("/")[0] == place and key not in content:
            store.client.delete_model_version_tag(version.name, version.version, key)
    store.client.set_model_version_tag(version.name, version.version, first, told[DATA[0]])


def data_apart(a: ModelVersion, b: ModelVersion, target: str) -> str:
    """Why the evaluations of two versions on a target do not compare; "" where their data agree, or neither says."""
    ours, theirs = (tuple(v.tags.get(f"{PREFIX}/{target}/{part}") for part in DATA) for v in (a, b))
    if ours == theirs:
        return ""
    for version, said in ((a, ours), (b, theirs)):
        if None in said or str(said[0]).startswith(UNFINISHED):
            return (
                f"version {version.version} does not say on which data: 'glass-ml evaluate' on its inversion notes it"
            )
    return "other data"


def unrecorded(version: ModelVersion, target: str) -> bool:
    """Whether the evaluation of an inversion does not say on which data."""
    return f"{PREFIX}/{target}/{RUN}" in version.tags and f"{PREFIX}/{target}/{DATA[0]}" not in version.tags


def same_reference(a: ModelVersion, b: ModelVersion, target: str) -> bool:
    """Whether two versions were compared with the same reference structures on a target, or neither says."""
    key = f"{PREFIX}/{target}/{REFERENCE}"
    return a.tags.get(key) == b.tags.get(key)
