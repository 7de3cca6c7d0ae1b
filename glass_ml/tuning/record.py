"""A sweep in MLflow: one parent run, a child for every finished trial; made out of the sweep's own storage.

Recording is never needed by the sweep. It can be done at any time and again: what is there already is left as it is.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import optuna
from optuna.trial import FrozenTrial, TrialState

from glass_ml.errors import InputError
from glass_ml.files import sha256_text, write_json
from glass_ml.tracking.data import DataIdentity
from glass_ml.tracking.lineage import canonical_json
from glass_ml.tracking.outbox import keep, place_of
from glass_ml.tracking.runs import KEY, PROCESS, Run, flatten, process_identity, start_run
from glass_ml.tracking.store import Store, open_store, tracking_uri
from glass_ml.tuning.objective import items_of
from glass_ml.tuning.results import IMPORTANCE, PARETO, RESULT, trial_row
from glass_ml.tuning.score import total
from glass_ml.tuning.storage import open_storage
from glass_ml.tuning.trials import finished

MANIFEST = "sweep.json"
REQUIRED = ("system", "name", "study", "storage", "objectives", "trials", "settings", "base", "model")


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Write what `record_sweep` needs to know of a sweep, before its first trial: the keys of `REQUIRED`.

    `base` are the settings of a trial by dotted key, but for those that a trial changes; `model` and `data` say what
    the trials rest on.
    """
    write_json(folder / MANIFEST, content)


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


def record_sweep(folder: Path | str, *, running: bool = False, store: Store | None = None) -> str:
    """Record a sweep, as far as it has come; what is recorded already is not recorded twice.

    Args:
        folder: what `glass-ml tune` writes.
        running: whether this process is at work on it.
        store: default: the project's.

    Returns:
        The id of the parent run.

    Raises:
        InputError: the folder holds no sweep, or its storage or the store cannot be opened.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    place = manifest["storage"] if "://" in manifest["storage"] else str(folder / manifest["storage"])
    try:
        study = optuna.load_study(study_name=manifest["study"], storage=open_storage(place))
    except KeyError:
        raise InputError(f"no study '{manifest['study']}'", place, "run 'glass-ml tune' again") from None
    trials = finished(study)
    store = store or open_store()
    with store.lock():
        parent = _parent(store, manifest)
        if running:
            store.client.update_run(parent.id, "RUNNING")
            parent.set_tags({PROCESS: process_identity(os.getpid())})
        there = _recorded(parent)
        for trial in trials:
            key = sha256_text(canonical_json([manifest["study"], trial.number]))
            if key not in there:
                _record_child(parent, manifest, trial, key)
        whole = len(trials) >= manifest["trials"]
        if whole:
            _outcome(parent, folder, manifest["study"])
        if not running:
            store.client.set_terminated(parent.id, "FINISHED" if whole else "KILLED")
    return parent.id


def try_to_record(folder: Path, *, running: bool = False) -> bool:
    """Record a sweep if the store answers; whether it did. Where it does not, the sweep goes on without."""
    from filelock import Timeout
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        if _answers(tracking_uri()):
            record_sweep(folder, running=running)
            return True
        problem = f"no answer from {tracking_uri()}"
    except (InputError, MlflowException, SQLAlchemyError, OSError, Timeout) as error:
        problem = str(error).splitlines()[0]
    keep("sweep", folder=place_of(folder))
    print(f"not recorded in MLflow: {problem}; {folder} is kept for 'glass-ml sync'", file=sys.stderr)
    return False


def _answers(uri: str) -> bool:
    """Whether a server takes connections; MLflow itself would try for minutes. Other stores do."""
    parts = urlsplit(uri)
    if not parts.scheme.startswith("http"):
        return True
    try:
        with socket.create_connection(
            (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)), 5
        ):
            return True
    except OSError:
        return False


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


def _record_child(parent: Run, manifest: Mapping[str, Any], trial: FrozenTrial, key: str) -> None:
    row = trial_row(trial, manifest["objectives"])
    labels: dict[str, Any] = {name: row[name] for name in ("state", "default", "keeps_limits", "why") if name in row}
    prefix = "sampling." if "calls" in manifest["objectives"] else ""
    settings = {prefix + name: value for name, value in {**manifest["base"], **trial.params}.items()}
    with start_run(
        stage="tune", system=manifest["system"], name=f"trial {trial.number}", store=parent.store, params=settings,
        tags={"trial": trial.number, **labels}, key=key, parent=parent.id,
    ) as run:  # fmt: skip
        measured = {n: v for n, v in trial.user_attrs.items() if isinstance(v, float)}
        so_far = items_of(trial.user_attrs) if trial.state == TrialState.PRUNED else []
        run.log_metrics({**measured, **(total(so_far) if so_far else {}), **row.get("values", {})})
        for step, loss in trial.intermediate_values.items():
            run.log_metrics({"val/loss": loss}, step)


def _outcome(parent: Run, folder: Path, study: str) -> None:
    if not (folder / RESULT).is_file():
        return
    result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    if result["study"] != study:  # that of an earlier sweep in the same folder
        return
    for name in (RESULT, PARETO, IMPORTANCE):
        if (folder / name).is_file():
            parent.log_artifact(folder / name)
    rows = {row["number"]: row for row in result["trials"]}
    parent.set_tags({label: result[label] for label in ("default", "winner")})
    chosen = {label: rows[result[label]]["values"] for label in ("default", "winner") if result[label] in rows}
    known = parent.store.client.get_run(parent.id).data.metrics
    new = {k: v for k, v in flatten({**chosen, "score": result.get("score")}, "/").items() if v is not None}
    if any(known.get(name) != value for name, value in new.items()):
        parent.log_metrics({**chosen, "score": result.get("score"), "trials": len(rows)})
