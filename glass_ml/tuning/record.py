"""A sweep in MLflow: one parent run, a child for every finished trial, those of the finals too; made out of the sweep's
own storage.

Recording is never needed by the sweep. It can be done at any time and again: what is there already is left as it is.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from glass_ml.errors import InputError
from glass_ml.files import atomic_path, sha256_text, write_json
from glass_ml.provenance.data import DataIdentity
from glass_ml.provenance.lineage import canonical_json
from glass_ml.tracking.experiments import NOTE
from glass_ml.tracking.mirror import mirror
from glass_ml.tracking.outbox import entry_file, forget, keep, place_of
from glass_ml.tracking.runs import KEY, PROCESS, Run, flatten, numbers, process_identity, start_run
from glass_ml.tracking.store import Store, open_store
from glass_ml.tuning.objective import items_of
from glass_ml.tuning.results import FINALS, IMPORTANCE, PARETO, RESULT, final_values, sweep_note, trial_row
from glass_ml.tuning.score import total
from glass_ml.tuning.storage import open_storage
from glass_ml.tuning.trials import STATED, finished

MANIFEST = "sweep.json"
EARLIER = "earlier"
"""Folder in that of a sweep: what the earlier sweeps there have written, one folder for each study."""
REQUIRED = ("system", "name", "study", "finals", "storage", "objectives", "trials", "settings", "base", "model")


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Write what `record_sweep` needs to know of a sweep, before its first trial: the keys of `REQUIRED`.

    `study` and `finals` are names of studies in `storage`, the latter None where there are no finals. `base` are the
    settings of a trial by dotted key, but for those that a trial changes; `model` and `data` say what the trials rest
    on. What the folder holds of another study is set aside before, where `record_sweep` finds it.
    """
    _set_aside(folder, content["study"])
    write_json(folder / MANIFEST, content)


def _set_aside(folder: Path, coming: str) -> None:
    """Copy what is recorded of the sweep in a folder, if it is not the one that comes; the folder stays as it is."""
    try:
        study = read_manifest(folder)["study"]
    except InputError:
        return
    place = place_of(folder)
    if entry_file("sweep", folder=place).exists():  # without a study it means this one
        keep("sweep", folder=place, study=study)
        forget("sweep", folder=place)
    if study == coming:
        return
    result = _read_result(folder)
    names = (RESULT, PARETO, IMPORTANCE, FINALS) if result and result["study"] == study else ()
    for name in (*names, MANIFEST):
        aside = folder / EARLIER / study / name
        if (folder / name).is_file():
            with atomic_path(aside) as temporary:
                shutil.copyfile(folder / name, temporary)
        else:
            aside.unlink(missing_ok=True)  # of an earlier end of the same sweep


def read_manifest(folder: Path) -> dict[str, Any]:
    """What `write_manifest` has written.

    Raises:
        InputError: the folder holds no sweep.
    """
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return {key: content[key] for key in (*REQUIRED, "data")}
    except FileNotFoundError:
        raise InputError(f"no sweep here: {MANIFEST} is missing", str(folder), "run 'glass-ml tune'") from None
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"not a sweep: {error}", str(folder / MANIFEST), "run 'glass-ml tune' again") from None


def record_sweep(
    folder: Path | str, *, study: str | None = None, running: bool = False, store: Store | None = None
) -> str:
    """Record a sweep, as far as it has come; what is recorded already is not recorded twice.

    Args:
        folder: what `glass-ml tune` writes.
        study: of the sweep, which may be an earlier one of the folder; default: that of the latest.
        running: whether this process is at work on it.
        store: default: the project's.

    Returns:
        The id of the parent run.

    Raises:
        InputError: the folder holds no such sweep, or its storage or the store cannot be opened.
    """
    folder = home = Path(folder)
    manifest = read_manifest(folder)
    if study and study != manifest["study"]:
        home = folder / EARLIER / study
        manifest = read_manifest(home)
    place = manifest["storage"] if "://" in manifest["storage"] else str(folder / manifest["storage"])
    storage = open_storage(place)
    try:
        trials = finished(optuna.load_study(study_name=manifest["study"], storage=storage))
    except KeyError:
        raise InputError(f"no study '{manifest['study']}'", place, "run 'glass-ml tune' again") from None
    finals: list[FrozenTrial] = []
    if manifest["finals"]:
        with suppress(KeyError):  # they have not begun
            finals = finished(optuna.load_study(study_name=manifest["finals"], storage=storage))
    # A sweep may have ended while the manifest was another's, or have had its end set aside before it began again.
    places = (home, folder, folder / EARLIER / manifest["study"]) if len(trials) >= manifest["trials"] else ()
    ends = ((place, _result(place, manifest, len(trials))) for place in places)
    home, result = next(((place, found) for place, found in ends if found), (home, None))
    store = store or open_store()
    with store.lock():
        parent = _parent(store, manifest)
        if running:
            store.client.update_run(parent.id, "RUNNING")
            parent.set_tags({PROCESS: process_identity(os.getpid())})
        there, new = _recorded(parent), []
        for name, done in ((manifest["study"], trials), (manifest["finals"], finals)):
            for trial in done:
                key = sha256_text(canonical_json([name, trial.number]))
                if key not in there:
                    new.append(_record_child(parent, manifest, trial, name, key))
        if result:
            _outcome(parent, home, result)
        if not running:
            store.client.set_terminated(parent.id, "FINISHED" if result else "KILLED")
    for run in [*new, *([] if running else [parent.id])]:
        mirror(store, run)
    return parent.id


def try_to_record(folder: Path, study: str, *, running: bool = False) -> bool:
    """Record a sweep if the store answers; whether it did. Where it does not, the sweep goes on without, and is kept
    for `glass-ml sync` until it is recorded here or there."""
    from filelock import Timeout
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        record_sweep(folder, study=study, running=running)
    except (InputError, MlflowException, SQLAlchemyError, OSError, Timeout) as error:
        keep("sweep", folder=place_of(folder), study=study)
        problem = str(error).splitlines()[0]
        print(f"not recorded in MLflow: {problem}; {folder} is kept for 'glass-ml sync'", file=sys.stderr)
        return False
    if not running:  # what comes after might be lost
        forget("sweep", folder=place_of(folder), study=study)
    return True


def _parent(store: Store, manifest: Mapping[str, Any]) -> Run:
    query = f"tags.`{KEY}` = '{manifest['study']}'"
    found = store.client.search_runs(
        [store.experiments["tuning"]], query, order_by=["attributes.start_time ASC"], max_results=1
    )
    if found:
        return Run(found[0].info.run_id, store)
    data = DataIdentity(**manifest["data"]) if manifest["data"] else None
    with start_run(
        stage="tune", system=manifest["system"], name=manifest["name"], store=store, key=manifest["study"], data=data,
        params={"tuning": manifest["settings"]}, tags={"study": manifest["study"], **flatten(manifest["model"], ".")},
        live=False,
    ) as run:  # fmt: skip
        return run


def _recorded(parent: Run) -> set[str]:
    """The keys of the trials that have a finished run."""
    client, token, keys = parent.store.client, None, set[str]()
    query = f"tags.`mlflow.parentRunId` = '{parent.id}' AND attributes.status = 'FINISHED'"
    while True:
        page = client.search_runs([parent.store.experiments["tuning"]], query, max_results=1000, page_token=token)
        keys |= {run.data.tags[KEY] for run in page if KEY in run.data.tags}
        token = page.token
        if not token:
            return keys


def _record_child(parent: Run, manifest: Mapping[str, Any], trial: FrozenTrial, study: str, key: str) -> str:
    """Record a trial, or one of the finals; returns the id of its run."""
    final = study == manifest["finals"]
    name = f"final of {trial.user_attrs[STATED]}" if final else f"trial {trial.number}"
    place = {"round": "finals" if final else "trials", "trial": name.rpartition(" ")[2]}
    row = trial_row(trial, manifest["objectives"])
    labels: dict[str, Any] = {name: row[name] for name in ("state", "default", "keeps_limits", "why") if name in row}
    prefix = "sampling." if "calls" in manifest["objectives"] else ""
    settings = {prefix + name: value for name, value in {**manifest["base"], **trial.params}.items()}
    with start_run(
        stage="tune", system=manifest["system"], name=name, store=parent.store, params=settings,
        tags={**place, **labels}, key=key, parent=parent.id, live=False,
    ) as run:  # fmt: skip
        measured = {n: v for n, v in trial.user_attrs.items() if isinstance(v, float)}
        so_far = items_of(trial.user_attrs) if trial.state == TrialState.PRUNED else []
        run.log_metrics({**measured, **(total(so_far) if so_far else {}), **row.get("values", {})})
        for step, loss in trial.intermediate_values.items():
            run.log_metrics({"val/loss": loss}, step)
    return run.id


def _result(folder: Path, manifest: Mapping[str, Any], trials: int) -> dict[str, Any] | None:
    """What the sweep has come to, with all its trials and finals; None if that is not known yet."""
    result = _read_result(folder)
    if result is None:
        return None
    held = result["finals"]["study"] if result["finals"] else manifest["finals"]
    # There may be that of an earlier sweep in the same folder, or of an earlier end of this one.
    same = (result["study"], held, len(result["trials"])) == (manifest["study"], manifest["finals"], trials)
    return result if same else None


def _read_result(folder: Path) -> dict[str, Any] | None:
    """The numbers of a sweep; None if there are none that can be read: it has to end, or end again, first."""
    try:
        content: dict[str, Any] = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        return content
    except (OSError, ValueError):
        return None


def _outcome(parent: Run, folder: Path, result: Mapping[str, Any]) -> None:
    for name in (RESULT, PARETO, IMPORTANCE, FINALS):
        if (folder / name).is_file():
            parent.log_artifact(folder / name)
    labels = {label: result[label] for label in ("default", "winner")}
    parent.set_tags({**labels, NOTE: sweep_note(result)})
    chosen: dict[str, Any] = final_values(result)
    # Those of the winner have the names that they have in its own run: sweeps and trials compare in one table.
    new = numbers({**chosen.pop("winner", {}), **chosen, "score": result.get("score")})
    known = parent.store.client.get_run(parent.id).data.metrics
    if any(known.get(name) != value for name, value in new.items()):
        parent.log_metrics({**new, "trials": len(result["trials"])})
