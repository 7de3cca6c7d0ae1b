"""Stage `invert`: from a target to an ensemble with lineage, figures, a report and a tracked run."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from ase.data import atomic_numbers

from glass_ml.analysis.references import References
from glass_ml.config import as_mapping
from glass_ml.errors import InputError
from glass_ml.execution.devices import Devices, first_process
from glass_ml.execution.processes import run_inversions
from glass_ml.execution.replicas import Replicas
from glass_ml.files import sha256_text
from glass_ml.measurements.likelihood import build_likelihood
from glass_ml.measurements.target import Target, load_target
from glass_ml.priors.checkpoint import load_prior, read_card
from glass_ml.priors.prior import Prior
from glass_ml.provenance.lineage import Lineage, canonical_json, make_lineage
from glass_ml.provenance.project import worktree
from glass_ml.sampling.run import batches_of
from glass_ml.sampling.schedules import noise_levels
from glass_ml.settings.recipe import PARAMS, InversionConfig, system_config
from glass_ml.settings.resolution import Resolved, described, sampling_settings
from glass_ml.settings.sampling import SamplingConfig
from glass_ml.stages.outputs import SCRATCH, check_copies, finished_metrics, measurement_entries, write_inversion
from glass_ml.stages.sync import record
from glass_ml.structures.packing import atom_counts, random_packing
from glass_ml.structures.random import generator
from glass_ml.tracking.registry import resolve_model
from glass_ml.tracking.runs import preload


@dataclass(frozen=True)
class Plan:
    """An inversion for which everything is found and checked: it can start.

    Attributes:
        target: what is inverted.
        prior: the denoiser.
        references: the descriptors on the prior's card, by which structures are judged; None where it has none.
        recipe: settings of the sampler, and where they come from.
        sizes: replicas, atoms of each, seed, and processes if the caller does not say how many.
        lineage: what the structures will carry.
    """

    target: Target
    prior: Prior
    references: Mapping[str, Any] | None
    recipe: Resolved
    sizes: InversionConfig
    lineage: Lineage

    @property
    def identity(self) -> str:
        """Checksum of what fixes the result: code, model, data, settings; not of where things lie or what git says."""
        made_by = self.lineage
        fixed = (made_by.code_sha256, made_by.model_sha256, made_by.target_sha256, made_by.params_sha256, made_by.seed)
        hashes = [m.sha256 for m in made_by.measurements]
        return sha256_text(canonical_json([*fixed, *hashes, made_by.torch_version]))

    def replicas(self, scratch: Path) -> Replicas:
        """The replicas, finished ones kept in `scratch`."""
        job = {
            "denoiser": self.prior,
            "composition": self.target.composition,
            "density": self.target.density,
            "n_atoms": self.sizes.n_atoms,
            "seed": self.sizes.seed,
            "target": self.target,
        }
        return Replicas(job, self.sizes.n_structures, self.recipe.settings, scratch)


def plan(
    target: Target,
    *,
    model: str | Path | None = None,
    n_structures: int | None = None,
    n_atoms: int | None = None,
    seed: int | None = None,
    settings: SamplingConfig | Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> Plan:
    """Find and check everything that an inversion needs.

    Args:
        target: what is inverted.
        model: the prior, as `resolve_model` takes it; by default that of the target's system.
        n_structures, n_atoms, seed: by default those of the project's recipe, else of `InversionConfig`.
        settings: of the sampler, all of them, or dotted keys and values that replace some; else `sampling_settings`.
        device: that will compute, for the lineage.

    Raises:
        InputError: anything in the target, the model or the numbers that cannot be used.
    """
    resolved = resolve_model(model, target.system)
    card = read_card(resolved.folder)
    system = target.system or str(card["system"])
    root = Path(os.path.relpath(worktree()))
    sizes = system_config(system, root / PARAMS).inversion if described(system, root) else InversionConfig()
    stated = {"n_structures": n_structures, "n_atoms": n_atoms, "seed": seed}
    sizes = replace(sizes, **{key: value for key, value in stated.items() if value is not None})
    recipe = sampling_settings(system, card, argument=settings, root=root)
    sampling = recipe.settings
    batches_of(sizes.n_structures, sampling)
    noise_levels(sampling.schedule)
    prior = load_prior(resolved.folder)
    References.read(card.get("references"))  # a record that cannot be judged by is refused before anything is computed
    prior.species(torch.tensor([atomic_numbers[symbol] for symbol in atom_counts(target.composition, sizes.n_atoms)]))
    cell = random_packing(target.composition, target.density, sizes.n_atoms, [generator(sizes.seed)], rounds=0)
    build_likelihood(target, cell)  # what it refuses is refused here, once, and not by every process
    lineage = make_lineage(
        model=resolved.folder,
        model_uri=resolved.uri,
        model_name=resolved.name,
        model_sha256=resolved.sha256,
        target=target.path,
        target_sha256=target.sha256,
        measurements=measurement_entries(target),
        params={"sampling": as_mapping(sampling), "n_structures": sizes.n_structures, "n_atoms": sizes.n_atoms},
        seed=sizes.seed,
        device=device,
        system=system,
    )
    return Plan(target, prior, card.get("references"), recipe, sizes, lineage)


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

    Model and numbers are those of `plan`. Finished replicas of an interrupted inversion are kept; a finished inversion
    is not made again. Replicas are computed by `processes` on this machine's cores, or by `devices` where any are
    stated; how many does not enter the result. Under a launcher the first process writes, and the others return
    nothing. `tags` are those of its run, which is kept for `glass-ml sync` where the tracking server does not answer.

    Raises:
        InputError: as `plan`; devices that are not there; a folder that cannot be written to.
    """
    out, devices = Path(out), devices or Devices()
    devices.trainer_options()
    if processes is not None and devices.stated:
        raise InputError("stands beside devices", "--processes", "give the one or the other")
    if processes is not None and processes < 1:
        raise InputError(f"{processes} processes", "--processes", "give at least one")
    made = plan(
        load_target(target_file), model=model, n_structures=n_structures, n_atoms=n_atoms, seed=seed,
        device=devices.label,
    )  # fmt: skip
    check_copies(made.target, out)
    _check_folder(out)
    metrics = finished_metrics(out, made.identity)
    if metrics is None:
        if track:
            preload()
        if progress and first_process():
            print(made.recipe, file=sys.stderr)
        # Another kind of device rounds otherwise: it takes up its own replicas alone.
        replicas = made.replicas(out / SCRATCH / f"{made.identity[:16]}-{'gpu' if devices.gpu else 'cpu'}")
        if devices.stated:
            from glass_ml.execution.lightning import compute_replicas  # here: seconds that processes need not wait

            compute_replicas(replicas, devices, progress=progress)
            if not first_process():
                return {}
        else:
            run_inversions([replicas], processes=processes or made.sizes.processes, progress=progress)
        metrics = write_inversion(
            out, made.identity, made.target, made.lineage, replicas.collect(), made.prior, made.recipe, made.references
        )
        shutil.rmtree(out / SCRATCH)
    if not first_process():
        return {}
    if track:
        record("inversion", out, tags=dict(tags or {}))
    return metrics


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
