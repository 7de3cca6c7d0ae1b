"""What could not be recorded while the tracking server was away, kept in `mlruns/outbox` until it can be.

An entry is a small JSON file that names a folder of results and says what to record of it. Results stay where they are.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glass_ml.errors import InputError
from glass_ml.files import sha256_text, write_json
from glass_ml.provenance.lineage import canonical_json
from glass_ml.provenance.project import project_root


@dataclass(frozen=True)
class Entry:
    """Something that waits to be recorded.

    Attributes:
        path: its file.
        kind: what to record, such as "inversion"; empty where the file cannot be read.
        payload: what the recording needs; `folder` as `place_of` writes it.
    """

    path: Path
    kind: str
    payload: dict[str, Any]

    def remove(self) -> None:
        """Forget it; another process may have done so already."""
        self.path.unlink(missing_ok=True)


def outbox_folder(root: Path | str | None = None) -> Path:
    """Where entries lie."""
    return Path(root or project_root()) / "mlruns" / "outbox"


def entry_file(kind: str, **payload: Any) -> Path:
    """The file of an entry, whether it is there or not."""
    return outbox_folder() / f"{kind}-{sha256_text(canonical_json(payload))[:16]}.json"


def keep(kind: str, **payload: Any) -> Path:
    """Keep something for `glass-ml sync`, whole or not at all; the same twice is one entry.

    Raises:
        InputError: the project cannot be written to.
    """
    path = entry_file(kind, **payload)
    if not path.exists():  # its date orders the entries
        write_json(path, {"kind": kind, **payload})
    return path


def forget(kind: str, **payload: Any) -> None:
    """Take out what was kept by the same arguments, if it is there: it is recorded."""
    entry_file(kind, **payload).unlink(missing_ok=True)


def pending(root: Path | str | None = None) -> list[Entry]:
    """The entries, oldest first."""
    found = [p for p in outbox_folder(root).glob("*.json") if not p.name.startswith(".")]
    return [_read(path) for path in sorted(found, key=lambda p: (p.stat().st_mtime_ns, p.name))]


def _read(path: Path) -> Entry:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Entry(path, str(content.pop("kind")), content)
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return Entry(path, "", {})


def place_of(folder: Path | str) -> str:
    """How an entry names a folder: relative to the project where it lies in it, so that a moved project still sends."""
    folder, root = Path(os.path.abspath(folder)), project_root()  # noqa: PTH100  (a link stays a link)
    return folder.relative_to(root).as_posix() if folder.is_relative_to(root) else str(folder)


def folder_at(place: str) -> Path:
    """The folder that `place_of` has named.

    Raises:
        InputError: it is not there any more.
    """
    folder = project_root() / place
    if not folder.is_dir():
        raise InputError("the folder is gone", str(folder), "bring it back, or remove the entry")
    return folder
