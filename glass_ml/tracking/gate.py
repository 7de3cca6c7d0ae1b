"""The gate of a promotion: what a version must have shown before people use it, condition by condition."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glass_ml.analysis.names import LEAST
from glass_ml.provenance.project import UNKNOWN
from glass_ml.settings.platform import GateConfig
from glass_ml.tracking.evaluations import data_apart, evaluations, number, same_reference, unrecorded
from glass_ml.tracking.model_places import read_card, version_folder
from glass_ml.tracking.registry import model_type
from glass_ml.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

HELD_OUT = "held-out"
"""Name of the evaluation that a surrogate brings along: on folds that its networks had not seen."""
COMPARED_LEAST = {f"reference.{name}": least for name, least in LEAST.items()}
"""Compared number -> value below which it counts as this: one near zero would outweigh all the others."""
SPREAD = 2.0
"""A limit on `reference.*` is at least this multiple of what one reference structure differs by from the others: there
are materials whose structures are less alike than the limit allows."""
ANEW = "commit, then train it again, or, where dvc.lock accounts for models/, run 'glass-ml registry rebuild'"
OTHER_LEAST = 0.005
"""The same of any other: an R-factor, or an error of spectra in units of the edge step."""


@dataclass(frozen=True)
class Condition:
    """One condition and how a version stands to it.

    Attributes:
        name: what is asked about.
        passed: whether the version meets it.
        detail: numbers: what was found, what is asked; where it failed, how to mend it.
    """

    name: str
    passed: bool
    detail: str


def conditions(store: Store, version: ModelVersion, holder: ModelVersion | None, gate: GateConfig) -> list[Condition]:
    """Every condition of the gate, met or not.

    Args:
        store: where both are registered.
        version: that is to be promoted.
        holder: that holds the alias now; None where nobody does.
        gate: what is asked.
    """
    folder = version_folder(store, version)
    found = [*_lineage(version, folder, gate)]
    if folder and model_type(read_card(folder)) == "surrogate":  # a prior may have been evaluated under any name
        found += _errors(version.tags, gate)
    else:
        found += [*_losses(version.tags, gate), *_evaluations(version.tags, gate)]
    if holder is not None and holder.version != version.version:
        found.append(_against(version, holder, gate))
    return found


def _lineage(version: ModelVersion, folder: Path | None, gate: GateConfig) -> Iterator[Condition]:
    tags = version.tags
    md5, commit = tags.get("data_md5", ""), tags.get("git_commit", UNKNOWN)
    known = commit not in ("", UNKNOWN)
    yield Condition(
        "training data", bool(md5),
        md5 or "the md5 of its training data is not recorded: train it on data that DVC tracks",
    )  # fmt: skip
    yield Condition(
        "git commit", known,
        commit[:12] if known else f"the git commit that made it is not recorded: {ANEW}",
    )  # fmt: skip
    if gate.clean and known:
        clean = tags.get("git_dirty") == "False"
        yield Condition(
            "git state", clean,
            "as committed" if clean else f"code or configuration may have differed from the commit: {ANEW}",
        )  # fmt: skip
    yield Condition(
        "files", folder is not None,
        f"sha256 {tags.get('model_sha256', '')[:12]}" if folder
        else "its files are gone or differ from what was registered: 'dvc pull', or train it again",
    )  # fmt: skip


def _at_most(name: str, value: float | None, limit: float, where: str = "") -> Condition:
    if value is None:
        return Condition(name, False, f"not recorded{where}; asked: at most {limit:g}")
    return Condition(name, value <= limit, f"{value:.4g}{where}; asked: at most {limit:g}")


def _losses(tags: Mapping[str, str], gate: GateConfig) -> Iterator[Condition]:
    for sigma, limit in gate.held_out_loss.items():
        value = number(tags.get(f"metric/held_out_loss/{sigma}"))
        yield _at_most(f"held-out loss at {sigma} Å", value, limit)


def _evaluations(tags: Mapping[str, str], gate: GateConfig) -> Iterator[Condition]:
    found = evaluations(tags)
    if not found:
        yield Condition(
            "evaluation", False,
            "it has none: run 'glass-ml evaluate DIR --reference FILE' on an inversion that used it",
        )  # fmt: skip
        return
    for name, limit in gate.evaluation.items():
        values = {target: numbers[name] for target, numbers in found.items() if name in numbers}
        if not values:
            yield _at_most(name, None, limit, f" on {', '.join(sorted(found))}")
            continue
        family, _, distance = name.partition(".")
        floor = f"reference_floor.{distance}" if family == "reference" else ""
        limits = {target: max(limit, SPREAD * found[target].get(floor, 0.0)) for target in values}
        worst = max(values, key=lambda target: values[target] / max(limits[target], 1e-12))
        where = f" on {worst}"
        if limits[worst] > limit:
            where += f", where reference structures differ from each other by {found[worst][floor]:.4g}"
        yield _at_most(name, values[worst], limits[worst], where)


def _errors(tags: Mapping[str, str], gate: GateConfig) -> Iterator[Condition]:
    numbers = evaluations(tags).get(HELD_OUT, {})
    for part, limit in gate.surrogate.items():
        error, spread = numbers.get(f"{part}_rmse"), numbers.get(f"{part}_spread")
        ratio = error / spread if error is not None and spread else None
        yield _at_most(f"held-out error per {part} over the spread of the data", ratio, limit)


def _against(version: ModelVersion, holder: ModelVersion, gate: GateConfig) -> Condition:
    """Whether the version is as good as the holder where both were evaluated: the geometric mean of the ratios."""
    name = f"no worse than version {holder.version}"
    pairs, left = _pairs(version, holder, (*gate.compared, "atom_rmse", "cell_rmse"))
    noted = f"; left out: {', '.join(left)}" if left else ""
    if not pairs:
        theirs = ", ".join(sorted(evaluations(holder.tags))) or "none"
        return Condition(
            name, False, f"no evaluation in common with it (its: {theirs}){noted}; evaluate both on a target",
        )  # fmt: skip
    logs, shown = [], []
    for (target, key), (a, b) in pairs.items():
        least = COMPARED_LEAST.get(key, OTHER_LEAST)
        logs.append(math.log(max(a, least) / max(b, least)))
        counted = f", each counted as {least:g} at least" if min(a, b) < least else ""
        shown.append(f"{target} {key} {a:.3g} for {b:.3g}{counted}")
    ratio = math.exp(sum(logs) / len(logs))
    if named := sorted({target for target, _ in pairs if unrecorded(version, target)}):
        noted += f"; taken for the same data by name alone: {', '.join(named)}"
    asked = f"asked: at most {1 + gate.tolerance:g} times its numbers"
    detail = f"{ratio:.3f} times its numbers ({'; '.join(shown)}); {asked}{noted}"
    return Condition(name, ratio <= 1 + gate.tolerance, detail)


def _pairs(
    version: ModelVersion, holder: ModelVersion, names: Sequence[str]
) -> tuple[dict[tuple[str, str], tuple[float, float]], list[str]]:
    """(target, name) -> the numbers of both versions that compare; what does not although both have it, and why."""
    ours, theirs = evaluations(version.tags), evaluations(holder.tags)
    pairs: dict[tuple[str, str], tuple[float, float]] = {}
    left = []
    for target in sorted(ours.keys() & theirs.keys()):
        shared = [key for key in names if key in ours[target] and key in theirs[target]]
        if shared and (why := data_apart(version, holder, target)):
            left.append(f"{target} ({why})")
            continue
        of_reference = [key for key in shared if key.startswith("reference.")]
        if of_reference and not same_reference(version, holder, target):
            left.append(f"reference.* on {target} (other reference structures, or not on record)")
            shared = [key for key in shared if key not in of_reference]
        pairs |= {(target, key): (ours[target][key], theirs[target][key]) for key in shared}
    return pairs, left
