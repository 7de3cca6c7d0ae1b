"""Data as DVC names it: the md5 of a folder, computed from the real bytes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from glass_ml.errors import InputError
from glass_ml.provenance.project import worktree


@dataclass(frozen=True)
class DataIdentity:
    """A version of data.

    Attributes:
        path: the folder or file that DVC tracks, relative to the project, with "/".
        md5: DVC's identity of its content; ends in ".dir" for a folder.
    """

    path: str
    md5: str


def recorded_data(path: Path | str, root: Path | str | None = None) -> DataIdentity | None:
    """What the `.dvc` file of `path`, or of the nearest folder above it, says; None where there is none.

    Raises:
        InputError: the `.dvc` file cannot be understood.
    """
    root = worktree(root)
    target = Path(os.path.normpath(root / path))
    for folder in (target, *target.parents):
        if folder == root or not folder.is_relative_to(root):
            break
        record = folder.with_name(f"{folder.name}.dvc")
        if record.is_file():
            try:
                md5 = str(yaml.safe_load(record.read_text(encoding="utf-8"))["outs"][0]["md5"])
            except (yaml.YAMLError, KeyError, IndexError, TypeError):
                raise InputError("not a DVC file with an md5", str(record), f"run 'dvc add {folder.name}'") from None
            return DataIdentity(folder.relative_to(root).as_posix(), md5)
    return None


def content_md5(path: Path, root: Path | str | None = None) -> str:
    """DVC's md5 of a file, or of a folder: md5 of the JSON list of {md5, relpath}, with ".dir" added.

    Args:
        path: the file or folder.
        root: where `.dvcignore` is looked for; files that it names do not count.
    """
    if path.is_file():
        return file_md5(path)
    return entries_md5(folder_entries(path, root))


def file_md5(path: Path) -> str:
    """MD5 of a file's bytes (an identity, not a protection: DVC's choice)."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def folder_entries(folder: Path, root: Path | str | None = None) -> list[dict[str, str]]:
    """DVC's listing of a folder: {"md5", "relpath"} of every file, sorted by relpath."""
    folder, ignored = folder.absolute(), _ignored(worktree(root))
    files = sorted((p.relative_to(folder).as_posix(), p) for p in folder.rglob("*") if p.is_file())
    return [{"md5": file_md5(p), "relpath": name} for name, p in files if not ignored(p)]


def entries_md5(entries: list[dict[str, str]]) -> str:
    """The ".dir" identity of such a listing."""
    return hashlib.md5(json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _ignored(root: Path) -> Callable[[Path], bool]:
    rules = root / ".dvcignore"
    lines = rules.read_text(encoding="utf-8").splitlines() if rules.is_file() else []
    if not any(line.strip() and not line.startswith("#") for line in lines):
        return lambda path: False
    from pathspec import GitIgnoreSpec  # comes with DVC

    spec = GitIgnoreSpec.from_lines(lines)
    return lambda path: path.is_relative_to(root) and spec.match_file(path.relative_to(root).as_posix())


def data_identity(data_path: Path | str = "data", root: Path | str | None = None) -> DataIdentity:
    """The identity of the data that a run uses.

    Inside a DVC stage the `.dvc` file is right, as DVC has just checked it; elsewhere the bytes are hashed, so that
    an edit since `dvc add` does not go unnoticed. A part of what DVC tracks, and data without a `.dvc` file, get the
    identity that DVC would give them.

    Args:
        data_path: the data, or a part of them, relative to `root`.
        root: the project (default: around the current folder).

    Raises:
        InputError: there is neither such data nor a record of them.
    """
    root = worktree(root)
    target = root / data_path
    name = Path(os.path.relpath(target, root)).as_posix()
    recorded = recorded_data(data_path, root)
    if recorded and recorded.path == name and (os.environ.get("DVC_STAGE") or not target.exists()):
        return recorded
    if not target.exists():
        raise InputError("no such data", str(target), "run 'dvc pull', or 'glass-ml simulate'")
    return DataIdentity(name, content_md5(target, root))
