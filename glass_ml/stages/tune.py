"""Stage `tune`: a sweep of sampling settings on reference structures, or of training settings; resumable."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from optuna.pruners import MedianPruner

from glass_ml.config import as_mapping
from glass_ml.errors import InputError, without_passwords
from glass_ml.files import sha256_file, sha256_text
from glass_ml.measurements.target import Target, load_target
from glass_ml.priors.dataset import StructureFile
from glass_ml.provenance.data import data_identity
from glass_ml.provenance.lineage import canonical_json
from glass_ml.provenance.project import PACKAGE, code_sha256
from glass_ml.sampling.sampler import noise_levels
from glass_ml.settings.overrides import dotted, value_of, with_settings
from glass_ml.settings.recipe import MATERIALS, StudyConfig, SystemConfig, system_config
from glass_ml.settings.tuning import Finals, TuningConfig, TuningTarget
from glass_ml.stages import run_stage
from glass_ml.stages.prepare import prepare
from glass_ml.stages.probes import reference_structures
from glass_ml.stages.study import Probe, make_probes
from glass_ml.tracking.mirror import mirror_mode
from glass_ml.tracking.registry import resolve_model
from glass_ml.tuning.finals import FinalRound, require_winnable
from glass_ml.tuning.objective import OBJECTIVES, SamplingObjective
from glass_ml.tuning.prior import PRIOR_OBJECTIVES, PriorObjective, PriorSettings
from glass_ml.tuning.record import try_to_record, write_manifest
from glass_ml.tuning.results import write_results
from glass_ml.tuning.score import Item
from glass_ml.tuning.space import read_space
from glass_ml.tuning.trials import DEFAULT, finished
from glass_ml.tuning.workers import Sweep, run_sweep

FOLDER = Path("sweeps")
TRAINED = Path("trained")
"""Priors as training left them: the winner of a sweep goes to the card of `models`, and must not make another sweep."""
JOURNAL = "journal.log"
SAMPLING_ROOMS = (
    "structures", "observables", "measurements", "sampling", "priors", "analysis", "tuning",
    "stages/probes.py", "stages/study.py",
)  # fmt: skip
"""Where code lies that decides what a trial of sampling settings comes to; another version of it is another sweep."""
PRIOR_ROOMS = ("structures", "priors", "tuning")
EXACT = 1e-6
"""Noise of the spectra that trials are judged by: none, but a sigma has to be stated."""


@dataclass(frozen=True)
class Plan:
    """A sweep and its finals, what is written down of it, where its winner goes, and how many processes it has."""

    sweep: Sweep
    finals: FinalRound | None
    manifest: dict[str, Any]
    winner: Path
    workers: int


def tune(
    system: str,
    *,
    trials: int | None = None,
    workers: int | None = None,
    storage: str | None = None,
    prior: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Do a sweep and its finals, or finish them, and write the winner; returns the result.

    `sweeps/SYSTEM` (with `prior`, `sweeps/SYSTEM-prior`) receives the trials, result.json and the figures; MLflow a run
    with a child for each trial, now or, where it does not answer, when this is called again.

    Args:
        system: its file in materials/ declares the sweep, in the section `tuning`.
        trials: in all (default: as that section says).
        workers: processes (default: as that section says).
        storage: database URL, grpc://host:port or journal file (default: a journal in the folder).
        prior: tune the training instead.
        progress: show a bar.

    Raises:
        InputError: no such system, prior or reference, a space that cannot be, or no wandb although it is asked for.
    """
    mirror_mode()
    plan = (_prior_plan if prior else _sampling_plan)(system, trials, workers, storage)
    sweep = plan.sweep
    for name, number in (("--trials", sweep.trials), ("--workers", plan.workers)):
        if number < 1:
            raise InputError(f"{number}", name, "give at least one")
    write_manifest(sweep.folder, plan.manifest)
    unheard: list[bool] = []  # MLflow has not answered: it is asked again only at the end

    def heard() -> None:
        if not unheard and not try_to_record(sweep.folder, sweep.name, running=True):
            unheard.append(True)

    study = run_sweep(sweep, plan.workers, progress=progress, heard=heard)
    finals = None
    if plan.finals:
        finals = plan.finals.hold(finished(study), plan.workers, progress=progress, heard=heard)
    command = f"tune {system}{' --prior' if prior else ''}"
    result = write_results(study, sweep.objectives, finals, sweep.folder, plan.winner, system, command)
    try_to_record(sweep.folder, sweep.name)
    return result


def _sampling_plan(system: str, trials: int | None, workers: int | None, storage: str | None) -> Plan:
    config = system_config(system, tuned=False)
    tuning, where = _tuning(config, system)
    require_winnable(tuning, f"{where}.finals")
    base = _fixed(config.sampling, tuning.fixed, tuning.space, where)
    space = read_space(base, tuning.space, f"{where}.space", lambda c: noise_levels(c.schedule))
    model = resolve_model(TRAINED / system)
    folder = FOLDER / system
    items = make_items(system, config.study, tuning.targets, tuning.seeds, folder / "targets", f"{where}.targets")
    identity = model.sha256
    fixed = as_mapping(replace(tuning, winner="", trials=0, workers=0, prior=None, finals=Finals()))
    data = [_references(system, tuning.targets), _tables(items)]
    content = [identity, data, fixed, as_mapping(base), as_mapping(config.study)]
    name = _name(system, SAMPLING_ROOMS, content)
    objective = SamplingObjective(
        items, base, model.folder, tuning.n_structures, tuning.n_atoms, tuning.limits, tuning.pruning
    )
    sweep = Sweep(
        name,
        _place(storage, folder),
        folder,
        space,
        {DEFAULT: {key: value_of(base, key) for key in space}},
        objective,
        OBJECTIVES,
        tuning.trials if trials is None else trials,
        tuning.seed,
        tuning.startup,
    )
    finals = _finals(system, config.study, tuning, sweep, objective, f"{where}.finals")
    for judged in (objective, finals.sweep.objective):
        cast(SamplingObjective, judged).check(where)
    manifest = {
        **_manifest(sweep, system, f"tune {system}", storage),
        "finals": finals.sweep.name,
        "settings": as_mapping(replace(tuning, prior=None)),
        "base": dotted(as_mapping(base)),
        "model": {"model_uri": model.uri, "model_sha256": identity},
    }
    return Plan(sweep, finals, manifest, Path(tuning.winner), tuning.workers if workers is None else workers)


def _finals(
    system: str, study: StudyConfig, tuning: TuningConfig, sweep: Sweep, objective: SamplingObjective, where: str
) -> FinalRound:
    """The finals of a sweep of sampling settings: another study in the same storage, whose trials are all stated."""
    rules = tuning.finals
    targets = rules.targets or tuning.targets
    items = make_items(system, study, targets, rules.seeds, sweep.folder / "finals", f"{where}.targets")
    data = [_references(system, targets), _tables(items)]
    content = [sweep.name, data, as_mapping(replace(rules, candidates=1, p=0.0))]
    name = f"{sweep.name}-finals-{sha256_text(canonical_json(content))[:8]}"
    return FinalRound(replace(sweep, name=name, objective=replace(objective, items=items)), rules)


def _references(system: str, targets: dict[str, TuningTarget]) -> dict[str, str]:
    """Structure file -> checksum."""
    return {t.reference: sha256_file(Path("data") / system / t.reference) for t in targets.values()}


def _tables(items: Sequence[Item]) -> dict[str, str]:
    """Scattering table -> checksum, of those in use: a project may have its own in the place of the package's."""
    measurements = (m for item in items for m in (*item.target.measurements, *item.judge.measurements))
    tables = {(f.path, f.sha256) for m in measurements for f in m.files if f.role == "scattering table"}
    return {Path(path).name: sha256 for path, sha256 in sorted(tables)}


def _prior_plan(system: str, trials: int | None, workers: int | None, storage: str | None) -> Plan:
    config = system_config(system, tuned=False)
    tuning, where = _tuning(config, system)
    if tuning.prior is None:
        raise InputError("no space of training settings", f"{where}.prior", "declare one: docs/sweeps.md")
    chosen, where = tuning.prior, f"{where}.prior"
    base = _fixed(PriorSettings(config.network, config.noise, config.training), chosen.fixed, chosen.space, where)
    space = read_space(base, chosen.space, f"{where}.space", lambda c: None)
    data = prepare(system)
    folder = FOLDER / f"{system}-prior"
    fixed = as_mapping(replace(chosen, winner="", trials=0, workers=0))
    name = _name(f"{system}-prior", PRIOR_ROOMS, [StructureFile(data).meta, fixed, as_mapping(base)])
    sweep = Sweep(
        name,
        _place(storage, folder),
        folder,
        space,
        {DEFAULT: {key: value_of(base, key) for key in space}},
        PriorObjective(system, data, base, folder),
        PRIOR_OBJECTIVES,
        chosen.trials if trials is None else trials,
        chosen.seed,
        chosen.startup,
        MedianPruner(n_startup_trials=chosen.startup, n_warmup_steps=chosen.warmup),
    )
    manifest = {
        **_manifest(sweep, system, f"tune {system} prior", storage),
        "finals": None,
        "settings": as_mapping(chosen),
        "base": dotted(as_mapping(base)),
        "model": {},
    }
    return Plan(sweep, None, manifest, Path(chosen.winner), chosen.workers if workers is None else workers)


def make_items(
    system: str,
    study: StudyConfig,
    targets: dict[str, TuningTarget],
    seeds: Sequence[int],
    folder: Path,
    where: str,
) -> tuple[Item, ...]:
    """Every target with every seed, seed by seed; their simulated spectra are written to `folder`.

    Raises:
        InputError: a reference that is not there, or a probe that the study does not have.
    """
    if not targets or not seeds:
        raise InputError("nothing to invert", where, "declare at least one target, and one seed")
    parts = []
    for number, (name, target) in enumerate(targets.items()):
        reference = reference_structures(Path("data") / system / target.reference, target.quenches)
        place = folder / f"{number}"
        probes, file = make_probes(system, study, reference, place)
        _, exact = make_probes(system, replace(study, noise=EXACT), reference, place / "exact")
        if set(target.fit) & set(target.validate):
            raise InputError("a probe is fitted and held out", f"{where}.{name}", "name it once")
        fit = _of_probes(load_target(file), probes, target.fit, "fit", f"{where}.{name}.fit")
        judge = _of_probes(load_target(exact), probes, target.validate, "validate", f"{where}.{name}.validate")
        parts.append((name, fit, judge, reference.structures))
    return tuple(Item(name, seed, fit, judge, reference) for seed in seeds for name, fit, judge, reference in parts)


def _of_probes(target: Target, probes: Sequence[Probe], names: Sequence[str], use: str, where: str) -> Target:
    known = {probe.name: probe.measurements for probe in probes}
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"no probe '{unknown[0]}'", where, f"those of `study`: {', '.join(known)}")
    if not names:
        raise InputError("no probe", where, f"name some of {', '.join(known)}")
    chosen = {m for name in names for m in known[name]}
    return replace(target, measurements=tuple(replace(m, use=use) for m in target.measurements if m.name in chosen))


def _tuning(config: SystemConfig, system: str) -> tuple[TuningConfig, str]:
    where = f"{MATERIALS}/{system}.yaml: tuning"
    if config.tuning is None:
        raise InputError("no search space", where, "declare one: docs/sweeps.md")
    return config.tuning, where


def _fixed(config: Any, fixed: dict[str, Any], space: dict[str, Any], where: str) -> Any:
    if both := sorted(fixed.keys() & space.keys()):
        raise InputError(f"'{both[0]}' is in the space too", f"{where}.fixed", "leave it out of one of them")
    return with_settings(config, fixed, f"{where}.fixed")


def _name(system: str, rooms: Sequence[str], content: list[Any]) -> str:
    places = [PACKAGE / room for room in rooms]
    code = [code_sha256(place) if place.is_dir() else sha256_file(place) for place in places]
    return f"{system}-{sha256_text(canonical_json([code, content]))[:12]}"


def _place(storage: str | None, folder: Path) -> str:
    return str(folder / JOURNAL) if storage is None else storage


def _manifest(sweep: Sweep, system: str, name: str, storage: str | None) -> dict[str, Any]:
    stated = None if storage is None else storage if "://" in storage else str(Path(storage).resolve())
    identity = data_identity(f"data/{system}")
    return {
        "system": system,
        "name": name,
        "study": sweep.name,
        "storage": JOURNAL if stated is None else without_passwords(stated),
        "objectives": list(sweep.objectives),
        "trials": sweep.trials,
        "data": {"path": identity.path, "md5": identity.md5},
    }


if __name__ == "__main__":
    run_stage(lambda system: tune(system, progress=sys.stderr.isatty()))
