"""Runs: what each stage records, under the same names and tags everywhere."""

from __future__ import annotations

import getpass
import json
import os
import re
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from glass_ml.errors import without_passwords
from glass_ml.files import write_json
from glass_ml.provenance.data import DataIdentity
from glass_ml.provenance.project import code_identity
from glass_ml.tracking.mirror import PARENT, mirror_mode, mirrored
from glass_ml.tracking.reach import gone
from glass_ml.tracking.store import Store, open_store

EXPERIMENT_OF = {"train": "priors", "register": "priors", "invert": "inversions", "tune": "tuning", "study": "studies"}
PROCESS, KEY = "glass_ml.process", "glass_ml.key"


@dataclass(frozen=True)
class Run:
    """A run that is being recorded.

    Attributes:
        id: MLflow's run id.
        store: where it is recorded.
    """

    id: str
    store: Store

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Record settings, nested ones as "outer.inner"; the whole also as the artifact `params.json`."""
        from mlflow.entities import Param
        from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH

        with tempfile.TemporaryDirectory() as folder:
            write_json(Path(folder) / "params.json", params)
            self.log_artifact(Path(folder) / "params.json")
        entries = [(name, str(value)) for name, value in flatten(params, ".").items()]
        cut = "… (whole in params.json)"
        shown = [
            (k, v if len(v) <= MAX_PARAM_VAL_LENGTH else v[: MAX_PARAM_VAL_LENGTH - len(cut)] + cut) for k, v in entries
        ]
        for chunk in _chunks(shown, 100):
            self.store.client.log_batch(self.id, params=[Param(k, v) for k, v in chunk])

    def log_metrics(self, metrics: Mapping[str, Any], step: int = 0) -> None:
        """Record numbers, nested ones as "outer/inner"; what is not a number is left out."""
        from mlflow.entities import Metric
        from mlflow.utils.time import get_current_time_millis

        now = get_current_time_millis()
        entries = [Metric(k, v, now, step) for k, v in numbers(metrics).items()]
        for chunk in _chunks(entries, 1000):
            self.store.client.log_batch(self.id, metrics=chunk)

    def log_artifact(self, path: Path | str, folder: str | None = None) -> None:
        """Keep a file, or a folder with its content, with the run."""
        self.store.client.log_artifact(self.id, str(path), folder)

    def log_data(self, data: DataIdentity, name: str, context: str) -> None:
        """Record data as an input of the run; the digest is their md5 or checksum.

        Args:
            data: path and identity.
            name: as people call them, such as "a-Si".
            context: what they were used for, such as "training".
        """
        from mlflow.data.meta_dataset import MetaDataset
        from mlflow.data.sources import LocalArtifactDatasetSource  # type: ignore[attr-defined]
        from mlflow.entities import DatasetInput, InputTag
        from mlflow.utils.validation import MAX_DATASET_DIGEST_SIZE

        digest = data.md5[:MAX_DATASET_DIGEST_SIZE]
        source = LocalArtifactDatasetSource(data.path)
        dataset = MetaDataset(source, name=name, digest=digest)  # type: ignore[abstract]
        tags = [InputTag("mlflow.data.context", context)]
        self.store.client.log_inputs(self.id, datasets=[DatasetInput(dataset._to_mlflow_entity(), tags)])

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags of the run."""
        from mlflow.entities import RunTag

        for chunk in _chunks([RunTag(k, str(v)) for k, v in tags.items()], 100):
            self.store.client.log_batch(self.id, tags=chunk)


@contextmanager
def start_run(
    *,
    stage: str,
    system: str,
    name: str,
    store: Store | None = None,
    params: Mapping[str, Any] | None = None,
    data: DataIdentity | None = None,
    tags: Mapping[str, Any] | None = None,
    key: str | None = None,
    parent: str | None = None,
    live: bool = True,
) -> Iterator[Run]:
    """Record what happens inside the block as one run.

    It ends as FINISHED; as KILLED on Ctrl-C or SIGTERM; as FAILED, with the error in a tag, on anything else. A run
    whose process has died without a word is marked KILLED when the next one starts. `mirror` shows it in wandb too,
    where params.yaml says so.

    Args:
        stage: "train", "register", "invert", "tune" or "study"; decides the experiment.
        system: the material.
        name: what people see in the list.
        store: default: the project's.
        params: settings to record.
        data: data that the stage reads.
        tags: further tags.
        key: identity of the work, such as a checksum: the same work done again, or gone on with, is the same run.
        parent: run id of the parent run.
        live: mirror it while it goes on. Whoever holds the store's lock says no, and mirrors it afterwards, as others
            would wait for wandb too.

    Raises:
        InputError: the store cannot be opened, or the mirror that params.yaml asks for.
    """
    mirror_mode()
    store = store or open_store()
    client, experiment = store.client, store.experiments[EXPERIMENT_OF[stage]]
    labels = {k: str(v) for k, v in {**_tags(stage, system, data, key, parent), **(tags or {})}.items()}
    with store.lock():
        reap(store)
        run_id = _of_key(store, experiment, key) if key else None
        if run_id is None:
            run_id = client.create_run(experiment, run_name=name, tags=labels).info.run_id
        else:
            client.update_run(run_id, "RUNNING")
    run = Run(run_id, store)
    # Lightning's logger makes its store that of the whole process: at the end it is what it was.
    with mirrored(store, run_id) if live else nullcontext(), store.current(), _ending(run), _terminable():
        run.set_tags(labels)
        if data:
            run.log_data(data, system, stage)
        if params:
            run.log_params(params)
        yield run


@contextmanager
def _ending(run: Run) -> Iterator[None]:
    status = "FINISHED"
    try:
        yield
    except (KeyboardInterrupt, Terminated):
        status = "KILLED"
        raise
    except BaseException as error:
        # A store that has gone is not waited for again: the run is gone on with, or marked when the next one starts.
        status = "" if gone(run.store.uri, error) else "FAILED"
        if status:
            run.set_tags({"error": without_passwords(f"{type(error).__name__}: {error}")[:500]})
        raise
    finally:
        if status:
            run.store.client.set_terminated(run.id, status)


def reap(store: Store) -> list[str]:
    """Mark runs KILLED whose process on this machine has died; returns their ids."""
    running = store.client.search_runs(list(store.experiments.values()), "attributes.status = 'RUNNING'")
    dead = [r.info.run_id for r in running if not may_be_alive(r.data.tags.get(PROCESS, ""))]
    for run_id in dead:
        store.client.set_terminated(run_id, "KILLED")
    return dead


def find_run(store: Store, tag: str, value: str) -> str | None:
    """The id of the finished run with this tag, the oldest if there are several."""
    text = f"tags.`{tag}` = '{value}' AND attributes.status = 'FINISHED'"
    found = store.client.search_runs(list(store.experiments.values()), text, order_by=["attributes.start_time ASC"])
    return found[0].info.run_id if found else None


def flatten(content: Any, separator: str, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one level, the keys joined; lists become JSON."""
    if not isinstance(content, Mapping):
        return {prefix: json.dumps(content, ensure_ascii=False) if isinstance(content, list | tuple) else content}
    flat: dict[str, Any] = {}
    for key, value in content.items():
        clean = clean_name(str(key))
        flat |= flatten(value, separator, f"{prefix}{separator}{clean}" if prefix else clean)
    return flat


def clean_name(text: str) -> str:
    """A text as MLflow takes it for the name of a metric, setting or tag: letters, digits and _ - . space : /."""
    return re.sub(r"[^\w\-. :/]", "_", text).strip("/")


def numbers(content: Mapping[str, Any]) -> dict[str, float]:
    """The numbers in nested mappings, by their joined names; truth values count as 0 and 1."""
    return {k: float(v) for k, v in flatten(content, "/").items() if isinstance(v, int | float)}


def _chunks(items: Sequence[Any], size: int) -> Iterator[Any]:
    return (items[k : k + size] for k in range(0, len(items), size))


def _tags(stage: str, system: str, data: DataIdentity | None, key: str | None, parent: str | None) -> dict[str, Any]:
    code = code_identity()
    optional = {
        "data_md5": data.md5 if data else None,
        "data_version": data.md5[:8] if data else None,
        "DVC_STAGE": os.environ.get("DVC_STAGE"),
        "DVC_EXP_NAME": os.environ.get("DVC_EXP_NAME"),
        KEY: key,
        PARENT: parent,
    }
    return {
        "stage": stage,
        "system": system,
        "git_commit": code.git_commit,
        "git_sha": code.git_commit[:8] + ("+" if code.git_dirty else ""),
        "git_dirty": code.git_dirty,
        "code_sha256": code.code_sha256,
        "mlflow.source.name": f"glass-ml {stage}",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": code.git_commit,
        "mlflow.user": user(),
        PROCESS: process_identity(os.getpid()),
        **{k: v for k, v in optional.items() if v},
    }


def user() -> str:
    """The name that this process runs under."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run as a number without a name
        return str(os.getuid())


def process_identity(pid: int) -> str:
    """Host, number and start of a process: a number alone is used again."""
    try:
        started = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        started = ""
    return f"{socket.gethostname()}:{pid}:{started}"


def may_be_alive(process: str) -> bool:
    """Whether a process may still be running: one on another host may, and one that is not known."""
    host, _, rest = process.partition(":")
    if host != socket.gethostname():
        return True
    pid = int(rest.partition(":")[0])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return process == process_identity(pid)


def _of_key(store: Store, experiment: str, key: str) -> str | None:
    """The oldest run of this work that nobody else is at; one that this process could not end is its own."""
    own = process_identity(os.getpid())
    order = ["attributes.start_time ASC"]
    found = store.client.search_runs([experiment], f"tags.`{KEY}` = '{key}'", order_by=order)
    free = [r for r in found if r.info.status != "RUNNING" or r.data.tags.get(PROCESS) == own]
    return free[0].info.run_id if free else None


class Terminated(SystemExit):
    """SIGTERM, as an exception, so that what is open gets closed."""


@contextmanager
def _terminable() -> Iterator[None]:
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if not ours:
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated(128 + number)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
