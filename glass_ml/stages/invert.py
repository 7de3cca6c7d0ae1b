"""Stage `invert`: from a target to an ensemble with lineage, figures, a report and a tracked run."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ase.data import atomic_numbers

from glass_ml.analysis.references import References
from glass_ml.config import as_mapping
from glass_ml.errors import InputError
from glass_ml.execution.devices import Devices, first_process
from glass_ml.execution.lightning import compute_replicas
from glass_ml.execution.processes import run_replicas
from glass_ml.execution.replicas import Replicas
from glass_ml.files import sha256_text
from glass_ml.measurements.likelihood import build_likelihood
from glass_ml.measurements.target import load_target
from glass_ml.priors.checkpoint import load_prior, read_card
from glass_ml.provenance.lineage import Lineage, canonical_json, make_lineage
from glass_ml.provenance.project import worktree
from glass_ml.sampling.run import batches_of
from glass_ml.sampling.schedules import noise_levels
from glass_ml.settings.recipe import PARAMS, InversionConfig, system_config
from glass_ml.settings.resolution import Resolved, described, sampling_settings
from glass_ml.stages.outputs import SCRATCH, check_copies, finished_metrics, measurement_entries, write_inversion
from glass_ml.stages.sync import record
from glass_ml.structures.packing import atom_counts, random_packing
from glass_ml.structures.random import generator
from glass_ml.tracking.registry import resolve_model
from glass_ml.tracking.store import preload


def invert(
    target_file: Path | str,
    out: Path | str,
    *,
    model: str | None = None,
    n_structures: int | None = None,
    n_atoms: int | None = None,
    seed: int | None = None,
    processes: int | None = None,
    devices: Devices | None = None,
    track: bool = True,
    tags: Mapping[str, str] | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Make the ensemble of a target and everything that goes with it in `out`; returns the metrics.

    Sampling settings are those of `sampling_settings`; numbers that are None come from params.yaml where it knows the
    target's system, else from `InversionConfig`. Finished replicas of an interrupted inversion are kept; a finished
    inversion is not made again. Replicas are computed by `processes` on this machine's cores, or by `devices` where any
    are stated; how many does not enter the result. Under a launcher the first process writes, and the others return
    nothing. `tags` are those of its run, which is kept for `glass-ml sync` where the tracking server does not answer.

    Raises:
        InputError: anything in the target, the model or the numbers that cannot be used.
    """
    out = Path(out)
    target = load_target(target_file)
    resolved = resolve_model(model, target.system)
    card = read_card(resolved.folder)
    recipe, sizes = settings_of(target.system, card)
    sampling = recipe.settings
    n_structures = sizes.n_structures if n_structures is None else n_structures
    n_atoms = sizes.n_atoms if n_atoms is None else n_atoms
    seed = sizes.seed if seed is None else seed
    devices = devices or Devices()
    devices.trainer_options()
    if processes is not None and devices.stated:
        raise InputError("stands beside devices", "--processes", "give the one or the other")
    processes = sizes.processes if processes is None else processes
    if processes < 1:
        raise InputError(f"{processes} processes", "--processes", "give at least one")
    batches_of(n_structures, sampling)
    noise_levels(sampling.schedule)
    prior = load_prior(resolved.folder)
    references = card.get("references")
    References.read(references)  # a record that cannot be judged by is refused before anything is computed
    prior.species(torch.tensor([atomic_numbers[symbol] for symbol in atom_counts(target.composition, n_atoms)]))
    cell = random_packing(target.composition, target.density, n_atoms, [generator(seed)], rounds=0)
    build_likelihood(target, cell)  # what it refuses is refused here, once, and not by every process
    check_copies(target, out)
    _check_folder(out)

    params = {"sampling": as_mapping(sampling), "n_structures": n_structures, "n_atoms": n_atoms}
    lineage = make_lineage(
        model=resolved.folder,
        model_uri=resolved.uri,
        model_name=resolved.name,
        target=target.path,
        measurements=measurement_entries(target),
        params=params,
        seed=seed,
        device=devices.label,
        system=target.system,
    )
    identity = _identity(lineage)
    metrics = finished_metrics(out, identity)
    if metrics is None:
        if track:
            preload()
        if progress and first_process():
            print(recipe, file=sys.stderr)
        job = {
            "denoiser": prior,
            "composition": target.composition,
            "density": target.density,
            "n_atoms": n_atoms,
            "seed": seed,
            "target": target,
        }
        # Another kind of device rounds otherwise: it takes up its own replicas alone.
        scratch = out / SCRATCH / f"{identity[:16]}-{'gpu' if devices.gpu else 'cpu'}"
        if devices.stated:
            replicas = Replicas(job, n_structures, sampling, scratch)
            compute_replicas(replicas, devices, progress=progress)
            if not first_process():
                return {}
            structures = replicas.collect()
        else:
            structures = run_replicas(job, n_structures, sampling, scratch, processes=processes, progress=progress)
        metrics = write_inversion(out, identity, target, lineage, structures, prior, recipe, references)
        shutil.rmtree(out / SCRATCH)
    if not first_process():
        return {}
    if track:
        record("inversion", out, tags=dict(tags or {}))
    return metrics


def settings_of(system: str, card: Mapping[str, Any]) -> tuple[Resolved, InversionConfig]:
    """Sampling settings of a system, and the sizes that its recipe states, or the usual ones.

    Raises:
        InputError: as `sampling_settings`.
    """
    root = Path(os.path.relpath(worktree()))
    sizes = system_config(system, root / PARAMS).inversion if described(system, root) else InversionConfig()
    return sampling_settings(system, card, root=root), sizes


def _check_folder(out: Path) -> None:
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


def _identity(lineage: Lineage) -> str:
    # What fixes the result: code, model, data, settings. Where things lie, and git's view of them, do not.
    fixed = (lineage.code_sha256, lineage.model_sha256, lineage.target_sha256, lineage.params_sha256, lineage.seed)
    hashes = [entry["sha256"] for entry in json.loads(lineage.measurements)]
    return sha256_text(canonical_json([*fixed, *hashes, lineage.torch_version]))
