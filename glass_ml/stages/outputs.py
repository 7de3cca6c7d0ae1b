"""The files of an inversion: written in the order that makes a finished one recognisable."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from glass_ml.analysis.angles import describe_sharp
from glass_ml.analysis.ensemble import Anatomy, describe, summary
from glass_ml.analysis.inversion import FittedSpectrum, read_inversion
from glass_ml.analysis.report import write_report
from glass_ml.errors import InputError
from glass_ml.files import sha256_file, write_json, write_text
from glass_ml.measurements.comparison import Comparison
from glass_ml.measurements.likelihood import build_likelihood
from glass_ml.measurements.target import Target
from glass_ml.observables.surrogate_files import WEIGHTS
from glass_ml.provenance.lineage import load_lineage, stamp, write_lineage
from glass_ml.provenance.project import worktree
from glass_ml.sampling.constraints import MinimumDistance, too_close
from glass_ml.sampling.sampler import noise_levels
from glass_ml.settings.sampling import SamplingConfig
from glass_ml.stages.originality import originality
from glass_ml.stages.plan import Plan
from glass_ml.structures.io import to_atoms, write_frames
from glass_ml.structures.state import Structures
from glass_ml.tracking.inversions import FILES

SCRATCH = ".replicas"
"""Where replicas lie until the last one is there."""
WRITTEN = (*FILES, "evaluation.json", "figures", SCRATCH)
"""Names of what an inversion and its evaluation leave in a folder."""


def compare_with_target(target: Target, structures: Structures, sampling: SamplingConfig) -> Comparison:
    """Every measurement of the target beside the structures."""
    with torch.no_grad():
        return build_likelihood(target, structures, ensemble=sampling.fit == "ensemble").compare(structures)


def check_copies(target: Target, out: Path) -> None:
    """See that the copies of what a target's measurements rest on can lie in `out`, beside each other and the results.

    Raises:
        InputError: two of them, or one of them and a result, have the same name; or files of other content lie in
            `out` under these names that are no copies of an earlier inversion.
    """
    copies = {"target.yaml": target.path}
    for measurement in target.measurements:
        for role, file, _ in measurement.files:
            source, copy = _copied(role, file, out)
            if copy.name in WRITTEN:
                raise InputError(f"a result of the inversion has the name '{copy.name}', too", str(source), "rename it")
            if not _same(copies.setdefault(copy.name, source), source):
                what = f"two files of measurements have the name '{copy.name}'"
                raise InputError(what, str(source), "rename one of them")
    left = _left_behind(out)
    for name, source in copies.items():
        if (out / name).exists() and not _same(out / name, source) and _content(out / name) not in left:
            place = str(out / name)
            raise InputError("would be overwritten by another file of that name", place, "choose another --out")


def make_folder(out: Path) -> None:
    """Make the folder of an inversion; raises InputError where nothing can be written."""
    mend = "choose another --out"
    if out.exists() and not out.is_dir():
        raise InputError("is a file, not a folder", str(out), mend)
    existing = next(p for p in (out, *out.absolute().parents) if p.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError("cannot write here: permission denied", str(existing), mend)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write here: {error.strerror}", str(out), mend) from None


def _left_behind(out: Path) -> set[str]:
    """Checksums of what an earlier inversion has copied into `out`; none where it lies beside its own data."""
    try:
        lineage = load_lineage(out)
    except InputError:
        return set()
    own = any((worktree() / m.file).resolve().is_relative_to(out.resolve()) for m in lineage.measurements)
    return set() if own else {lineage.target_sha256, *(m.sha256 for m in lineage.measurements)}


def _content(copy: Path) -> str:
    """Checksum of a copy: of the weights, of a surrogate."""
    file = copy / WEIGHTS if copy.is_dir() else copy
    return sha256_file(file) if file.is_file() else ""


def _copied(role: str, file: str, out: Path) -> tuple[Path, Path]:
    """What of a measurement is copied, and where to: a file, or the folder of a surrogate, its weights and card."""
    source = Path(file).parent if role == "surrogate" else Path(file)
    return source, out / source.name


def _same(one: Path, other: Path) -> bool:
    if one.resolve() == other.resolve():
        return True
    kinds = {path.is_file() for path in (one, other)}
    return kinds == {True} and sha256_file(one) == sha256_file(other)


def measurement_metrics(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """The `measurements` of metrics.json."""
    return {
        m.name: {
            "kind": m.kind,
            "use": m.use,
            "n_points": m.n_points,
            "chi2_reduced": m.chi2_reduced,
            "r_factor": m.r_factor,
            "scale": float(m.scale.mean()),
            "offset": float(m.offset.mean()),
            **{name: float(values.mean()) for name, values in m.opened.items()},
        }
        for m in comparison.measurements
    }


def finished_metrics(out: Path, identity: str) -> dict[str, Any] | None:
    """The metrics in `out` if it holds the whole inversion of this identity, else None."""
    try:
        metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    structures = out / "structures.extxyz"
    intact = metrics.get("inversion") == identity and (out / "report.html").is_file() and structures.is_file()
    return metrics if intact and sha256_file(structures) == metrics.get("structures_sha256") else None


def write_inversion(out: Path, plan: Plan, structures: Structures) -> dict[str, Any]:
    """Write everything that an inversion leaves in its folder; returns the metrics.

    The report comes last and goes first: with it, and with metrics of the right identity, a folder is whole.
    """
    target = plan.target
    (out / "report.html").unlink(missing_ok=True)
    write_frames(out / "structures.extxyz", stamp(to_atoms(structures), plan.lineage))
    write_text(out / "target.yaml", target.path.read_text(encoding="utf-8"))
    for measurement in target.measurements:
        for role, file, _ in measurement.files:
            source, copy = _copied(role, file, out)
            if copy.resolve() == source.resolve():
                continue
            if source.is_dir():
                shutil.copytree(source, copy, dirs_exist_ok=True)
            else:
                shutil.copyfile(source, copy)
    # After the copies: an earlier lineage says of what is there that it may go.
    write_lineage(out / "lineage.json", plan.lineage)
    comparison = compare_with_target(target, structures, plan.recipe.settings)
    write_text(out / "spectra.csv", _spectra_table(comparison))
    anatomy = Anatomy.of(structures)
    metrics = {
        "inversion": plan.identity,
        "structures_sha256": sha256_file(out / "structures.extxyz"),
        **inversion_metrics(plan, anatomy, comparison),
    }
    write_json(out / "metrics.json", metrics)
    write_report(read_inversion(out, anatomy), out / "figures")
    return metrics


def inversion_metrics(plan: Plan, anatomy: Anatomy, comparison: Comparison) -> dict[str, Any]:
    """What is known of the structures of an inversion: all that a verdict needs."""
    structures, sampling = anatomy.structures, plan.recipe.settings
    described = summary({**describe(anatomy), **describe_sharp(anatomy.angles)})
    closest = MinimumDistance({(int(a), int(b)): sampling.minimum_distance * r for a, b, r in plan.prior.shortest})
    described["too_close"] = summary({"": too_close(structures, closest).double().numpy()})[""]
    return {
        "n_structures": structures.n_systems,
        "n_atoms": structures.n_atoms // structures.n_systems,
        "network_calls": len(noise_levels(sampling.schedule)),
        "model_uri": plan.lineage.model_uri,
        "settings_source": plan.recipe.source,
        "note": plan.target.note,
        "measurements": measurement_metrics(comparison),
        "structure": described,
        **originality(structures, plan.lineage),
        **({"references": dict(plan.references)} if plan.references else {}),
    }


def _spectra_table(comparison: Comparison) -> str:
    lines = ["measurement,kind,use,x,target,sigma,fit,spread,residual"]
    for m in map(FittedSpectrum.of, comparison.measurements):
        for row in zip(m.x, m.target, m.sigma, m.fit, m.spread, m.residual, strict=True):
            lines.append(",".join([f'"{m.name}"', m.kind, m.use, *(f"{value:.6g}" for value in row)]))
    return "\n".join(lines) + "\n"
