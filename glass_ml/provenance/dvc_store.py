"""What DVC still has of the past: the versions that commits name, and their content by checksum."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import yaml

from glass_ml.provenance.data import content_md5, file_md5
from glass_ml.provenance.lineage import MODEL_FILES
from glass_ml.provenance.project import git

DVC_CACHES = (".dvc/cache/files/md5", "dvc-store/files/md5")


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
        text = git(root, "show", f"{commit}:./dvc.lock")
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
                    return _as_here(stage, root)
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
            yield from ((str(out["path"]), str(out["md5"])) for out in stage.get("outs", ()) if "md5" in out)


def _stages(lock: bytes) -> list[dict[str, Any]]:
    """The stages of a `dvc.lock`; none of one with a conflict in it, committed by accident."""
    try:
        stages = (yaml.load(lock, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}).get("stages") or {}
        return [stage for stage in stages.values() if isinstance(stage, dict)]
    except (yaml.YAMLError, AttributeError):
        return []


def cached(root: Path, md5: str) -> Path | None:
    """A file of this content in the caches of the project, its content checked; a ".dir" is a listing."""
    places = (root / cache / md5[:2] / md5[2:] for cache in DVC_CACHES)
    return next((p for p in places if p.is_file() and file_md5(p) == md5.removesuffix(".dir")), None)


def listing(root: Path, md5: str) -> list[dict[str, str]] | None:
    """DVC's listing of a folder, {"md5", "relpath"} of every file; None where it is not in the caches."""
    file = cached(root, md5)
    return json.loads(file.read_text(encoding="utf-8")) if file else None


def folders_named(root: Path, digits: str) -> list[str]:
    """The identities of folders in the caches, "<md5>.dir", that begin with these digits (at least two)."""
    found = (p for cache in DVC_CACHES for p in (root / cache / digits[:2]).glob(f"{digits[2:]}*.dir"))
    return sorted({digits[:2] + p.name for p in found})


def fetch_model(root: Path, model: RecordedModel, folder: Path) -> bool:
    """Bring a recorded model into an empty folder, from the caches or else from DVC's remote; whether it is there."""
    entries = listing(root, model.md5) or []
    sources = {e["relpath"]: cached(root, e["md5"]) for e in entries if e["relpath"] in MODEL_FILES}
    if len(sources) == len(MODEL_FILES) and all(sources.values()):
        for name, source in sources.items():
            shutil.copyfile(str(source), folder / name)
        return True
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "model"
        command = [sys.executable, "-m", "dvc", "get", "-q", "--rev", model.commit, str(root), model.path]
        done = subprocess.run([*command, "-o", str(out)], cwd=temporary, capture_output=True, check=False)
        if done.returncode or not all((out / name).is_file() for name in MODEL_FILES):
            return False
        for name in MODEL_FILES:
            shutil.copyfile(out / name, folder / name)
    return True
