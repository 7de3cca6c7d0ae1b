"""Verification of a structure file: is what it says about itself still true, and of what is here?

Three answers. "ok": the thing is here and is the recorded one. "changed": a thing is where the recorded one should be,
and differs. "not verified": there is nothing here to compare with; that is never "ok".
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from ase import Atoms

from glass_ml.errors import InputError
from glass_ml.files import sha256_file, sha256_text
from glass_ml.provenance.data import content_md5, folder_entries, recorded_data
from glass_ml.provenance.dvc_store import listing
from glass_ml.provenance.lineage import (
    MODEL_FILES,
    PREFIX,
    Lineage,
    Stamp,
    lineage_sha256,
    model_sha256,
    read_stamp,
    structure_sha256,
)
from glass_ml.provenance.project import (
    PACKAGE,
    UNKNOWN,
    code_sha256,
    code_sha256_at,
    commit_exists,
    is_project,
    worktree,
)
from glass_ml.structures.io import read_frames
from glass_ml.tracking.model_places import is_checkpoint, version_places
from glass_ml.tracking.registry import find_version, versions
from glass_ml.tracking.store import open_store, store_exists

OK: Literal["ok"] = "ok"
CHANGED: Literal["changed"] = "changed"
NOT_VERIFIED: Literal["not verified"] = "not verified"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what: "structure", "duplicates", "lineage", "params", "seed", "target", "measurement NAME", "model",
            "data", "git commit" or "code".
        status: "ok", "changed" or "not verified".
        detail: what was found, for people.
        frames: the frames of the file that it concerns, from 0.
    """

    name: str
    status: Literal["ok", "changed", "not verified"]
    detail: str
    frames: tuple[int, ...]


def find_project(path: Path | str) -> Path | None:
    """The project to verify against: around the current folder, else around the file, else around this code."""
    places = (Path.cwd(), Path(path).resolve().parent, PACKAGE)
    return next((root for root in map(worktree, places) if is_project(root)), None)


def verify(path: Path | str, project: Path | str | None = None) -> list[Check]:
    """Check every frame of a structure file, and everything that its lineage names.

    Args:
        path: structures that `invert` has written, or a copy of them.
        project: where models, data, measurements and code are looked for (default: `find_project`).

    Raises:
        InputError: the file cannot be read, or no frame carries a lineage.
    """
    frames = read_frames(path)
    if not any(key.startswith(PREFIX) for atoms in frames for key in atoms.info):
        raise InputError("no frame carries a glass_ml lineage", str(path), "only structures of 'glass-ml invert' do")
    root = worktree(project) if project else find_project(path)
    stamps, broken = {}, {}
    for k, atoms in enumerate(frames):
        try:
            stamps[k] = read_stamp(atoms)
            if lineage_sha256(stamps[k]) != stamps[k].lineage_sha256:
                broken[k] = "a field is not as it was written"
        except InputError as error:
            broken[k] = error.what
    moved = {
        k: f"replica {found.replica}: an atom, its element or the cell is not as it was made"
        for k, found in stamps.items()
        if structure_sha256(frames[k]) != found.structure_sha256
    }
    checks = [
        _every("structure", tuple(stamps), moved, "as made"),
        _every("lineage", tuple(range(len(frames))), broken, "as written"),
        *_duplicates(frames, stamps),
    ]
    order = sorted(stamps, key=lambda k: repr(stamps[k].lineage))
    for _, group in groupby(order, key=lambda k: stamps[k].lineage):
        members = tuple(group)
        shared = _shared(stamps[members[0]].lineage, root, Path(path).resolve().parent)
        checks += [Check(*finding, members) for finding in shared]
    return checks


def _every(name: str, frames: tuple[int, ...], wrong: dict[int, str], well: str) -> Check:
    """One answer about all frames; where it is bad, it names the bad ones."""
    if not wrong:
        return Check(name, OK, f"{len(frames)} of {len(frames)} {well}", frames)
    some = "; ".join(f"frame {k}: {text}" for k, text in list(wrong.items())[:5])
    more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    return Check(name, CHANGED, some + more, tuple(wrong))


def _duplicates(frames: list[Atoms], stamps: dict[int, Stamp]) -> Iterator[Check]:
    seen: dict[object, list[int]] = {}
    for k, found in stamps.items():
        for mark in (structure_sha256(frames[k]), (found.lineage, found.replica)):
            seen.setdefault(mark, []).append(k)
    twice = sorted({tuple(ks) for ks in seen.values() if len(ks) > 1})
    for ks in twice:
        yield Check("duplicates", CHANGED, f"frames {', '.join(map(str, ks))} are the same structure or replica", ks)
    if not twice and stamps:
        yield Check("duplicates", OK, "no structure and no replica is there twice", tuple(stamps))


Finding = tuple[str, Literal["ok", "changed", "not verified"], str]


def _shared(lineage: Lineage, root: Path | None, beside: Path) -> Iterator[Finding]:
    record = beside / "lineage.json"
    if record.is_file():
        same = _json(record) == asdict(lineage)
        yield "lineage.json", OK if same else CHANGED, "the same record" if same else "differs from the frames' lineage"
    same = sha256_text(lineage.params) == lineage.params_sha256
    yield "params", OK if same else CHANGED, lineage.params_sha256[:12] if same else "not the recorded checksum"
    yield "seed", OK, str(lineage.seed)
    yield _target(lineage, root, beside)
    yield from _measurements(lineage, root, beside)
    yield _model(lineage, root)
    yield _data(lineage, root)
    yield from _code(lineage, root)


def _json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _file(name: str, wanted: str, places: list[Path]) -> Finding:
    """The first of `places` that exists decides."""
    place = next((p for p in places if p.is_file()), None)
    if place is None:
        return name, NOT_VERIFIED, "no such file here"
    return (name, OK, str(place)) if sha256_file(place) == wanted else (name, CHANGED, f"{place} has changed")


def _target(lineage: Lineage, root: Path | None, beside: Path) -> Finding:
    # A target lies beside the structures it led to, or beside the data it names.
    name, wanted = "target", lineage.target_sha256
    if (beside / "target.yaml").is_file():
        return _file(name, wanted, [beside / "target.yaml"])
    folders = {(root or beside) / file.parent for _, file, _ in _entries(lineage) or ()}
    found = [f for folder in sorted(folders) for f in sorted(folder.glob("*.y*ml")) if sha256_file(f) == wanted]
    return (name, OK, str(found[0])) if found else (name, NOT_VERIFIED, "no such file here")


def _entries(lineage: Lineage) -> list[tuple[str, Path, str]] | None:
    try:
        return [(e["name"], Path(e["file"]), e["sha256"]) for e in json.loads(lineage.measurements)]
    except (ValueError, TypeError, KeyError):
        return None


def _measurements(lineage: Lineage, root: Path | None, beside: Path) -> Iterator[Finding]:
    entries = _entries(lineage)
    if entries is None:
        yield "measurements", CHANGED, "the list of measurements cannot be read"
        return
    for name, file, wanted in entries:
        recorded = [file] if file.is_absolute() else [root / file] if root else []
        yield _file(f"measurement {name}", wanted, [*recorded, beside / file.name, PACKAGE.parent / file])


def _model(lineage: Lineage, root: Path | None) -> Finding:
    name, wanted = "model", lineage.model_sha256
    if root is None:
        return name, NOT_VERIFIED, "no project here"
    registered = lineage.model_uri.startswith("models:/")
    named = [] if registered or not lineage.model_uri else [root / lineage.model_uri]
    places = [p for p in dict.fromkeys([*named, root / "models" / lineage.system]) if is_checkpoint(p)]
    intact = [p for p in places if model_sha256(p) == wanted]
    other = [p for p in places if p not in intact]
    if (registered or other or not intact) and store_exists(root):
        try:
            store = open_store(root)
        except InputError as error:
            return name, CHANGED if other else NOT_VERIFIED, f"the registry cannot be read: {error.what}"
        # A registered version in the place of the recorded one is another model, not a damaged one.
        known = {v.tags["model_sha256"] for v in versions(store)}
        other = [p for p in other if model_sha256(p) not in known]
        version = find_version(store, None, wanted)
        for number, place in enumerate(version_places(store, version) if version else ()):
            if number and intact:
                break
            if is_checkpoint(place) and place not in places:
                same = model_sha256(place) == wanted
                if same or place.is_relative_to(store.folder):  # others may be of another project
                    (intact if same else other).append(place)
    if other:
        return name, CHANGED, "; ".join(_difference(p, intact) for p in other)
    if intact:
        return name, OK, str(intact[0])
    return name, NOT_VERIFIED, f"no prior with this checksum in {root / 'models'} or in the registry"


def _difference(place: Path, intact: list[Path]) -> str:
    if not intact:
        return f"{place} is not the recorded prior"
    files = [f for f in MODEL_FILES if sha256_file(place / f) != sha256_file(intact[0] / f)]
    return f"{place}: {' and '.join(files)} changed (intact: {intact[0]})"


def _data(lineage: Lineage, root: Path | None) -> Finding:
    name, wanted = "data", lineage.data_md5
    if not wanted:
        return name, NOT_VERIFIED, "the prior does not say what it was trained on"
    if root is None:
        return name, NOT_VERIFIED, "no project here"
    try:
        recorded = recorded_data(lineage.data_path, root)
    except InputError as error:
        return name, CHANGED, str(error)
    path = root / lineage.data_path
    if recorded and recorded.path == lineage.data_path and recorded.md5 != wanted:
        return name, CHANGED, f"{path}.dvc names another version than the recorded one"
    if not path.exists():
        return name, NOT_VERIFIED, f"{path} is not here"
    if content_md5(path, root) == wanted:
        return name, OK, f"{path} ({wanted})"
    return name, CHANGED, f"{path} has changed" + _changed_files(path, root, wanted)


def _changed_files(folder: Path, root: Path, wanted: str) -> str:
    """Which files of a folder differ from DVC's listing of it, where DVC still has that."""
    entries = listing(root, wanted)
    if entries is None or not folder.is_dir():
        return ""
    then = {(e["relpath"], e["md5"]) for e in entries}
    now = {(e["relpath"], e["md5"]) for e in folder_entries(folder, root)}
    names = sorted({file for file, _ in then ^ now})
    return f": {', '.join(names[:5])}" + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _code(lineage: Lineage, root: Path | None) -> Iterator[Finding]:
    commit, name = lineage.git_commit, "git commit"
    reachable = root is not None and commit != UNKNOWN and commit_exists(root, commit)
    note = ", with uncommitted changes" if lineage.git_dirty else ""
    if reachable:
        yield name, OK, f"{commit[:12]}{note}"
    elif commit == UNKNOWN:
        yield name, NOT_VERIFIED, "made outside git"
    else:
        yield name, NOT_VERIFIED, f"{commit[:12]}{note}: not in a repository here"
    if code_sha256() == lineage.code_sha256:
        yield "code", OK, "the code here"
        return
    committed = code_sha256_at(root, commit) if root is not None and reachable else None
    if committed == lineage.code_sha256:
        yield "code", OK, "as committed; the code here is another version"
    elif committed is not None and not lineage.git_dirty:
        yield "code", CHANGED, f"the package in commit {commit[:12]} is not the recorded code"
    else:
        yield "code", NOT_VERIFIED, "the recorded code is neither here nor in a commit"


def lineages(path: Path | str) -> list[Lineage]:
    """The different lineages in a structure file, in the order of its frames; broken ones are left out."""
    found: dict[Lineage, None] = {}
    for atoms in read_frames(path):
        try:
            found.setdefault(read_stamp(atoms).lineage)
        except InputError:
            continue
    return list(found)
