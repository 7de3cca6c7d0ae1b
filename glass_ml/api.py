"""The front door for Python: measured spectra in, an ensemble of structures out.

Arrays are numpy arrays, or anything that becomes one. Lengths are in Å, Q and k in 1/Å, energies in eV, angles in
degrees. Whatever is given and cannot be used raises `InputError`, which says what is wrong, where, and how to mend it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ase import Atoms

from glass_ml.analysis.ensemble import Anatomy, summary
from glass_ml.analysis.ensemble import describe as _describe
from glass_ml.analysis.inversion import FittedSpectrum
from glass_ml.analysis.verdict import Verdict
from glass_ml.analysis.verdict import verdict as _verdict
from glass_ml.errors import InputError
from glass_ml.execution.processes import run_inversions
from glass_ml.measurements.comparison import Comparison
from glass_ml.measurements.measurement import Measurement, make_measurement
from glass_ml.measurements.target import Target, load_target, write_target
from glass_ml.observables.kinds import Kind, kinds, make_observable
from glass_ml.priors.checkpoint import load_prior as _load_checkpoint
from glass_ml.priors.checkpoint import read_card
from glass_ml.priors.prior import Prior
from glass_ml.provenance.lineage import Lineage, read_lineage, stamp
from glass_ml.settings.sampling import SamplingConfig
from glass_ml.stages.outputs import check_copies, compare_with_target, inversion_metrics, make_folder, write_inversion
from glass_ml.stages.plan import Plan, plan
from glass_ml.structures.io import from_atoms, read_frames, to_atoms
from glass_ml.structures.state import Structures
from glass_ml.tracking.registry import resolve_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = [
    "Ensemble", "InputError", "Kind", "Lineage", "LoadedPrior", "Measurement", "Target", "describe", "exafs", "gr",
    "invert", "kinds", "lineage", "load_prior", "load_target", "measurement", "neutron_fq",
    "neutron_sq", "pdf", "spectrum", "xanes", "xray_fq", "xray_sq",
]  # fmt: skip

Frames = Atoms | Sequence[Atoms] | str | Path | Structures
"""Structures: ase Atoms, one or several; or a file that ase reads."""


def measurement(kind: str, x: Any, y: Any, *, sigma: Any, **fields: Any) -> Measurement:
    """A measurement of any kind out of arrays, for a `Target`.

    Args:
        kind: a key of `kinds()`, such as 'tr' or 'adf'.
        x: (n,), ascending, in the unit of the kind.
        y: (n,), in the convention of the kind: `kinds()[kind].formula`.
        sigma: standard deviation of y, positive, one number or (n,).
        fields: those of every measurement (`use='validate'` holds it out, `name`, `x_range`, `weight`, `scale`,
            `offset`) and the kind's own, as in TARGET.yaml.

    Raises:
        InputError: an unknown kind or field, arrays of other shapes, what is not a number, x that does not ascend.
    """
    return make_measurement(kind, x, y, sigma, **fields)


def gr(r: Any, g: Any, *, sigma: Any, **fields: Any) -> Measurement:
    """A measured pair distribution function g(r), 1 at large r; arguments as `measurement`, r in Å."""
    return measurement("gr", r, g, sigma=sigma, **fields)


def pdf(r: Any, g: Any, *, sigma: Any, **fields: Any) -> Measurement:
    """A measured G(r) = 4 pi rho r (g - 1), 1/Å^2; arguments as `measurement`, r in Å."""
    return measurement("pdf", r, g, sigma=sigma, **fields)


def xray_sq(q: Any, s: Any, *, sigma: Any, **fields: Any) -> Measurement:
    """A measured X-ray S(Q), 1 at large Q (Faber-Ziman, <f>^2); arguments as `measurement`, Q in 1/Å."""
    return measurement("xray-sq", q, s, sigma=sigma, **fields)


def xray_fq(q: Any, f: Any, *, sigma: Any, **fields: Any) -> Measurement:
    """A measured X-ray F(Q) = Q (S - 1), 1/Å; arguments as `measurement`, Q in 1/Å."""
    return measurement("xray-fq", q, f, sigma=sigma, **fields)


def neutron_sq(q: Any, s: Any, *, sigma: Any, **fields: Any) -> Measurement:
    """A measured neutron S(Q), 1 at large Q (Faber-Ziman, <b>^2); arguments as `measurement`, Q in 1/Å."""
    return measurement("neutron-sq", q, s, sigma=sigma, **fields)


def neutron_fq(q: Any, f: Any, *, sigma: Any, **fields: Any) -> Measurement:
    """A measured neutron F(Q), barn/sr/atom (Keen 2001); arguments as `measurement`, Q in 1/Å."""
    return measurement("neutron-fq", q, f, sigma=sigma, **fields)


def exafs(k: Any, chi: Any, *, sigma: Any, edge: str, **fields: Any) -> Measurement:
    """A measured EXAFS k^w chi(k); `edge` such as 'Si K', `k_weight` is w; other arguments as `measurement`."""
    return measurement("exafs", k, chi, sigma=sigma, edge=edge, **fields)


def xanes(energy: Any, mu: Any, *, sigma: Any, surrogate: str | Path, **fields: Any) -> Measurement:
    """A measured XANES; `surrogate` is the folder of the model that predicts it; other arguments as `measurement`."""
    return measurement("xanes", energy, mu, sigma=sigma, surrogate=str(surrogate), **fields)


@dataclass(frozen=True)
class LoadedPrior:
    """A prior and what is known of it.

    Attributes:
        denoiser: the network, as the samplers take it.
        card: what it was trained on, held-out losses, the sampling settings that it was tuned with, reference
            descriptors of its material.
        folder: where its files are.
        uri: how its structures name it.
    """

    denoiser: Prior = field(repr=False)
    card: Mapping[str, Any] = field(repr=False)
    folder: Path
    uri: str

    @property
    def system(self) -> str:
        """The material that it has learned."""
        return str(self.card["system"])


def load_prior(prior: str | Path) -> LoadedPrior:
    """A prior by the name of its system, by its folder, or by a registry's URI.

    Args:
        prior: 'a-Si', which is looked for in `models/` of the project around the current folder; a folder, anywhere; or
            a version in the project's registry, `models:/glass-a-Si@production` or `models:/glass-a-Si/3`.

    Raises:
        InputError: there is none, or its files are damaged.
    """
    found = resolve_model(prior)
    return LoadedPrior(_load_checkpoint(found.folder), read_card(found.folder), found.folder, found.uri)


def invert(
    target: Target,
    prior: LoadedPrior | str | Path | None = None,
    *,
    n: int | None = None,
    atoms: int | None = None,
    seed: int | None = None,
    settings: SamplingConfig | Mapping[str, Any] | None = None,
    processes: int = 1,
    scratch: str | Path | None = None,
    progress: bool = True,
) -> Ensemble:
    """Structures that explain a target and look like the material that the prior has learned.

    The same seed gives the same structures, whatever computes them. Nothing is written or recorded: `Ensemble.save`
    writes what `glass-ml invert` does.

    Args:
        target: what was measured, of which material.
        prior: a loaded one; a system's name, a folder or a registry's URI, as `load_prior` takes them; by default that
            of the target's `system`.
        n: replicas; `atoms` of each; `seed` of all random choices. By default as the project's recipe of the material
            says, else 4, 216 and 0.
        settings: of the sampler: all of them, or dotted keys with new values, such as {"schedule.steps": 200}. By
            default those that a sweep has chosen, the project's recipe, or the recipe on the prior's card.
        processes: replicas side by side. One is this process; more start others, and a script then needs the usual
            `if __name__ == "__main__":`.
        scratch: folder in which finished replicas are kept: the same call goes on there after an interruption.
        progress: show a bar.

    Raises:
        InputError: anything that cannot be used, before anything is computed.
    """
    if not isinstance(target, Target):
        raise InputError(f"'{target}' is no target", "target", "make one by Target(...) or load_target(path)")
    if type(processes) is not int or processes < 1:
        raise InputError(f"'{processes}' processes", "processes", "give a whole number from 1")
    model = prior.folder if isinstance(prior, LoadedPrior) else prior
    if model is None and not target.system:
        raise InputError("neither a prior nor the target's system is named", "prior", "give prior='a-Si', say")
    with TemporaryDirectory() as folder:
        made = plan(_in_files(target, folder), model=model, n_structures=n, n_atoms=atoms, seed=seed, settings=settings)
        if not target.as_read:  # the files were for their checksums
            bare = tuple(
                replace(m, file=Path(m.file).name) if m.file.startswith(folder) else m
                for m in made.lineage.measurements
            )
            made = replace(made, target=target, lineage=replace(made.lineage, measurements=bare))
        replicas = made.replicas(Path(scratch or folder) / f"replicas-{made.identity[:16]}")
        (structures,) = run_inversions([replicas], processes=processes, progress=progress)
    return Ensemble(structures, made)


def _in_files(target: Target, folder: str | Path) -> Target:
    """The target itself where it stands in a file, else as it was written to a folder."""
    return target if target.as_read else load_target(write_target(target, folder))


@dataclass(frozen=True)
class Ensemble:
    """The structures of an inversion.

    Attributes:
        structures: the replicas, one system each.
        plan: the target, the prior, the settings and the lineage.
    """

    structures: Structures
    plan: Plan

    def __len__(self) -> int:
        return self.structures.n_systems

    def __repr__(self) -> str:
        sizes = self.plan.sizes
        return f"Ensemble({len(self)} x {sizes.n_atoms} atoms of {self.lineage.system}, seed {sizes.seed})"

    @property
    def lineage(self) -> Lineage:
        """What made the structures: prior, data, measurements, settings, seed, code."""
        return self.plan.lineage

    @cached_property
    def anatomy(self) -> Anatomy:
        """Pairs, bonds, angles and rings, found once."""
        return Anatomy.of(self.structures)

    def compare(self) -> Comparison:
        """Every measurement of the target beside the structures; its `table()` has R and chi-square."""
        return compare_with_target(self.plan.target, self.structures, self.plan.recipe.settings)

    def describe(self) -> DataFrame:
        """Descriptors (coordination, angles, rings, order): a row each, mean and standard deviation over replicas."""
        return describe(self.anatomy)

    def verdict(self) -> Verdict:
        """The answer in words: do the structures fit, are they realistic, how sure are we; `text()` prints it."""
        return _verdict(inversion_metrics(self.plan, self.anatomy, self.compare()))

    def plot(self) -> Figure:
        """A figure of all measurements: data, mean fit with its spread, residual with the stated uncertainty."""
        from glass_ml.analysis.figures import spectra_figure

        return spectra_figure([FittedSpectrum.of(fit) for fit in self.compare().measurements])

    def to_ase(self) -> list[Atoms]:
        """The structures as ase Atoms, each with its lineage in `info`."""
        return stamp(to_atoms(self.structures), self.lineage)

    def save(self, folder: str | Path) -> Path:
        """Write what `glass-ml invert` writes: structures with lineage, spectra, metrics, target and data, report.

        Returns the folder. `glass-ml report`, `evaluate` and `trace` take it.

        Raises:
            InputError: the folder cannot be written to, or holds other files of these names.
        """
        out = Path(folder)
        with TemporaryDirectory() as temporary:
            target = _in_files(self.plan.target, temporary)
            check_copies(target, out)
            make_folder(out)
            write_inversion(out, replace(self.plan, target=target), self.structures)
        return out


def spectrum(structures: Frames, kind: str, x: Any, **fields: Any) -> np.ndarray:
    """A forward model: the spectrum of every structure, (S, n).

    Args:
        structures: ase Atoms, one or several, in periodic cells; or a file that ase reads.
        kind: a key of `kinds()`.
        x: (n,), ascending, in the unit of the kind.
        fields: the kind's own, such as `edge`, `triplet` or `broadening`; no window and no instrument unless stated.

    Raises:
        InputError: what is no periodic structure, an unknown kind or field, a field that is needed and not given.
    """
    cells = _structures(structures)
    try:
        grid = torch.tensor(np.asarray(x, dtype=np.float64))
    except (TypeError, ValueError):
        raise InputError("not an array of numbers", "x", "give the points at which the spectrum is wanted") from None
    if grid.ndim != 1 or not len(grid) or not bool(grid.isfinite().all()) or bool((grid.diff() <= 0).any()):
        raise InputError("not a row of ascending numbers", "x", "give the points at which the spectrum is wanted")
    found = []
    for system in cells.split():  # each in its own cell, whatever stands beside it
        observable = make_observable(kind, grid, system, **fields)
        if (missing := len(grid) - len(observable.grid)) > 0:
            raise InputError(f"{missing} points have no reciprocal vector", "x", "leave them out")
        with torch.no_grad():
            found.append(observable.forward(system))
    return torch.cat(found).numpy()


def describe(structures: Frames | Anatomy, cutoffs: Mapping[str, float] | None = None) -> DataFrame:
    """Descriptors of structures: a row each (coordination, bond lengths, angles, rings, order), mean and spread.

    Args:
        structures: ase Atoms, one or several, in periodic cells; or a file that ase reads.
        cutoffs: longest bonds (Å) by pair, such as {"Si-O": 2.2}; by default where the first shell of g(r) ends.

    Raises:
        InputError: what is no periodic structure; a cutoff of a pair that the structures lack.
    """
    import pandas as pd

    taken = structures if isinstance(structures, Anatomy) else _structures(structures)
    table = pd.DataFrame.from_dict(summary(_describe(taken, cutoffs)), orient="index")
    return table.rename_axis("descriptor").rename(columns={"std": "spread"})


def lineage(atoms: Atoms) -> Lineage:
    """What made a structure, as it says itself.

    Raises:
        InputError: it carries no lineage, or a damaged one.
    """
    return read_lineage(atoms)


def _structures(given: Frames) -> Structures:
    if isinstance(given, Structures):
        return given
    if isinstance(given, str | Path):
        return from_atoms(read_frames(given))
    return from_atoms([given] if isinstance(given, Atoms) else list(given))
