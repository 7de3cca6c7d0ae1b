"""Registering models, priors and surrogates, and finding the one that is asked for."""

from __future__ import annotations

import importlib
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glass_ml import __version__
from glass_ml.checkpoint import WEIGHTS
from glass_ml.errors import InputError
from glass_ml.files import sha256_file
from glass_ml.provenance.data import DataIdentity, made_here
from glass_ml.provenance.models import CARD, MODEL_FILES, model_sha256
from glass_ml.provenance.project import UNKNOWN, code_identity, worktree
from glass_ml.tracking.headline import log_model_page, name_after
from glass_ml.tracking.mirror import mirror
from glass_ml.tracking.model_card import CARD_FILE, card_text, page_text
from glass_ml.tracking.reach import reached
from glass_ml.tracking.runs import Run, find_run, flatten, numbers, start_run
from glass_ml.tracking.store import Store, open_store
from glass_ml.tracking.versions import (
    CODE_TAGS,
    DIRTY,
    find_version,
    model_type,
    read_card,
    registered_version,
    version_folder,
)

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

NAME_PREFIX = "glass-"
SERVED = {"prior": "served", "surrogate": "served_surrogate"}
"""Type of a model -> the module of this room that MLflow runs to serve it."""
WEIGHTS_TAG = "glass_ml.weights"
"""Tag of a training run: checksum of the weights that it made."""


@dataclass(frozen=True)
class Registered:
    """A version in the registry.

    Attributes:
        name: registered model, "glass-<system>".
        version: its number.
        created: false where this content had been registered before.
        run_id: the run it belongs to.
        sha256: its `model_sha256`.
    """

    name: str
    version: int
    created: bool
    run_id: str
    sha256: str

    @property
    def uri(self) -> str:
        """The URI that names exactly this version."""
        return f"models:/{self.name}/{self.version}"


@dataclass(frozen=True)
class ResolvedModel:
    """Where a prior is.

    Attributes:
        folder: the checkpoint folder.
        sha256: `model_sha256` of the folder, which has been read for it once.
        uri: what to record: `models:/name/version`, or the folder, relative to the project where it lies in it.
        name: registered name, or what it would be.
        version: version in the registry; None for a folder.
    """

    folder: Path
    sha256: str
    uri: str
    name: str
    version: int | None


def register_prior(
    folder: Path | str,
    *,
    system: str,
    metrics: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    data: DataIdentity | None = None,
    run: Run | None = None,
    tags: Mapping[str, str] | None = None,
    store: Store | None = None,
) -> Registered:
    """Register a checkpoint folder as a version of "glass-<system>"; the same content twice makes one version.

    The version can be loaded by `mlflow.pyfunc.load_model` and becomes the candidate. One that is there already, by
    code that is unknown or was not as committed, gets a commit where a clean one is known to make this content. It
    belongs to the training run that made its weights, where that is known and has no version yet.

    Args:
        folder: holds `model.safetensors` and `model.json`, of a prior or of a surrogate; whatever else is in it is left
            out.
        system: the material, or the name of the surrogate.
        metrics: numbers to record; default: the `held_out_loss` or `held_out` errors of the card.
        params: settings to record with a run of its own; default: those of the card.
        data: training data; default: what the card says.
        run: the training run; default: the one that made the weights, or a run of its own.
        tags: of the version, such as the lineage of a model that was made elsewhere; they win over what is known here.
        store: default: the project's.

    Raises:
        InputError: the folder is no checkpoint, or the store cannot be opened.
    """
    folder, name = Path(folder), NAME_PREFIX + system
    identity = model_sha256(folder)
    card = read_card(folder)
    data = data or DataIdentity(str(card.get("data_path", "data")), str(card.get("data_md5", "")))
    if metrics is None:
        metrics = {k: card[k] for k in ("held_out_loss", "held_out") if k in card}
    shown = params
    if shown is None:
        shown = {k: card[k] for k in ("network", "surrogate", "training", "noise") if k in card}
    store = store or open_store()
    given = run is not None
    with reached(store.uri):
        run = run or _training_run(folder, store)
        known = find_version(store, name, identity)
        settled = known is not None and known.tags.get(DIRTY) == "False"
        origin = {} if settled else _made_by(folder, run, store)  # hashes much: not behind the lock
        if run is not None and not given and _has_version(run):
            run = None
    with store.lock():
        found = find_version(store, name, identity)
        if found is not None:
            if origin.get(DIRTY) == "False" and found.tags.get(DIRTY) != "False":
                for tag, value in origin.items():
                    store.client.set_model_version_tag(name, found.version, tag, value)
                page = page_text(card_text(card, {**found.tags, **origin}))
                store.client.update_model_version(name, found.version, page)
            # Made again, or a process died before it had named its run.
            if run is not None and not _has_version(run):
                log_model_page(run, folder, card)
                name_after(run, found)
            return Registered(name, int(found.version), False, str(found.run_id), identity)
        own = start_run(
            stage="register", system=system, name=f"{model_type(card)} {system}", store=store, params=shown, data=data,
            key=identity, live=False,
        )  # fmt: skip
        with own if run is None else nullcontext(run) as record:
            record.log_metrics({k: v for k, v in metrics.items() if k != "held_out_loss"})  # loss.SIGMA of the page
            log_model_page(record, folder, card)
            known_tags = origin | dict(tags or {})
            version = _create_version(store, name, folder, identity, record, data, card, metrics, known_tags)
            name_after(record, version)
    if not given:
        mirror(store, record.id)
    return Registered(name, int(version.version), True, record.id, identity)


def _training_run(folder: Path, store: Store) -> Run | None:
    """The finished training that made the weights in a folder."""
    run_id = find_run(store, WEIGHTS_TAG, sha256_file(folder / WEIGHTS))
    return Run(run_id, store) if run_id else None


def _has_version(run: Run) -> bool:
    return "model_version" in run.store.client.get_run(run.id).data.tags


def _made_by(folder: Path, run: Run | None, store: Store) -> dict[str, str]:
    """The code that made a model: that of its training run, or of the stage of `dvc.lock`; unknown otherwise.

    The working tree of the moment says nothing of a model that comes from elsewhere.
    """
    if run is not None:
        known = store.client.get_run(run.id).data.tags
        return {name: known[name] for name in CODE_TAGS}
    if made_here(folder, worktree()):
        code = code_identity()
        return {name: str(getattr(code, name)) for name in CODE_TAGS}
    return dict.fromkeys(CODE_TAGS, UNKNOWN)


def _create_version(
    store: Store,
    name: str,
    folder: Path,
    identity: str,
    run: Run,
    data: DataIdentity,
    card: Mapping[str, Any],
    metrics: Mapping[str, Any],
    given: Mapping[str, str],
) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    tags = {
        "model_sha256": identity,
        "system": card["system"],
        "elements": card.get("elements", ""),
        "data_path": data.path,
        "data_md5": data.md5,
        "glass_ml_version": __version__,
        **{f"metric/{k}": f"{v:.6g}" for k, v in numbers(metrics).items()},
        # A surrogate has been evaluated when it comes: on folds that its networks had not seen.
        **{f"evaluation/held-out/{k}": f"{v:.6g}" for k, v in numbers(card.get("held_out", {}).get("all", {})).items()},
    }
    tags = {k: str(v) for k, v in {**tags, **given}.items()}
    model_id = _log_model(store, name, folder, identity, run, tags)
    try:
        what = (
            f"Spectra of {card['system']}."
            if model_type(card) == "surrogate"
            else f"Prior of {card['system']} structures."
        )
        store.client.create_registered_model(name, description=what)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    with store.current():
        version = store.client.create_model_version(
            name, f"models:/{model_id}", run.id, tags, description=page_text(card_text(card, tags)), model_id=model_id
        )
    store.client.set_registered_model_alias(name, "candidate", version.version)
    return version


def _log_model(store: Store, name: str, folder: Path, identity: str, run: Run, tags: dict[str, str]) -> str:
    """Id of the logged model with this content; one left by a process that died before registering it is used."""
    from mlflow import pyfunc
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    client, experiment = store.client, store.experiments["priors"]
    for left in client.search_logged_models([experiment], f"tags.model_sha256 = '{identity}'"):
        if left.status == "READY":
            return left.model_id
        client.delete_logged_model(left.model_id)
    card = read_card(folder)
    served = importlib.import_module(f"glass_ml.tracking.{SERVED[model_type(card)]}")
    shown = {k: v for k, v in card.items() if k != "references"}  # a record of hundreds of numbers
    params = {k: str(v)[:500] for k, v in flatten(shown, ".").items()}
    model = client.create_logged_model(
        experiment, name=name, source_run_id=run.id, tags=tags, params=params, model_type=model_type(card)
    )
    with tempfile.TemporaryDirectory() as temporary:
        checkpoint, package = Path(temporary) / "prior", Path(temporary) / "model"
        checkpoint.mkdir()
        for file in MODEL_FILES:
            shutil.copy2(folder / file, checkpoint / file)
        pyfunc.save_model(
            package,
            python_model=str(served.__file__),
            artifacts={"prior": str(checkpoint)},
            signature=served.SIGNATURE,
            input_example=served.EXAMPLE,
            pip_requirements=[f"glass_ml=={__version__}"],
            mlflow_model=Model(
                artifact_path=model.artifact_location,
                model_uuid=model.model_id,
                run_id=run.id,
                model_id=model.model_id,
                metadata={"model_sha256": identity},
            ),
        )
        (package / CARD_FILE).write_text(card_text(card, tags), encoding="utf-8")
        client.log_model_artifacts(model.model_id, str(package))
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run.id, models=[LoggedModelOutput(model.model_id, step=0)])
    return model.model_id


def resolve_model(model: str | Path | None, system: str | None = None, store: Store | None = None) -> ResolvedModel:
    """The checkpoint folder that a URI, a folder or a system's name stands for.

    Args:
        model: `models:/glass-a-Si@production`, `models:/glass-a-Si/3`, a checkpoint folder, a system's name, or None
            for the prior of `system` in the project's `models`.
        system: used when `model` is None.
        store: default: the project's, opened only for a `models:/` URI.

    Raises:
        InputError: there is no such model, or its files are gone or changed.
    """
    text = str(system if model is None else model)
    if text.startswith("models:"):
        return _resolve_registered(text, store or open_store())
    root = worktree()
    places = [root / "models" / text] if model is None else [Path(text), root / text, root / "models" / text]
    folder = next((p for p in places if (p / CARD).is_file()), None)
    if folder is None:
        mend = "a name is found in its project, after 'dvc pull' or 'glass-ml train'; elsewhere give the folder"
        raise InputError(f"no prior '{text}'", str(places[-1]), f"{mend}, or a URI of 'glass-ml models list'")
    folder = folder.resolve()
    uri = folder.relative_to(root).as_posix() if folder.is_relative_to(root) else str(folder)
    return ResolvedModel(folder, model_sha256(folder), uri, NAME_PREFIX + _card_system(folder), None)


def _card_system(folder: Path) -> str:
    try:
        return str(read_card(folder)["system"])
    except (OSError, ValueError, KeyError, TypeError):
        return folder.name  # whoever loads the prior says what is wrong with it


def _resolve_registered(uri: str, store: Store) -> ResolvedModel:
    version = registered_version(uri, store)
    with reached(store.uri):
        folder = version_folder(store, version)
    if folder is None:
        raise InputError(
            f"version {version.version} of {version.name} is registered, but its files are gone or changed",
            uri,
            "'dvc pull' or train again, or choose another with 'glass-ml models list'",
        )
    shown, identity = f"models:/{version.name}/{version.version}", version.tags["model_sha256"]
    return ResolvedModel(folder, identity, shown, version.name, int(version.version))
