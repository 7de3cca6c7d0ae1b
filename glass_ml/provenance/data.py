"""Data as DVC names them: the md5 of the real bytes, the versions that commits name, and what DVC still has of them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import yaml

from glass_ml.errors import InputError
from glass_ml.provenance.models import MODEL_FILES
from glass_ml.provenance.project import COMMIT, git, worktree

CACHES = (".dvc/cache/files/md5", "dvc-store/files/md5")
MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


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


@dataclass(frozen=True)
class RecordedModel:
    """A version of a model that `dvc.lock` of a commit names.

    Attributes:
        path: its folder, relative to the project, with "/".
        md5: DVC's identity of it.
        commit: the oldest commit that names it.
    """

    path: str
    md5: str
    commit: str


def model_history(root: Path) -> list[RecordedModel]:
    """Every version of every model that `dvc.lock` of any commit names, oldest first."""
    log = git(root, "log", "--all", "--date-order", "--reverse", "--format=%H", "--", "dvc.lock") or b""
    found: dict[tuple[str, str], RecordedModel] = {}
    for commit in log.decode().split():
        text = git(root, "show", "--end-of-options", f"{commit}:./dvc.lock")
        for path, md5 in _outputs(text or b""):
            if path.startswith("models/"):
                found.setdefault((path, md5), RecordedModel(path, md5, commit))
    return list(found.values())


def made_here(folder: Path, root: Path) -> bool:
    """Whether the project's own stage has made a folder, by `dvc.lock`: of this content, and of what is here.

    The sources, data and settings that the stage depends on must be here as they were when it ran; only data outside
    the project may be absent.
    """
    file = root / "dvc.lock"
    try:
        for stage in _stages(file.read_bytes() if file.is_file() else b""):
            for out in stage.get("outs", ()):
                if (root / out["path"]).resolve() == folder.resolve() and out.get("md5") == content_md5(folder, root):
                    return _as_here(stage, root) and all(
                        made_here(root / dep["path"], root)
                        for dep in stage.get("deps", ())
                        if dep["path"].startswith("trained/")  # the weights are made by the stage before
                    )
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError):
        pass  # an entry without what it depends on, or settings that are not here
    return False


def _as_here(stage: dict[str, Any], root: Path) -> bool:
    for dep in stage.get("deps", ()):
        path = root / dep["path"]
        away = not path.exists() and not path.resolve().is_relative_to(root)
        if not away and content_md5(path, root) != dep["md5"]:
            return False
    for file, settings in stage.get("params", {}).items():
        content = yaml.safe_load((root / file).read_text(encoding="utf-8"))
        for key, value in settings.items():
            if reduce(lambda place, name: place[name], key.split("."), content) != value:
                return False
    return True


def _outputs(lock: bytes) -> Iterator[tuple[str, str]]:
    for stage in _stages(lock):
        with suppress(KeyError, TypeError):
            found = ((str(out["path"]), str(out.get("md5"))) for out in stage.get("outs", ()))
            yield from ((path, md5) for path, md5 in found if MD5.fullmatch(md5))


def _stages(lock: bytes) -> list[dict[str, Any]]:
    """The stages of a `dvc.lock`; none of one with a conflict in it, committed by accident."""
    try:
        stages = (yaml.load(lock, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}).get("stages") or {}
        return [stage for stage in stages.values() if isinstance(stage, dict)]
    except (yaml.YAMLError, AttributeError):
        return []


def cached(root: Path, md5: str) -> Path | None:
    """A file of this content in the caches of the project, its content checked; a ".dir" is a listing."""
    if not MD5.fullmatch(md5):
        return None
    places = (root / cache / md5[:2] / md5[2:] for cache in CACHES)
    return next((p for p in places if p.is_file() and file_md5(p) == md5.removesuffix(".dir")), None)


def listing(root: Path, md5: str) -> list[dict[str, str]] | None:
    """DVC's listing of a folder, {"md5", "relpath"} of every file; None where it is not in the caches."""
    file = cached(root, md5)
    return json.loads(file.read_text(encoding="utf-8")) if file else None


def folders_named(root: Path, digits: str) -> list[str]:
    """The identities of folders in the caches, "<md5>.dir", that begin with these digits (at least two)."""
    found = (p for cache in CACHES for p in (root / cache / digits[:2]).glob(f"{digits[2:]}*.dir"))
    return sorted({digits[:2] + p.name for p in found})


def fetch_model(root: Path, model: RecordedModel, folder: Path) -> bool:
    """Bring a recorded model into an empty folder, from the caches or else from DVC's remote; whether it is there."""
    entries = listing(root, model.md5) or []
    sources = {e["relpath"]: cached(root, e["md5"]) for e in entries if e["relpath"] in MODEL_FILES}
    if len(sources) == len(MODEL_FILES) and all(sources.values()):
        for name, source in sources.items():
            shutil.copyfile(str(source), folder / name)
        return True
    got = (
        _dvc("get", f"--rev={model.commit}", f"--out={folder / name}", "--", str(root), f"{model.path}/{name}")
        for name in MODEL_FILES
    )
    return all(text is not None for text in got)


def fetch_file(root: Path, commit: str, path: str, folder: Path) -> Path | None:
    """A file of a commit, or one that DVC tracked then, brought into a folder under its own name; None where it is not.

    Args:
        root: the project.
        commit: all 40 digits; anything else names no commit.
        path: relative to the project. Only what the commit itself lists is asked for, by the name that it has there.
        folder: takes the file.
    """
    listed = git(root, "ls-tree", "-r", "-z", "--end-of-options", commit) if COMMIT.fullmatch(commit) else None
    entries = [entry.partition("\t") for entry in (listed or b"").decode(errors="replace").split("\0")]
    blobs = {name: kind.split()[-1] for kind, _, name in entries if " blob " in kind}
    if path in blobs:
        content = git(root, "cat-file", "blob", "--end-of-options", blobs[path])
        place = folder / Path(path).name
        if content is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        return None if content is None else place
    if any(name.endswith(".dvc") or Path(name).name == "dvc.lock" for name in blobs):
        text = _dvc("list", "--json", "--recursive", "--dvc-only", f"--rev={commit}", "--", str(root)) or b"[]"
        known = next((str(entry["path"]) for entry in json.loads(text) if entry["path"] == path), None)
        if known is not None:
            place = folder / Path(known).name
            place.parent.mkdir(parents=True, exist_ok=True)
            if _dvc("get", f"--rev={commit}", f"--out={place}", "--", str(root), known) is not None:
                return place
    return None


def _dvc(command: str, *arguments: str) -> bytes | None:
    """Standard output of a command of DVC; None where it fails."""
    with tempfile.TemporaryDirectory() as elsewhere:
        call = [sys.executable, "-m", "dvc", command, "-q", *arguments]
        done = subprocess.run(call, cwd=elsewhere, capture_output=True, check=False)
    return None if done.returncode else done.stdout
