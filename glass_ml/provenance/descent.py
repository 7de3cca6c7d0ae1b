"""What descends from data or a model: the graph of a project, out of its registry, its files and DVC's history."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import networkx as nx

from glass_ml.errors import InputError
from glass_ml.files import sha256_file
from glass_ml.provenance.data import cached, content_md5, entries_md5, folders_named, listing, model_history
from glass_ml.provenance.graph import add, title
from glass_ml.provenance.lineage import Lineage
from glass_ml.provenance.models import (
    CARD,
    MODEL_FILES,
    WEIGHTS,
    Measured,
    Records,
    RegisteredModel,
    checkpoint_sha256,
    is_checkpoint,
    model_sha256,
)
from glass_ml.provenance.project import find_files
from glass_ml.provenance.verify import lineages_of

SHORTEST = 6
"""Digits of a checksum that name it at least."""


def project_graph(root: Path, records: Records) -> nx.DiGraph:
    """Everything that is known to have been made of something else.

    Args:
        root: the project; structure files anywhere below it count.
        records: its registry.

    Raises:
        RecordsAway: the registry does not answer.
    """
    graph, checkpoints = nx.DiGraph(), list(_checkpoints(root))
    weights = {checksum: model.sha256 for checksum, model in reversed(checkpoints)}
    for version in records.models():
        _add_model(graph, version)
    for result in records.results():
        key = add(graph, result.kind, result.identity, result.name, **result.facts)
        _add_measurements(graph, result.measurements, key, weights)
        reader = key  # a sweep has read its data itself; those of an inversion are of its model
        if result.model:
            made_by = _add_model(graph, result.model)
            graph.add_edge(made_by, key)
            reader = made_by if result.kind == "structures" else key
        _add_data(graph, result.data_path, result.data_md5, reader)
    for _, model in checkpoints:
        _add_model(graph, model)
    for file in find_files(root, suffix=".extxyz"):
        if found := list(lineages_of(file)):
            key = add(graph, "structures", sha256_file(file), file.relative_to(root).as_posix())
            for lineage in found:
                add_lineage(graph, lineage, key, weights)
    return graph


def add_lineage(graph: nx.DiGraph, lineage: Lineage, structures: str, weights: dict[str, str] | None = None) -> None:
    """Add what a lineage says that structures were made of.

    Args:
        graph: the graph.
        lineage: their lineage, or one of several.
        structures: their key.
        weights: SHA-256 of the weights of surrogates -> `model_sha256`, where these are known.
    """
    model = add(graph, "model", lineage.model_sha256, lineage.model_uri or lineage.model_name)
    _add_data(graph, lineage.data_path, lineage.data_md5, model)
    graph.add_edge(model, structures)
    _add_measurements(graph, lineage.measurements, structures, weights or {})
    graph.nodes[structures]["facts"].setdefault("seed", str(lineage.seed))


def _add_model(graph: nx.DiGraph, model: RegisteredModel) -> str:
    key = add(graph, "model", model.sha256, model.uri, **model.facts)
    _add_data(graph, model.data_path, model.data_md5, key)
    return key


def _add_data(graph: nx.DiGraph, path: str, md5: str, result: str) -> None:
    if md5:
        graph.add_edge(add(graph, "data", md5, path), result)


def _add_measurements(
    graph: nx.DiGraph, measurements: Iterable[Measured], structures: str, weights: dict[str, str]
) -> None:
    for m in measurements:
        if m.sha256 in weights:
            graph.add_edge(add(graph, "model", weights[m.sha256]), structures)
        else:
            graph.add_edge(add(graph, "measurement", m.sha256, m.file, measured=m.kind), structures)


def _checkpoints(root: Path) -> Iterator[tuple[str, RegisteredModel]]:
    """Models of the project and those in DVC's caches, behind the checksum of their weights.

    Of one with a damaged card the data are not known.
    """
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
        yield sums[1], RegisteredModel(checkpoint_sha256(*sums), name, path, md5)


def find_data(graph: nx.DiGraph, root: Path, text: str) -> list[str]:
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
    known = sorted(f"{title(n)} ({n['identity'][:12]})" for n in graph.nodes.values() if n["kind"] == "data")
    raise InputError(f"nothing here was made of data '{text}'", mend=f"known: {', '.join(known) or 'none'}")


def find_model(graph: nx.DiGraph, root: Path, text: str, records: Records) -> list[str]:
    """Keys of the model that a registry's URI, a folder, a system or a checksum stands for.

    A URI or folder stands for what is there now; a name that only the records know, for all that have had it.

    Args:
        graph: of the project.
        root: the project.
        text: how it is called.
        records: its registry.

    Raises:
        InputError: there is no such model.
    """
    if found := _matching(graph, ("model",), text):
        return found
    try:
        identity = records.find(text) if text.startswith("models:") else _identity(root, text)
    except InputError:
        if found := [key for key, n in graph.nodes.items() if n["kind"] == "model" and text in n["names"]]:
            return found
        raise
    return [add(graph, "model", identity, text)]


def _identity(root: Path, text: str) -> str:
    places = [root / text, Path(text), root / "models" / text]
    for place in places:
        if is_checkpoint(place):
            return model_sha256(place)
    mend = "run 'dvc pull' or 'glass-ml train', or see 'glass-ml models list'"
    raise InputError(f"no prior '{text}'", str(places[-1]), mend)


def _matching(graph: nx.DiGraph, kinds: Iterable[str], checksum: str) -> list[str]:
    digits = checksum.removesuffix(".dir")
    if len(digits) < SHORTEST:
        return []
    found = [k for k, n in graph.nodes.items() if n["kind"] in kinds and n["identity"].startswith(digits)]
    if len(found) > 1:
        several = ", ".join(key.partition(":")[2] for key in found)
        raise InputError(f"'{checksum}' stands for several: {several}", mend="give more digits")
    return found


def _parts(graph: nx.DiGraph, root: Path, digits: str) -> list[str]:
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
