"""Stage `study`: which probe knows most. Reference structures are inverted from every probe, alone and together.

Each inversion has the same prior, budget and seeds; they differ in which simulated measurements are fitted. All of
them are then scored on every spectrum and on what no probe measures: coordination, angles, rings.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from glass_ml.analysis.comparison import compare, floor
from glass_ml.analysis.complementarity import plot_study, study_text, title
from glass_ml.analysis.ensemble import summary
from glass_ml.config import as_mapping
from glass_ml.execution.processes import run_inversions
from glass_ml.execution.replicas import Replicas
from glass_ml.files import sha256_text, write_json, write_text
from glass_ml.measurements.likelihood import build_likelihood
from glass_ml.measurements.target import Target, load_target
from glass_ml.priors.checkpoint import load_prior
from glass_ml.provenance.lineage import canonical_json, make_lineage, stamp
from glass_ml.provenance.project import code_identity
from glass_ml.sampling.guidance import Denoiser
from glass_ml.settings.recipe import StudyConfig, system_config
from glass_ml.settings.sampling import SamplingConfig
from glass_ml.stages import run_stage
from glass_ml.stages.plan import measurement_entries
from glass_ml.stages.probes import (
    BROADENING,
    Reference,
    reference_structures,
    simulate,
    with_noise,
    write_simulated_target,
    write_spectrum,
)
from glass_ml.structures.io import to_atoms, write_frames
from glass_ml.structures.state import Structures, concatenate
from glass_ml.tracking.registry import ResolvedModel, resolve_model
from glass_ml.tracking.runs import KEY, Run, clean_name, find_run, start_run

FOLDER = Path("studies")


@dataclass(frozen=True)
class Probe:
    """What one experiment measures: one or several measurements of the target.

    Attributes:
        name: as people call it.
        measurements: their names in the target.
    """

    name: str
    measurements: tuple[str, ...]


def complementarity(system: str, *, progress: bool = True) -> dict[str, Any]:
    """Invert the reference structures of a system from no, every single, every two and all probes; returns the result.

    Finished inversions of an interrupted study are kept. `studies/SYSTEM/results` receives `complementarity.json`, its
    heat map (.png) and what it says (.md); the ensembles, with their lineage, lie beside it.

    Raises:
        InputError: no such system, reference or prior.
    """
    config = system_config(system, tuned=False)  # the same study, whatever a sweep has found
    study = config.study
    folder = FOLDER / system
    reference = reference_structures(Path("data") / system / (study.reference or config.target.reference))
    probes, target_file = make_probes(system, study, reference, folder)
    target = load_target(target_file)
    model = resolve_model(None, system)
    sampling = replace(config.sampling, schedule=replace(config.sampling.schedule, steps=study.steps))
    fixed = (code_identity().code_sha256, model.sha256, target.sha256)
    key = sha256_text(canonical_json([*fixed, as_mapping(sampling), as_mapping(study)]))
    with start_run(
        stage="study", system=system, name=f"complementarity {system}", params=as_mapping(study), key=key
    ) as parent:
        choices = subsets(probes)
        targets = [_with_uses(target, fitted) for fitted in choices]
        ensembles = _invert(
            targets, load_prior(model.folder), sampling, study, folder / ".replicas" / key[:16], progress
        )
        for fitted, uses, structures in zip(choices, targets, ensembles, strict=True):
            _keep(folder / "ensembles", fitted, uses, structures, model, sampling, study)
        rows = _score(target, choices, ensembles, reference.structures)
        for row in rows:
            _record(parent, system, row, key)
        result = {
            "system": system,
            "note": target.note,
            "model_uri": model.uri,
            "settings": as_mapping(study),
            "probes": {p.name: list(p.measurements) for p in probes},
            "floor": summary(floor(reference.structures)),
            "rows": rows,
        }
        _write_results(folder / "results", result)
        parent.log_artifact(folder / "results")
    shutil.rmtree(folder / ".replicas", ignore_errors=True)
    return result


def make_probes(system: str, study: StudyConfig, reference: Reference, folder: Path) -> tuple[list[Probe], Path]:
    """Write the simulated spectrum of every probe and the target that lists them; returns the probes and its path."""
    grids = {
        "gr": torch.arange(20, round(study.r_max / 0.05) + 1, dtype=torch.float64) * 0.05,
        "q": torch.arange(study.q_range[0], study.q_range[1], 0.05, dtype=torch.float64),
        "exafs": torch.arange(study.k_range[0], study.k_range[1] + 1e-9, 0.05, dtype=torch.float64),
        "adf": torch.arange(31.0, 180.0, 2.0, dtype=torch.float64),
    }
    planned: list[tuple[str, dict[str, Any]]] = [
        ("g(r)", {"kind": "gr", "radiation": "number", "broadening": BROADENING}),
        ("X-ray", {"kind": "xray-sq"}),
        ("neutron", {"kind": "neutron-fq"}),
        *(("EXAFS", {"kind": "exafs", "edge": edge, "k_weight": 2.0}) for edge in study.edges),
        *(("angles", {"kind": "adf", "triplet": t, "cutoff": c}) for t, c in study.triplets.items()),
    ]
    entries, members = [], dict[str, list[str]]()
    for name, entry in planned:
        label = " ".join([name, *(str(entry[part]) for part in ("edge", "triplet") if part in entry)])
        x, y = simulate(entry, grids.get(entry["kind"], grids["q"]), reference)
        sigma = study.noise * float(y.max() - y.min())
        file = f"{label.replace(' ', '-').replace('(', '').replace(')', '')}.csv"
        write_spectrum(
            folder / file, entry["kind"], f"{reference.label}, noise {sigma:.3g}", x,
            with_noise(y, sigma, study.seed, "study", system, label),
        )  # fmt: skip
        entries.append({"file": file, "name": label, "sigma": float(f"{sigma:.4g}"), **entry})
        members.setdefault(name, []).append(label)
    probes = [Probe(name, tuple(labels)) for name, labels in members.items()]
    return probes, write_simulated_target(folder, system, reference, entries)


def subsets(probes: Sequence[Probe]) -> list[tuple[Probe, ...]]:
    """No probe, each alone, each two, and all."""
    few = [chosen for size in (0, 1, 2) for chosen in combinations(probes, size)]
    return few + ([tuple(probes)] if len(probes) > 2 else [])


def _with_uses(target: Target, fitted: Sequence[Probe]) -> Target:
    """The target with the measurements of some probes fitted and the others held out."""
    chosen = {name for probe in fitted for name in probe.measurements}
    return replace(
        target,
        measurements=tuple(replace(m, use="fit" if m.name in chosen else "validate") for m in target.measurements),
    )


def _invert(
    targets: Sequence[Target],
    prior: Denoiser,
    sampling: SamplingConfig,
    study: StudyConfig,
    scratch: Path,
    progress: bool,
) -> list[Structures]:
    """An ensemble for each target, all with the same seeds."""
    inversions = []
    for number, target in enumerate(targets):
        job = {
            "denoiser": prior,
            "composition": target.composition,
            "density": target.density,
            "n_atoms": study.n_atoms,
            "seed": study.seed,
            "target": target if any(m.use == "fit" for m in target.measurements) else None,
        }
        inversions.append(Replicas(job, study.n_structures, sampling, scratch / f"{number:03d}"))
    return run_inversions(inversions, processes=study.processes, progress=progress)


def _keep(
    folder: Path,
    fitted: Sequence[Probe],
    target: Target,
    structures: Structures,
    model: ResolvedModel,
    sampling: SamplingConfig,
    study: StudyConfig,
) -> None:
    """Write an ensemble with its lineage."""
    lineage = make_lineage(
        model=model.folder,
        model_uri=model.uri,
        model_name=model.name,
        model_sha256=model.sha256,
        target=target.path,
        target_sha256=target.sha256,
        measurements=measurement_entries(target),
        params={
            "sampling": as_mapping(sampling),
            "study": as_mapping(study),
            "fitted": [m.name for m in target.measurements if m.use == "fit"],
        },
        seed=study.seed,
        device="cpu",
        system=target.system,
    )
    slug = "_".join(p.name for p in fitted).replace("(", "").replace(")", "") or "prior"
    write_frames(folder / f"{slug}.extxyz", stamp(to_atoms(structures), lineage))


def _score(
    target: Target, choices: Sequence[Sequence[Probe]], ensembles: Sequence[Structures], reference: Structures
) -> list[dict[str, Any]]:
    """Every spectrum and every unfitted descriptor of each ensemble, mean and spread over its structures."""
    joined = concatenate(list(ensembles))
    with torch.no_grad():
        fits = build_likelihood(target, joined).compare(joined).measurements
    spectra = {m.name: m.r_factors.double().numpy() for m in fits}
    descriptors = compare(joined, reference)
    rows, first = [], 0
    for fitted, structures in zip(choices, ensembles, strict=True):
        own = slice(first, first + structures.n_systems)
        first += structures.n_systems
        rows.append(
            {
                "fitted": [p.name for p in fitted],
                "spectra": summary({name: values[own] for name, values in spectra.items()}),
                "descriptors": summary({name: values[own] for name, values in descriptors.items()}),
            }
        )
    return rows


def _record(parent: Run, system: str, row: dict[str, Any], key: str) -> None:
    """One child run for a choice of probes, once."""
    own = sha256_text(canonical_json([parent.id, key, row["fitted"]]))
    if find_run(parent.store, KEY, own):
        return
    with start_run(
        stage="study", system=system, name=title(row), store=parent.store, params={"fitted": row["fitted"]},
        tags={"fitted": ", ".join(row["fitted"])}, key=own, parent=parent.id,
    ) as run:  # fmt: skip
        misfits = {clean_name(f"R {name}"): found["mean"] for name, found in row["spectra"].items()}
        run.log_metrics(misfits | {name: found["mean"] for name, found in row["descriptors"].items()})


def _write_results(folder: Path, result: dict[str, Any]) -> None:
    write_json(folder / "complementarity.json", result)
    plot_study(result, folder / "complementarity.png")
    write_text(folder / "complementarity.md", study_text(result))


if __name__ == "__main__":
    run_stage(lambda system: complementarity(system, progress=sys.stderr.isatty()))
