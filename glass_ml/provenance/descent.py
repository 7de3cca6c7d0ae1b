"""What descends from data or a model: the graph of a project, out of its registry, its files and DVC's history."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from glass_ml.errors import InputError
from glass_ml.files import sha256_file
from glass_ml.provenance.data import content_md5, entries_md5
from glass_ml.provenance.dvc_store import cached, folders_named, listing, model_history
from glass_ml.provenance.graph import Graph
from glass_ml.provenance.lineage import MODEL_FILES, Lineage, checkpoint_sha256, model_sha256
from glass_ml.provenance.results import find_files, lineages_of
from glass_ml.tracking.inversions import IDENTITY
from glass_ml.tracking.model_places import is_checkpoint
from glass_ml.tracking.reach import reached
from glass_ml.tracking.registry import aliases, registered_version, resolve_model, versions
from glass_ml.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run

CARD, WEIGHTS = MODEL_FILES
SHORTEST = 6
"""Digits of a checksum that name it at least."""


def project_graph(root: Path, store: Store | None) -> Graph:
    """Everything that is known to have been made of something else.

    Args:
        root: the project; structure files anywhere below it count.
        store: its registry; None leaves out what only the records know.

    Raises:
        StoreUnreachable: the store does not answer.
    """
    graph, checkpoints = Graph(), list(_checkpoints(root))
    weights = {one.weights: one.sha256 for one in reversed(checkpoints)}
    if store:
        with reached(store.uri):
            _add_records(graph, store, weights)
    for one in checkpoints:
        key = graph.add("model", one.sha256, one.name)
        _add_data(graph, one.data_path, one.data_md5, key)
    for file in find_files(root, suffix=".extxyz"):
        found = list(lineages_of(file))
        if found:
            key = graph.add("structures", sha256_file(file), file.relative_to(root).as_posix())
            for lineage in found:
                add_lineage(graph, lineage, key, weights)
    return graph


def add_lineage(graph: Graph, lineage: Lineage, structures: str, weights: dict[str, str] | None = None) -> None:
    """Add what a lineage says that structures were made of.

    Args:
        graph: the graph.
        lineage: their lineage, or one of several.
        structures: their key.
        weights: SHA-256 of the weights of surrogates -> `model_sha256`, where these are known.
    """
    model = graph.add("model", lineage.model_sha256, lineage.model_uri or lineage.model_name)
    _add_data(graph, lineage.data_path, lineage.data_md5, model)
    graph.link(model, structures)
    _add_measurements(graph, lineage.measurements, structures, weights or {})
    graph.nodes[structures].facts.setdefault("seed", str(lineage.seed))


def _add_data(graph: Graph, path: str, md5: str, result: str) -> None:
    if md5:
        graph.link(graph.add("data", md5, path), result)


def _add_measurements(graph: Graph, text: str, structures: str, weights: dict[str, str]) -> None:
    try:
        entries = [(e["file"], e["sha256"], e["kind"]) for e in json.loads(text)]
    except (ValueError, TypeError, KeyError):  # longer than a tag of MLflow: the file says it
        return
    for file, sha256, kind in entries:
        if sha256 in weights:
            graph.link(graph.add("model", weights[sha256]), structures)
        else:
            graph.link(graph.add("measurement", sha256, file, measured=kind), structures)


def _add_records(graph: Graph, store: Store, weights: dict[str, str]) -> None:
    holders: dict[str, dict[str, int]] = {}
    for version in versions(store):
        tags, name = version.tags, version.name
        held = [a for a, v in holders.setdefault(name, aliases(store, name)).items() if v == int(version.version)]
        uri, since = f"models:/{name}/{version.version}", _time(version.creation_timestamp)
        model = graph.add("model", tags["model_sha256"], uri, alias=" and ".join(sorted(held)), registered=since)
        _add_data(graph, tags.get("data_path", ""), tags.get("data_md5", ""), model)
    for run in _runs(store, ("inversions", "tuning")):
        tags, since = run.data.tags, _time(run.info.start_time)
        named = {"run": f"'{run.info.run_name}'", "recorded": since}
        if IDENTITY in tags:
            key = graph.add("structures", tags[IDENTITY], "", **named)
            _add_measurements(graph, tags.get("measurements", ""), key, weights)
        else:
            trials = str(int(run.data.metrics.get("trials", 0))) if "trials" in run.data.metrics else ""
            key = graph.add("sweep", tags["study"], run.info.run_name, trials=trials, recorded=since)
        reader = key  # a sweep has read its data itself; those of an inversion are of its model
        if "model_sha256" in tags:
            model = graph.add("model", tags["model_sha256"], tags.get("model_uri", ""))
            graph.link(model, key)
            reader = model if IDENTITY in tags else key
        _add_data(graph, tags.get("data_path", ""), tags.get("data_md5", ""), reader)


def _runs(store: Store, experiments: Iterable[str]) -> Iterator[Run]:
    """Finished inversions and sweeps."""
    for experiment in experiments:
        token = None
        while True:
            page = store.client.search_runs(
                [store.experiments[experiment]], "attributes.status = 'FINISHED'", max_results=5000,
                order_by=["attributes.start_time ASC"], page_token=token,
            )  # fmt: skip
            yield from (run for run in page if IDENTITY in run.data.tags or "study" in run.data.tags)
            token = page.token
            if not token:
                break


def _time(milliseconds: int | None) -> str:
    return datetime.fromtimestamp((milliseconds or 0) / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


@dataclass(frozen=True)
class _Checkpoint:
    """A model on disk, by its checksums, and what its card says of its data."""

    name: str
    sha256: str
    weights: str
    data_path: str
    data_md5: str


def _checkpoints(root: Path) -> Iterator[_Checkpoint]:
    """Models of the project and those in DVC's caches; of one with a damaged card the data are not known."""
    places = [
        (f"models/{folder.name}", folder / CARD, folder / WEIGHTS)
        for folder in sorted((root / "models").glob("*"))
        if is_checkpoint(folder)
    ]
    for model in model_history(root):
        listed = {e["relpath"]: e["md5"] for e in listing(root, model.md5) or []}
        card, content = (cached(root, listed[name]) if name in listed else None for name in MODEL_FILES)
        if card and content:
            places.append((f"{model.path} of commit {model.commit[:12]}", card, content))
    for name, card, content in places:
        sums = sha256_file(card), sha256_file(content)
        path = md5 = ""
        with suppress(ValueError, AttributeError):
            known = json.loads(card.read_text(encoding="utf-8"))
            path, md5 = str(known.get("data_path", "")), str(known.get("data_md5", ""))
        yield _Checkpoint(name, checkpoint_sha256(*sums), sums[1], path, md5)


def find_data(graph: Graph, root: Path, text: str) -> list[str]:
    """Keys of the data that a path or a checksum stands for.

    Args:
        graph: of the project.
        root: the project.
        text: a folder or file, or at least six digits of the md5 of data or the SHA-256 of a measurement. Data of which
            only parts were used, such as the whole of `data.dvc`, stand for these parts.

    Raises:
        InputError: nothing is known to have been made of them.
    """
    kinds, path = ("data", "measurement"), Path(text)
    path = path if path.exists() else root / text
    sums = [content_md5(path, root)] if path.exists() else [text]
    if path.is_file():
        sums.append(sha256_file(path))
    found = [key for checksum in sums for key in _matching(graph, kinds, checksum)]
    found = found or [key for checksum in sums for key in _parts(graph, root, checksum)]
    if found:
        return found
    known = sorted(f"{n.title} ({n.identity[:12]})" for n in graph.nodes.values() if n.kind == "data")
    raise InputError(f"nothing here was made of data '{text}'", mend=f"known: {', '.join(known) or 'none'}")


def find_model(graph: Graph, root: Path, text: str, store: Store | None) -> list[str]:
    """Keys of the model that a registry's URI, a folder, a system or a checksum stands for.

    A URI or folder stands for what is there now; a name that only the records know, for all that have had it.

    Args:
        graph: of the project.
        root: the project.
        text: how it is called.
        store: its registry, if there is one.

    Raises:
        InputError: there is no such model.
    """
    if found := _matching(graph, ("model",), text):
        return found
    try:
        if text.startswith("models:") and store:
            identity = registered_version(text, store).tags["model_sha256"]
        else:
            places = [place for place in (root / text, root / "models" / text) if is_checkpoint(place)]
            identity = model_sha256(places[0] if places else resolve_model(text, store=store).folder)
    except InputError:
        if found := [key for key, node in graph.nodes.items() if node.kind == "model" and text in node.names]:
            return found
        raise
    return [graph.add("model", identity, text)]


def _matching(graph: Graph, kinds: Iterable[str], checksum: str) -> list[str]:
    digits = checksum.removesuffix(".dir")
    if len(digits) < SHORTEST:
        return []
    found = [k for k, node in graph.nodes.items() if node.kind in kinds and node.identity.startswith(digits)]
    if len(found) > 1:
        several = ", ".join(key.partition(":")[2] for key in found)
        raise InputError(f"'{checksum}' stands for several: {several}", mend="give more digits")
    return found


def _parts(graph: Graph, root: Path, digits: str) -> list[str]:
    """Keys of the folders and files that are known, inside the folders of these digits, as DVC's caches list them."""
    found: dict[str, None] = {}
    for md5 in folders_named(root, digits.removesuffix(".dir")) if len(digits) >= SHORTEST else ():
        folders: dict[str, list[dict[str, str]]] = {}
        for entry in listing(root, md5) or ():
            folder, _, file = entry["relpath"].partition("/")
            folders.setdefault(folder, []).append({**entry, "relpath": file})
        for entries in folders.values():
            inside = entries_md5(entries) if entries[0]["relpath"] else entries[0]["md5"]
            found |= dict.fromkeys(_matching(graph, ("data",), inside))
    return list(found)
