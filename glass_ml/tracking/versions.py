"""What the registry holds: its versions, where their files lie, known by their content, and what rests on them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from glass_ml.checkpoint import KINDS, PRIOR
from glass_ml.errors import InputError
from glass_ml.provenance.lineage import measurements_of
from glass_ml.provenance.models import (
    CARD,
    Measured,
    RecordedResult,
    Records,
    RegisteredModel,
    is_checkpoint,
    model_sha256,
)
from glass_ml.provenance.project import worktree
from glass_ml.tracking.reach import reached
from glass_ml.tracking.store import Store, open_store, store_exists, tracking_uri

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

IDENTITY = "inversion_sha256"
"""Tag of an inversion: checksum of its structure file."""
DIRTY = "git_dirty"
CODE_TAGS = ("git_commit", DIRTY, "code_sha256")
LINEAGE_TAGS = ("system", "elements", "model_sha256", "data_path", "data_md5", *CODE_TAGS, "glass_ml_version")


def read_card(folder: Path) -> dict[str, Any]:
    """What the file `model.json` of a checkpoint folder says."""
    card: dict[str, Any] = json.loads((folder / CARD).read_text(encoding="utf-8"))
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


def model_type(card: Mapping[str, Any]) -> str:
    """What the model of a card is: "prior" or "surrogate"."""
    return KINDS.get(str(card.get("architecture")), PRIOR).noun


def versions(store: Store, name: str | None = None) -> list[ModelVersion]:
    """Versions of one model or of all, by name, newest first."""
    if not set(name or "").isdisjoint("'\""):  # no name of ours has one, and the search would stumble
        return []
    found = store.client.search_model_versions(f"name = '{name}'" if name else None, max_results=10_000)
    ours = [v for v in found if "model_sha256" in v.tags]
    return sorted(ours, key=lambda v: (v.name, -int(v.version)))


def aliases(store: Store, name: str) -> dict[str, int]:
    """Alias -> version of a registered model."""
    return {alias: int(version) for alias, version in store.client.get_registered_model(name).aliases.items()}


def find_version(store: Store, name: str | None, identity: str) -> ModelVersion | None:
    """The version with this content, of one model or of any."""
    return next((v for v in versions(store, name) if v.tags["model_sha256"] == identity), None)


def known_versions(store: Store, name: str) -> list[ModelVersion]:
    """Versions of a model, newest first.

    Raises:
        InputError: no such model.
    """
    found = versions(store, name)
    if not found:
        names = ", ".join(sorted({v.name for v in versions(store)})) or "none yet"
        raise InputError(f"no registered model '{name}'", mend=f"registered: {names}") from None
    return found


def get_version(store: Store, name: str, which: str | int) -> ModelVersion:
    """A version by its number or alias.

    Raises:
        InputError: no such model, version or alias.
    """
    from mlflow.exceptions import MlflowException

    try:
        if str(which).isdigit():
            return store.client.get_model_version(name, str(which))
        return store.client.get_model_version_by_alias(name, str(which))
    except MlflowException:
        known = known_versions(store, name)
        have = ", ".join([str(v.version) for v in reversed(known)] + [f"@{alias}" for alias in aliases(store, name)])
        raise InputError(f"no version or alias '{which}' of {name}", mend=f"there are {have}") from None


def registered_version(uri: str, store: Store) -> ModelVersion:
    """The version that a `models:/` URI stands for.

    Raises:
        InputError: it is no such URI, or there is no such model, version or alias.
    """
    path = uri.removeprefix("models:").lstrip("/")
    name, _, which = path.partition("@") if "@" in path else path.partition("/")
    if not name or not which:
        raise InputError(f"'{uri}' is not a model URI", mend="write models:/NAME@ALIAS or models:/NAME/VERSION")
    with reached(store.uri):
        return get_version(store, name, which)


def records_of(root: Path) -> Records:
    """The registry of a project, opened when it is first asked, for a room that knows no MLflow."""
    return StoreRecords(root) if store_exists(root) else Records()


class StoreRecords(Records):
    """A `Records`: what the store of a project says."""

    def __init__(self, root: Path):
        self.root = root

    @cached_property
    def store(self) -> Store:
        """The store, open."""
        return open_store(self.root)

    @property
    def uri(self) -> str | None:
        """Of the store."""
        return tracking_uri(self.root)

    @property
    def folder(self) -> Path | None:
        """Of the store."""
        return self.store.folder

    def models(self) -> Iterator[RegisteredModel]:
        """Every version, with who holds it and since when it is registered."""
        holders: dict[str, dict[str, int]] = {}
        with reached(tracking_uri(self.root)):
            for version in versions(self.store):
                held = holders.setdefault(version.name, aliases(self.store, version.name))
                named = sorted(alias for alias, number in held.items() if number == int(version.version))
                facts = {"alias": " and ".join(named), "registered": _time(version.creation_timestamp)}
                uri, tags = f"models:/{version.name}/{version.version}", version.tags
                path, md5 = tags.get("data_path", ""), tags.get("data_md5", "")
                yield RegisteredModel(tags["model_sha256"], uri, path, md5, facts)

    def places(self, sha256: str) -> Iterator[Path]:
        """See `version_places`."""
        with reached(tracking_uri(self.root)):
            if version := find_version(self.store, None, sha256):
                yield from version_places(self.store, version)

    def find(self, uri: str) -> str:
        """See `registered_version`."""
        return str(registered_version(uri, self.store).tags["model_sha256"])

    def targets(self, sha256: str, folder: Path) -> Iterator[Path]:
        """The `target.yaml` of inversions of this target."""
        with reached(tracking_uri(self.root)):
            client, experiment = self.store.client, self.store.experiments["inversions"]
            for run in client.search_runs([experiment], f"tags.target_sha256 = '{sha256}'", max_results=5):
                if any(file.path == "target.yaml" for file in client.list_artifacts(run.info.run_id)):
                    yield Path(client.download_artifacts(run.info.run_id, "target.yaml", str(folder)))

    def results(self) -> Iterator[RecordedResult]:
        """Finished inversions, then sweeps, oldest first."""
        with reached(tracking_uri(self.root)):
            for experiment in ("inversions", "tuning"):
                token = None
                while True:
                    page = self.store.client.search_runs(
                        [self.store.experiments[experiment]], "attributes.status = 'FINISHED'", max_results=5000,
                        order_by=["attributes.start_time ASC"], page_token=token,
                    )  # fmt: skip
                    yield from (_result(r) for r in page if IDENTITY in r.data.tags or "study" in r.data.tags)
                    token = page.token
                    if not token:
                        break


def _result(run: Run) -> RecordedResult:
    tags, since = run.data.tags, _time(run.info.start_time)
    model = None
    if "model_sha256" in tags:
        model = RegisteredModel(tags["model_sha256"], tags.get("model_uri", ""))
    data = tags.get("data_path", ""), tags.get("data_md5", "")
    if IDENTITY in tags:
        facts = {"run": f"'{run.info.run_name}'", "recorded": since}
        return RecordedResult("structures", tags[IDENTITY], "", model, *data, _measured(tags), facts)
    trials = str(int(run.data.metrics["trials"])) if "trials" in run.data.metrics else ""
    name = str(run.info.run_name)
    return RecordedResult("sweep", tags["study"], name, model, *data, (), {"trials": trials, "recorded": since})


def _measured(tags: Mapping[str, str]) -> tuple[Measured, ...]:
    try:
        return measurements_of(tags.get("measurements", "[]"))
    except InputError:  # longer than a tag of MLflow: the file says it
        return ()


def _time(milliseconds: int | None) -> str:
    return datetime.fromtimestamp((milliseconds or 0) / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
