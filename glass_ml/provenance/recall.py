"""Find again, by checksum, what a lineage names: files in their present places or in git and DVC's history; models."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from glass_ml.errors import InputError
from glass_ml.files import sha256_file
from glass_ml.provenance.dvc_store import fetch_model, model_history
from glass_ml.provenance.lineage import MODEL_FILES, Lineage, model_sha256
from glass_ml.provenance.project import PACKAGE
from glass_ml.provenance.results import find_files
from glass_ml.tracking.model_places import is_checkpoint, version_folder
from glass_ml.tracking.reach import StoreUnreachable, reached
from glass_ml.tracking.registry import find_version
from glass_ml.tracking.store import Store, open_store, store_exists


def recall_model(lineage: Lineage, root: Path, folder: Path) -> Path:
    """The checkpoint folder of the recorded model: a registered or present one, else what DVC's history has.

    Args:
        lineage: names the model.
        root: the project.
        folder: an empty folder that takes what has to be fetched.

    Raises:
        InputError: no model of this checksum can be found.
    """
    wanted = lineage.model_sha256
    named = [] if lineage.model_uri.startswith("models:") else [root / lineage.model_uri]
    for place in [*named, *sorted((root / "models").glob("*"))]:
        if is_checkpoint(place) and model_sha256(place) == wanted:
            return place
    if store := _records(root):
        with suppress(StoreUnreachable), reached(store.uri):
            version = find_version(store, None, wanted)
            if found := version_folder(store, version) if version else None:
                return found
    for model in reversed(model_history(root)):
        draft = folder / model.md5
        draft.mkdir(parents=True)
        if fetch_model(root, model, draft) and model_sha256(draft) == wanted:
            return draft
        shutil.rmtree(draft)
    raise InputError("the recorded model is nowhere", f"sha256 {wanted[:12]}", "'dvc fetch --all-commits' may bring it")


def _records(root: Path) -> Store | None:
    """The project's registry; None where there is none, or, with a line that says so, where it is away."""
    try:
        return open_store(root) if store_exists(root) else None
    except StoreUnreachable as error:
        print(f"without its records: {error}", file=sys.stderr)
        return None


def recall_file(recorded: str, sha256: str, lineage: Lineage, root: Path, beside: Path, folder: Path) -> Path | None:
    """A file of the recorded content, in one of the places where it may be; None where it is in none.

    The weights of a model count where its card lies beside them, and come with it.

    Args:
        recorded: its path in the lineage, relative to the project, to the package's folder, or absolute.
        sha256: checksum of its content.
        lineage: names the commit whose version of the file is tried last.
        root: the project.
        beside: the folder of the structures, which keeps copies.
        folder: takes what has to be fetched.
    """
    file = Path(recorded)
    card, weights = MODEL_FILES

    def right(place: Path) -> bool:
        whole = file.name != weights or place.with_name(card).is_file()
        return place.is_file() and whole and sha256_file(place) == sha256

    places = [beside / file.name, beside / file.parent.name / file.name, root / file, PACKAGE.parent / file]
    found = next((place for place in places if right(place)), None)
    if found or file.is_absolute():
        return found
    wanted = file.parent if file.name == weights else file
    fetched = folder / sha256 / wanted.name
    fetched.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "dvc", "get", "-q", "--rev", lineage.git_commit, str(root), wanted.as_posix()]
    subprocess.run([*command, "-o", str(fetched)], cwd=folder, capture_output=True, check=False)
    fetched = fetched / file.name if file.name == weights else fetched
    return fetched if right(fetched) else None


def recall_target(lineage: Lineage, root: Path, beside: Path, folder: Path) -> Path:
    """The recorded TARGET.yaml: beside the structures or the data, anywhere in the project, in the registry, or in DVC.

    Arguments as `recall_file`.

    Raises:
        InputError: no file of this checksum can be found.
    """
    for place in _targets(lineage, root, beside, folder):
        if sha256_file(place) == lineage.target_sha256:
            return place
    what, mend = "the recorded target is nowhere", "put its target.yaml beside the structures"
    raise InputError(what, f"sha256 {lineage.target_sha256[:12]}", mend)


def _targets(lineage: Lineage, root: Path, beside: Path, folder: Path) -> Iterator[Path]:
    yield from sorted(beside.glob("*.y*ml"))
    yield from find_files(root, suffix=".yaml")
    yield from find_files(root, suffix=".yml")
    if store := _records(root):
        with suppress(StoreUnreachable), reached(store.uri):
            query = f"tags.target_sha256 = '{lineage.target_sha256}'"
            for run in store.client.search_runs([store.experiments["inversions"]], query, max_results=5):
                if any(file.path == "target.yaml" for file in store.client.list_artifacts(run.info.run_id)):
                    yield Path(store.client.download_artifacts(run.info.run_id, "target.yaml", str(folder)))
    for parent in dict.fromkeys(Path(e["file"]).parent for e in json.loads(lineage.measurements)):
        if not parent.is_absolute():
            found = recall_file(
                f"{parent.as_posix()}/target.yaml", lineage.target_sha256, lineage, root, beside, folder
            )
            if found:
                yield found
