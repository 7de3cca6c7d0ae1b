"""Inversions and their evaluations in MLflow, each there once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glass_ml.errors import InputError
from glass_ml.files import sha256_file
from glass_ml.provenance.data import DataIdentity
from glass_ml.provenance.lineage import Lineage
from glass_ml.tracking.description import refresh_card
from glass_ml.tracking.evaluations import FILE as EVALUATION
from glass_ml.tracking.evaluations import origin, write_evaluation
from glass_ml.tracking.experiments import NOTE
from glass_ml.tracking.headline import inversion_note, inversion_numbers, load
from glass_ml.tracking.mirror import mirror
from glass_ml.tracking.model_places import logged_model_id
from glass_ml.tracking.registry import find_version
from glass_ml.tracking.runs import Run, find_run, numbers, start_run
from glass_ml.tracking.store import Store, open_store

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

IDENTITY = "inversion_sha256"
FILES = ("structures.extxyz", "lineage.json", "spectra.csv", "metrics.json", "target.yaml", "report.html")
VALUES = "values"
"""First part of the names of what is not among the headline metrics: lists of names, sorted, end with them."""
FIGURES = (".png", ".svg", ".pdf")


def load_lineage(folder: Path | str) -> Lineage:
    """The `lineage.json` of an inversion.

    Raises:
        InputError: it is missing or not complete.
    """
    path = Path(folder) / "lineage.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Lineage(**{f.name: content[f.name] for f in fields(Lineage)})
    except FileNotFoundError:
        raise InputError("not an inversion: lineage.json is missing", str(folder), "run 'glass-ml invert'") from None
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"unreadable lineage: {error}", str(path)) from None
    except KeyError as error:
        raise InputError(f"the lineage lacks {error}", str(path)) from None


def log_inversion(
    folder: Path | str,
    lineage: Lineage | None = None,
    *,
    name: str | None = None,
    tags: Mapping[str, Any] | None = None,
    store: Store | None = None,
) -> str:
    """Record a finished inversion as one run: settings, metrics, files, its model and its data as inputs.

    The same structures recorded twice make one run.

    Args:
        folder: what `invert` has written; figures (.png, .svg, .pdf) in it or in its `figures` are kept too.
        lineage: default: its `lineage.json`.
        name: what people see (default: system, folder, version of the model, seed).
        tags: further tags.
        store: default: the project's.

    Returns:
        The run id.

    Raises:
        InputError: the folder holds no inversion, or the store cannot be opened.
    """
    folder = Path(folder)
    lineage = lineage or load_lineage(folder)
    if not (folder / FILES[0]).is_file():
        raise InputError(f"not an inversion: {FILES[0]} is missing", str(folder), "run 'glass-ml invert'")
    identity = sha256_file(folder / FILES[0])
    store = store or open_store()
    with store.lock():
        if known := find_run(store, IDENTITY, identity):
            return known
        version = find_version(store, None, lineage.model_sha256)
        told = (lineage.system, folder.resolve().name, f"v{version.version}" if version else "", f"seed {lineage.seed}")
        record = {k: v for k, v in asdict(lineage).items() if k not in ("params", "measurements", "seed")}
        with start_run(
            stage="invert",
            system=lineage.system,
            name=name or " ".join(word for word in dict.fromkeys(told) if word),
            store=store,
            params={**json.loads(lineage.params), "seed": lineage.seed},
            tags={
                **record,
                "data_version": lineage.data_md5[:8],
                IDENTITY: identity,
                "measurements": lineage.measurements[:5000],
                **(tags or {}),
            },
            key=identity,
            live=False,
        ) as run:
            _inputs(run, lineage, version)
            if metrics := load(folder / "metrics.json"):
                run.log_metrics({**inversion_numbers(metrics), VALUES: _own(metrics)})
                run.set_tags({NOTE: inversion_note(metrics)})
            for path in [folder / file for file in FILES if (folder / file).is_file()]:
                run.log_artifact(path)
            for path in sorted([*folder.glob("*"), *folder.glob("figures/*")]):
                if path.suffix in FIGURES:
                    run.log_artifact(path, "figures")
    mirror(store, run.id)
    return run.id


def _own(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What was found of the structures, without the references that the model's card has."""
    return {key: value for key, value in metrics.items() if key != "references"}


def _inputs(run: Run, lineage: Lineage, version: ModelVersion | None) -> None:
    from mlflow.entities import LoggedModelInput

    if lineage.data_md5:
        run.log_data(DataIdentity(lineage.data_path, lineage.data_md5), f"{lineage.system} training data", "prior")
    for entry in json.loads(lineage.measurements):
        run.log_data(DataIdentity(entry["file"], entry["sha256"]), f"{entry['name']} ({entry['kind']})", entry["use"])
    if version is not None:
        run.set_tags({"model_version": f"{version.name}/{version.version}"})
        if model_id := logged_model_id(version):
            run.store.client.log_inputs(run.id, models=[LoggedModelInput(model_id)])


def log_evaluation(
    folder: Path | str, metrics: Mapping[str, Any], *, target: str | None = None, store: Store | None = None
) -> str:
    """Record the evaluation of an inversion with its run, and as evidence with the version of its prior.

    It takes the place of the one that the version has under this target's name.

    Args:
        folder: the inversion; recorded first if it is not yet.
        metrics: numbers, possibly nested; called `evaluation/<target>/<name>` in the version's tags. The run gets
            those of `evaluation.json`, and what that says of the reference structures stands beside them.
        target: what was inverted (default: the folder's name).
        store: default: the project's.

    Returns:
        The run id of the inversion.

    Raises:
        InputError: as `log_inversion`; or there is no number in `metrics`.
    """
    found = numbers(metrics)
    if not found:
        raise InputError("no number in the evaluation", str(folder))
    store = store or open_store()
    lineage = load_lineage(folder)
    run_id = log_inversion(folder, lineage, store=store)
    run = Run(run_id, store)
    whole = {**load(Path(folder) / "metrics.json"), **load(Path(folder) / EVALUATION)}
    run.log_metrics({**inversion_numbers(whole), VALUES: _own(whole)})
    run.set_tags({NOTE: inversion_note(whole), "evaluated": True})
    with store.lock():
        version = find_version(store, None, lineage.model_sha256)
        if version is not None:
            told = origin(lineage, run_id, whole.get("reference_sha256"))
            write_evaluation(store, version, target or Path(folder).resolve().name, found, told)
            refresh_card(store, version.name, version.version)
    mirror(store, run_id)
    return run_id
