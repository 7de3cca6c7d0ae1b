"""Find again, by checksum, what a lineage names: files in their present places or in git and DVC's history; models."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from glass_ml.errors import InputError
from glass_ml.files import sha256_file
from glass_ml.provenance.data import fetch_file, fetch_model, model_history
from glass_ml.provenance.lineage import Lineage
from glass_ml.provenance.models import (
    CARD,
    WEIGHTS,
    Records,
    RecordsAway,
    is_checkpoint,
    model_sha256,
    registered_folder,
)
from glass_ml.provenance.project import PACKAGE, find_files


def recall_model(lineage: Lineage, root: Path, folder: Path, records: Records) -> Path:
    """The checkpoint folder of the recorded model: a registered or present one, else what DVC's history has.

    Args:
        lineage: names the model.
        root: the project.
        folder: an empty folder that takes what has to be fetched.
        records: the registry.

    Raises:
        InputError: no model of this checksum can be found.
    """
    wanted = lineage.model_sha256
    named = [] if lineage.model_uri.startswith("models:") else [root / lineage.model_uri]
    for place in [*named, *sorted((root / "models").glob("*"))]:
        if is_checkpoint(place) and model_sha256(place) == wanted:
            return place
    try:
        if found := registered_folder(records, wanted):
            return found
    except RecordsAway as error:
        _without(error)
    for model in reversed(model_history(root)):
        draft = folder / model.md5
        draft.mkdir(parents=True)
        if fetch_model(root, model, draft) and model_sha256(draft) == wanted:
            return draft
        shutil.rmtree(draft)
    raise InputError("the recorded model is nowhere", f"sha256 {wanted[:12]}", "'dvc fetch --all-commits' may bring it")


def _without(error: RecordsAway) -> None:
    print(f"without its records: {error}", file=sys.stderr)


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

    def right(place: Path) -> bool:
        whole = file.name != WEIGHTS or place.with_name(CARD).is_file()
        return place.is_file() and whole and sha256_file(place) == sha256

    places = [beside / file.name, beside / file.parent.name / file.name, root / file, PACKAGE.parent / file]
    found = next((place for place in places if right(place)), None)
    if found or file.is_absolute():
        return found
    if file.name == WEIGHTS:
        fetch_file(root, lineage.git_commit, file.with_name(CARD).as_posix(), folder / sha256)
    fetched = fetch_file(root, lineage.git_commit, file.as_posix(), folder / sha256)
    return fetched if fetched and right(fetched) else None


def recall_target(lineage: Lineage, root: Path, beside: Path, folder: Path, records: Records) -> Path:
    """The recorded TARGET.yaml: beside the structures or the data, anywhere in the project, in the registry, or in DVC.

    Arguments as `recall_file` and `recall_model`.

    Raises:
        InputError: no file of this checksum can be found.
    """
    for place in _targets(lineage, root, beside, folder, records):
        if sha256_file(place) == lineage.target_sha256:
            return place
    what, mend = "the recorded target is nowhere", "put its target.yaml beside the structures"
    raise InputError(what, f"sha256 {lineage.target_sha256[:12]}", mend)


def _targets(lineage: Lineage, root: Path, beside: Path, folder: Path, records: Records) -> Iterator[Path]:
    yield from sorted(beside.glob("*.y*ml"))
    yield from find_files(root, suffix=".yaml")
    yield from find_files(root, suffix=".yml")
    try:
        yield from records.targets(lineage.target_sha256, folder)
    except RecordsAway as error:
        _without(error)
    for parent in dict.fromkeys(Path(m.file).parent for m in lineage.measurements):
        if not parent.is_absolute():
            file = (parent / "target.yaml").as_posix()
            if found := recall_file(file, lineage.target_sha256, lineage, root, beside, folder):
                yield found
