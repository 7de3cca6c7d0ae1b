"""The records made again from what they are an index of: models, structure files, evaluations and DVC's history."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from glass_ml.errors import InputError
from glass_ml.provenance.data import content_md5
from glass_ml.provenance.dvc_store import fetch_model, made_here, model_history
from glass_ml.provenance.project import worktree
from glass_ml.provenance.results import find_files, lineage_of
from glass_ml.stages.cross_validation import parent_metrics
from glass_ml.tracking.cross_validation import RESULT, log_cross_validation
from glass_ml.tracking.evaluations import FILE as EVALUATION
from glass_ml.tracking.evaluations import evidence, read_evaluation
from glass_ml.tracking.inversions import FILES, log_evaluation, log_inversion
from glass_ml.tracking.model_places import is_checkpoint
from glass_ml.tracking.reach import reached
from glass_ml.tracking.registry import aliases, register_prior, versions
from glass_ml.tracking.store import Store, open_store

UNKNOWABLE = (
    "promotions and their history, times and the curves of trainings were only in the database: promote again what is "
    "in use; the newest version of a model that had no candidate is it"
)


@dataclass(frozen=True)
class Rebuilt:
    """What came of one thing that was found.

    Attributes:
        kind: "model", "inversion", "evaluation" or "cross-validation".
        source: the file, or version in DVC, that it was read from.
        status: "recorded", or "lost" where it could not be.
        detail: what it is recorded as, or why it is not.
    """

    kind: str
    source: str
    status: Literal["recorded", "lost"]
    detail: str


def rebuild(paths: Sequence[Path] = ()) -> Iterator[Rebuilt]:
    """Record every model and result of the project that is not recorded; what is there already stays as it is.

    Models come in the order in which commits name them, then those in `models`; the candidate of a model that has one
    stays. Results are searched for below the project, or below `paths`.

    Raises:
        InputError: the store cannot be opened.
    """
    root, store = worktree(), open_store()
    with reached(store.uri):
        names = {version.name for version in versions(store)}
        candidates = {name: aliases(store, name).get("candidate") for name in names}
        yield from _models(root, store)
        for name, number in candidates.items():  # what is registered above may be older
            if number is not None:
                store.client.set_registered_model_alias(name, "candidate", str(number))
        for place in paths or (root,):
            yield from _results(place.resolve(), store)


def _models(root: Path, store: Store) -> Iterator[Rebuilt]:
    for model in model_history(root):
        source = f"{model.path} of commit {model.commit[:12]}"
        with tempfile.TemporaryDirectory() as temporary:
            if not fetch_model(root, model, Path(temporary)):
                yield Rebuilt("model", source, "lost", "neither DVC's cache nor its remote has its files")
                continue
            tags = {"origin": f"rebuilt from dvc.lock of commit {model.commit}"}
            here = root / model.path
            present = content_md5(here, root) == model.md5 and made_here(here, root)
            if not present:
                tags["git_commit"] = model.commit
            register = partial(_register, here if present else Path(temporary), here.name, tags, store)
            yield _attempt("model", source, register)
    for folder in sorted(p for p in (root / "models").glob("*") if is_checkpoint(p)):
        yield _attempt("model", f"models/{folder.name}", partial(_register, folder, folder.name, {}, store))


def _register(folder: Path, system: str, tags: dict[str, str], store: Store) -> str:
    return register_prior(folder, system=system, tags=tags, store=store).uri


def _results(place: Path, store: Store) -> Iterator[Rebuilt]:
    recorders: dict[str, tuple[str, Callable[[Path], str]]] = {
        FILES[0]: ("inversion", lambda file: log_inversion(file.parent, lineage_of(file), store=store)),
        EVALUATION: (
            "evaluation",
            lambda f: log_evaluation(f.parent, evidence(read_evaluation(f.parent)), store=store),
        ),
        RESULT: ("cross-validation", lambda f: log_cross_validation(f.parent, parent_metrics(_json(f)), store=store)),
    }
    for name, (kind, recorder) in recorders.items():
        for file in find_files(place, (name,)):
            if name != RESULT and lineage_of(file.parent / FILES[0]) is None:
                continue  # structures of other origin
            yield _attempt(kind, str(file), partial(recorder, file))


def _json(file: Path) -> dict:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"unreadable: {error}", str(file)) from None


def _attempt(kind: str, source: str, recorder: Callable[[], str]) -> Rebuilt:
    try:
        return Rebuilt(kind, source, "recorded", recorder())
    except (InputError, KeyError, TypeError, ValueError) as error:
        return Rebuilt(kind, source, "lost", " ".join(str(error).split()))
