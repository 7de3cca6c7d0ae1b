"""Recording in MLflow that survives a server that is away: what cannot be sent is kept, and `sync` sends it later."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glass_ml.errors import InputError, without_passwords
from glass_ml.files import read_json, sha256_file
from glass_ml.tracking.evaluations import FILE as EVALUATION
from glass_ml.tracking.evaluations import evidence
from glass_ml.tracking.inversions import FILES, log_cross_validation, log_evaluation, log_inversion
from glass_ml.tracking.outbox import Entry, folder_at, keep, pending, place_of
from glass_ml.tracking.reach import StoreUnreachable, reached
from glass_ml.tracking.store import tracking_uri


def _inversion(folder: Path, payload: dict[str, Any]) -> None:
    log_inversion(folder, tags=payload.get("tags"))


def _evaluation(folder: Path, payload: dict[str, Any]) -> None:
    log_evaluation(folder, evidence(read_json(folder / EVALUATION)), target=payload.get("target"))  # the latest one


def _cross_validation(folder: Path, payload: dict[str, Any]) -> None:
    log_cross_validation(folder, payload["metrics"])


def _sweep(folder: Path, payload: dict[str, Any]) -> None:
    from glass_ml.tuning.record import record_sweep  # here: only sweeps need Optuna

    record_sweep(folder, study=payload.get("study"))  # an entry may name none: it means the latest


RECORDERS: dict[str, Callable[[Path, dict[str, Any]], None]] = {
    "inversion": _inversion,
    "evaluation": _evaluation,
    "cross-validation": _cross_validation,
    "sweep": _sweep,
}
"""Kind of an entry -> what records it. Each can be called again: what is recorded already stays one run."""


@dataclass(frozen=True)
class Delivery:
    """What came of one entry of the outbox.

    Attributes:
        entry: its file's name.
        kind: what was to be recorded.
        folder: results that it names.
        sent: whether it is recorded now, and the entry gone.
        reason: why not.
    """

    entry: str
    kind: str
    folder: str
    sent: bool
    reason: str


def record(kind: str, folder: Path | str, **payload: Any) -> bool:
    """Record results in MLflow, or keep that for later where the server does not answer; whether it is recorded.

    Args:
        kind: a key of `RECORDERS`.
        folder: the results.
        payload: what else the recording needs, as JSON takes it.

    Raises:
        InputError: the results cannot be recorded, whatever the server does.
    """
    folder = Path(folder)
    try:
        with reached(tracking_uri()):
            RECORDERS[kind](folder, payload)
    except StoreUnreachable as error:
        structures = folder / FILES[0]
        if structures.is_file():
            payload["identity"] = sha256_file(structures)
        keep(kind, folder=place_of(folder), **payload)
        line = f"the tracking server {error.where} cannot be reached; {folder} is kept for 'glass-ml sync'"
        print(f"glass-ml: {line}", file=sys.stderr)
        return False
    return True


def sync() -> Iterator[Delivery]:
    """Send what is kept, oldest first, each once; an entry goes when its results are recorded.

    Raises:
        StoreUnreachable: the server does not answer; nothing is lost.
    """
    for entry in pending():
        reason = ""
        try:
            with reached(tracking_uri()):
                _send(entry)
        except StoreUnreachable:
            raise
        except InputError as error:
            reason = str(error)
        else:
            entry.remove()
        yield Delivery(entry.path.name, entry.kind, str(entry.payload.get("folder", "")), not reason, reason)


def _send(entry: Entry) -> None:
    recorder = RECORDERS.get(entry.kind)
    if recorder is None:
        raise InputError(f"unknown kind '{entry.kind}'", str(entry.path), "update glass_ml, or remove the entry")
    folder = folder_at(str(entry.payload["folder"]))
    kept = entry.payload.get("identity")
    if kept and (not (folder / FILES[0]).is_file() or sha256_file(folder / FILES[0]) != kept):
        raise InputError("holds other structures than were to be recorded", str(folder), "remove the entry")
    recorder(folder, entry.payload)


def destination() -> str:
    """Where `sync` sends to, as it may be printed."""
    return without_passwords(tracking_uri())
