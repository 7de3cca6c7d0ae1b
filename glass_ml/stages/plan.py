"""What an inversion needs, found and checked before anything is computed, whoever asks for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from ase.data import atomic_numbers

from glass_ml.analysis.references import References
from glass_ml.config import as_mapping
from glass_ml.errors import InputError
from glass_ml.execution.replicas import Replicas
from glass_ml.files import sha256_text
from glass_ml.measurements.likelihood import build_likelihood
from glass_ml.measurements.target import Target
from glass_ml.priors.checkpoint import load_prior, read_card
from glass_ml.priors.prior import Prior
from glass_ml.provenance.lineage import Lineage, canonical_json, make_lineage, measurement_entry
from glass_ml.provenance.models import Measured
from glass_ml.provenance.project import worktree
from glass_ml.sampling.run import batches_of
from glass_ml.sampling.sampler import noise_levels
from glass_ml.settings.recipe import PARAMS, InversionConfig, system_config
from glass_ml.settings.resolution import Resolved, described, sampling_settings
from glass_ml.settings.sampling import SamplingConfig
from glass_ml.structures.random import atom_counts, generator, random_packing
from glass_ml.tracking.registry import resolve_model


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
    for key, value in stated.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, Integral)):
            raise InputError(f"'{value}' is not a whole number", key, "give one")
    sizes = replace(sizes, **{key: int(value) for key, value in stated.items() if value is not None})
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


def measurement_entries(target: Target) -> list[Measured]:
    """What the lineage keeps of every file that a target's measurements rest on."""
    return [
        measurement_entry(m.name, m.kind, m.use, f.path, role=f.role, sha256=f.sha256)
        for m in target.measurements
        for f in m.files
    ]
