"""Where MLflow lives, how it is opened (once, safely, without a word to the network), and the experiments in it.

The store is `mlruns/mlflow.db` (SQLite) with its files in `mlruns/artifacts`, both in the project's root;
`MLFLOW_TRACKING_URI` names another one. MLflow is imported only here and below, when a store is opened.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

from filelock import FileLock

from glass_ml.errors import InputError
from glass_ml.provenance.project import project_root
from glass_ml.tracking.mutex import hold
from glass_ml.tracking.reach import VARIABLE, database, knock, reached

if TYPE_CHECKING:
    from mlflow import MlflowClient

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A server that is down is said after seconds; MLflow by itself would try for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT": "300",
}
LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Columns in which MLflow keeps absolute paths."""
NOTE = "mlflow.note.content"
"""Tag whose Markdown the page of a run or an experiment opens with."""

VIEW = "headline-2"
"""Key of the view that each experiment comes with: its runs, the headline metrics as columns."""

VIEW_NAME = "Headline numbers"
WORKFLOW = "workflowType=machine_learning"
"""What an address of the page needs for the menu to be that of trainings and models, and not of chat programs."""


@dataclass(frozen=True)
class Experiment:
    """What an experiment holds.

    Attributes:
        runs: what its runs are, Markdown.
        metrics: those that compare its runs, most telling first.
        tags: those that a person finds a run by.
    """

    runs: str
    metrics: tuple[str, ...]
    tags: tuple[str, ...]

    def labels(self) -> dict[str, str]:
        """The tags of the experiment: description and view."""
        names = {f"tags.`{name}`": name for name in self.tags} | {f"metrics.`{name}`": name for name in self.metrics}
        columns, widths = list(names), {column: max(110, 30 + 8 * len(name)) for column, name in names.items()}
        state = {"selectedColumns": columns, "columnOrder": columns, "columnWidths": widths}
        view = {"name": VIEW_NAME, "createdAt": 0, "state": json.dumps(state)}
        shown = ", ".join(f"`{name}`" for name in self.metrics)
        note = f"{self.runs} Compare by {shown}: the columns of *Views*, *{VIEW_NAME}*."
        return {NOTE: note, f"mlflow.sharedViewState.{VIEW}": json.dumps(view)}


EXPERIMENTS = {
    "priors": Experiment(
        "Trainings of priors and surrogates, and models that were registered without one.",
        ("loss.mean", "loss.0.12", "loss.0.25", "loss.0.40", "parameters", "steps"),
        ("system", "model_version"),
    ),
    "inversions": Experiment(
        "Ensembles of structures, each with its report. Runs below a run: of a cross-validation.",
        (
            "fit.r",
            "held_out.r",
            "realism.worst",
            "realism.coordination",
            "realism.angle_width",
            "gr.rmse",
            "angle.rmse",
            "diversity",
            "copied",
            "network_calls",
        ),
        ("system", "model_version"),
    ),
    "tuning": Experiment(
        "Sweeps, with the numbers of their winner, and below each its trials. Small numbers are better.",
        ("held_out", "realism", "calls", "score", "held_out_loss"),
        ("system", "winner", "state"),
    ),
    "studies": Experiment(
        "Which measurements know most of a structure: a study, and below it the choices of measurements.",
        ("gr.rmse", "angle.rmse", "coordination.emd", "rings.emd"),
        ("system", "fitted"),
    ),
}
"""Name -> what it holds; the order is that of the store."""


@dataclass(frozen=True)
class Store:
    """An open store.

    Attributes:
        uri: tracking and registry URI, for MLflow's own functions and Lightning's logger.
        root: the project's root.
        folder: where locks live, and the artifacts of a store without a server.
        client: MLflow's client of this URI.
        experiments: name -> experiment id, for each of `EXPERIMENTS`.
    """

    uri: str
    root: Path
    folder: Path
    client: MlflowClient
    experiments: dict[str, str]

    @contextmanager
    def lock(self, name: str = "registry") -> Iterator[None]:
        """Hold a lock between all processes that write into this store (re-entrant in a thread).

        Those of this project's folder are kept apart by a file; where the store is not a local file, those of other
        folders and machines by `mutex.hold`, which says how far that holds.

        Raises:
            StoreUnreachable: the server does not answer, when the lock is asked for or while it is held.
        """
        lock = _lock(self.folder, name)
        with lock:
            if database(self.uri) or lock.lock_counter > 1:
                yield
            else:
                with reached(self.uri), hold(self.client, name):
                    yield

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make this the store of MLflow's own functions inside the block: some of them know no other way."""
        import mlflow

        before = os.environ.get(VARIABLE)
        mlflow.set_tracking_uri(self.uri)
        try:
            yield
        finally:
            mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # goes back to the environment
            os.environ.pop(VARIABLE, None)  # which it leaves alone where a block in this one has gone back already
            if before is not None:
                os.environ[VARIABLE] = before


def tracking_uri(root: Path | str | None = None) -> str:
    """The URI of the store: `$MLFLOW_TRACKING_URI` if set, else the project's database.

    User and password of a server's URI go where MLflow looks for them otherwise, so that nobody writes or shows them.

    Raises:
        InputError: the variable names a folder, which MLflow no longer takes.
    """
    named = os.environ.get(VARIABLE)
    if named and urlsplit(named).scheme in ("", "file"):
        raise InputError(f"'{named}' is a folder", VARIABLE, "give a database or server, such as sqlite:///mlflow.db")
    if named:
        return _without_credentials(named)
    return f"sqlite:///{Path(root or project_root()).resolve() / 'mlruns' / 'mlflow.db'}"


def _without_credentials(uri: str) -> str:
    parts = urlsplit(uri)
    if not parts.scheme.startswith("http") or parts.username is None:
        return uri
    os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
    os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password or "")
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def store_exists(root: Path | str | None = None) -> bool:
    """Whether there is a store to look into (a server is taken to be there)."""
    file = database(tracking_uri(root))
    return file is None or file.is_file()


def silence() -> None:
    """Keep MLflow from talking, to the network or to the terminal, and from waiting; call it before importing it."""
    for key, value in QUIET.items():
        os.environ.setdefault(key, value)
    if "mlflow" in sys.modules:
        logging.getLogger("mlflow").setLevel(os.environ["MLFLOW_LOGGING_LEVEL"])


def open_store(root: Path | str | None = None) -> Store:
    """Open the store, making database and experiments where they do not exist.

    Any number of processes may do so at once. A database that has moved with its project is made to point to the
    artifacts where they are now, as MLflow keeps their absolute paths.

    Args:
        root: the project (default: `project_root()`).

    Raises:
        StoreUnreachable: it is a server, and does not answer.
        InputError: the store cannot be opened.
    """
    uri = tracking_uri(root)
    root = Path(root or project_root()).resolve()
    file = database(uri)
    folder = file.parent if file else root / "mlruns"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write here: {error.strerror}", str(folder), "check its permissions") from None
    silence()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with _lock(folder, "store"), reached(uri):
            knock(uri)
            if file and not file.is_file():
                _create(file)
            elif file:
                _relocate(file, folder / "artifacts")
            client = MlflowClient(uri, uri)
            experiments = {name: _experiment(client, name, _location(uri, folder, name)) for name in EXPERIMENTS}
    except (MlflowException, SQLAlchemyError, sqlite3.Error) as error:
        cause = str(getattr(error, "orig", None) or error).splitlines()[0]
        mend = "'glass-ml doctor' says more"
        raise InputError(f"the MLflow store cannot be opened: {cause}", uri, mend) from None
    return Store(uri, root, folder, client, experiments)


def _lock(folder: Path, name: str) -> FileLock:
    return FileLock(folder / f".{name}.lock", timeout=600, is_singleton=True)


def _location(uri: str, folder: Path, name: str) -> str | None:
    """Where an experiment keeps its files; a server decides for itself."""
    return None if uri.startswith("http") else (folder / "artifacts" / name).as_uri()


def _experiment(client: MlflowClient, name: str, location: str | None) -> str:
    """Id of an experiment, made where there is none; what people have written about one stays as it is."""
    from mlflow.exceptions import MlflowException

    labels = EXPERIMENTS[name].labels()
    while (found := client.get_experiment_by_name(name)) is None:
        try:
            return client.create_experiment(name, artifact_location=location, tags=labels)
        except MlflowException as error:  # another machine may be faster
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    for key in labels.keys() - found.tags.keys():
        client.set_experiment_tag(found.experiment_id, key, labels[key])
    return found.experiment_id


def _create(file: Path) -> None:
    """Make the database beside its place and copy it there whole: a kill leaves none, never half a schema."""
    from mlflow import MlflowClient

    draft, copy = file.with_suffix(".draft"), file.with_suffix(".copy")
    draft.unlink(missing_ok=True)
    copy.unlink(missing_ok=True)
    MlflowClient(f"sqlite:///{draft}").search_experiments(max_results=1)
    with closing(sqlite3.connect(draft)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    copy.replace(file)
    draft.unlink()


def _relocate(file: Path, artifacts: Path) -> None:
    """Rewrite the absolute artifact paths of a database that lies elsewhere than when they were written."""
    with closing(sqlite3.connect(file, timeout=60)) as connection, connection:
        name = next(iter(EXPERIMENTS))
        row = connection.execute("SELECT artifact_location FROM experiments WHERE name = ?", (name,)).fetchone()
        new, old = artifacts.as_uri(), str(row[0]).removesuffix(f"/{name}") if row else ""
        if not old.startswith("file:") or old == new:
            return
        for table, column in LOCATIONS:
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                (new, len(old) + 1, len(old) + 1, f"{old}/"),
            )
