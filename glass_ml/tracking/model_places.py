"""Where the files of registered models lie: in the store, on a server, in the project; known by their content."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from glass_ml.provenance.lineage import MODEL_FILES, model_sha256
from glass_ml.provenance.project import worktree
from glass_ml.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder holds both files of a model."""
    return all((folder / name).is_file() for name in MODEL_FILES)


def read_card(folder: Path) -> dict[str, Any]:
    """What the file `model.json` of a checkpoint folder says."""
    card: dict[str, Any] = json.loads((folder / MODEL_FILES[0]).read_text(encoding="utf-8"))
    return card


def version_folder(store: Store, version: ModelVersion) -> Path | None:
    """The checkpoint folder of a version, content as registered; None where it is nowhere.

    MLflow keeps absolute paths; where one has gone stale, the folder is looked for by its content below the store and
    in the project's `models`. From a server it is fetched only where it lies nowhere here.
    """
    wanted = version.tags.get("model_sha256")
    return next((p for p in version_places(store, version) if is_checkpoint(p) and model_sha256(p) == wanted), None)


def version_places(store: Store, version: ModelVersion) -> Iterator[Path]:
    """Where a version's checkpoint folder may be, the store first, a server last."""
    location = _location(store, version)
    parts = urlsplit(location or "")
    local = parts.scheme in ("", "file")
    if location and local:
        package = Path(unquote(parts.path))
        yield package / "artifacts" / "prior"
        inside = package.parts
        if "artifacts" in inside:
            start = inside.index("artifacts", inside.index("mlruns") if "mlruns" in inside else 0)
            yield store.folder.joinpath(*inside[start:], "artifacts", "prior")
    for root in dict.fromkeys((worktree(), store.root)):
        yield root / "models" / str(version.tags.get("system", ""))
    if not local and (found := _download(store, version)):
        yield found


def logged_model_id(version: ModelVersion) -> str | None:
    """Id of the logged model that a version is."""
    return str(version.source).removeprefix("models:/") if str(version.source).startswith("models:/m-") else None


def _location(store: Store, version: ModelVersion) -> str | None:
    """Where MLflow has put a version; None where its logged model has been deleted."""
    from mlflow.exceptions import MlflowException

    model_id = logged_model_id(version)
    if model_id is None:
        return str(version.source)
    try:
        return str(store.client.get_logged_model(model_id).artifact_location)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def _download(store: Store, version: ModelVersion) -> Path | None:
    """The checkpoint of a version whose artifacts a server keeps, fetched once; None where it has lost them."""
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    cache = store.folder / "cache" / str(version.tags["model_sha256"])
    if not cache.is_dir():
        with tempfile.TemporaryDirectory(dir=store.folder) as temporary:
            uri = f"models:/{version.name}/{version.version}"
            try:
                package = download_artifacts(uri, dst_path=temporary, tracking_uri=store.uri, registry_uri=store.uri)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return None
            cache.parent.mkdir(exist_ok=True)
            with suppress(OSError):  # brought by another process meanwhile
                (Path(package) / "artifacts" / "prior").rename(cache)
    return cache
