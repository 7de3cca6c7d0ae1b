"""Verification of a structure file: is what it says about itself still true, and of what is here?

Three answers. "ok": the thing is here and is the recorded one. "changed": a thing is where the recorded one should be,
and differs. "not verified": there is nothing here to compare with; that is never "ok".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Literal

from ase import Atoms
from ase.io.extxyz import key_val_str_to_dict

from glass_ml.errors import InputError
from glass_ml.files import sha256_file, sha256_text
from glass_ml.provenance.data import content_md5, folder_entries, listing, made_here, recorded_data
from glass_ml.provenance.lineage import (
    PREFIX,
    Lineage,
    Stamp,
    canonical_json,
    lineage_sha256,
    load_lineage,
    read_lineage,
    read_stamp,
    structure_sha256,
)
from glass_ml.provenance.models import MODEL_FILES, Records, is_checkpoint, model_sha256
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


def verify(path: Path | str, project: Path | str | None = None, records: Records | None = None) -> list[Check]:
    """Check every frame of a structure file, and everything that its lineage names.

    Args:
        path: structures that `invert` has written, or a copy of them.
        project: where models, data, measurements and code are looked for (default: `find_project`).
        records: its registry, which may know where a model is.

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
        shared = _shared(stamps[members[0]].lineage, root, Path(path).resolve().parent, records or Records())
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


def _shared(lineage: Lineage, root: Path | None, beside: Path, records: Records) -> Iterator[Finding]:
    if (beside / "lineage.json").is_file():
        same = _recorded(beside) == lineage
        yield "lineage.json", OK if same else CHANGED, "the same record" if same else "differs from the frames' lineage"
    same = sha256_text(canonical_json(lineage.params)) == lineage.params_sha256
    yield "params", OK if same else CHANGED, lineage.params_sha256[:12] if same else "not the recorded checksum"
    yield "seed", OK, str(lineage.seed)
    yield _target(lineage, root, beside)
    yield from _measurements(lineage, root, beside)
    yield _model(lineage, root, records)
    yield _data(lineage, root)
    yield from _code(lineage, root)


def _recorded(folder: Path) -> Lineage | None:
    try:
        return load_lineage(folder)
    except InputError:
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
    folders = {(root or beside) / Path(m.file).parent for m in lineage.measurements}
    found = [f for folder in sorted(folders) for f in sorted(folder.glob("*.y*ml")) if sha256_file(f) == wanted]
    return (name, OK, str(found[0])) if found else (name, NOT_VERIFIED, "no such file here")


def _measurements(lineage: Lineage, root: Path | None, beside: Path) -> Iterator[Finding]:
    for m in lineage.measurements:
        file = Path(m.file)
        recorded = [file] if file.is_absolute() else [root / file] if root else []
        yield _file(f"measurement {m.label}", m.sha256, [*recorded, beside / file.name, PACKAGE.parent / file])


def _model(lineage: Lineage, root: Path | None, records: Records) -> Finding:
    name, wanted = "model", lineage.model_sha256
    if root is None:
        return name, NOT_VERIFIED, "no project here"
    registered = lineage.model_uri.startswith("models:/")
    named = [] if registered or not lineage.model_uri else [root / lineage.model_uri]
    places = [p for p in dict.fromkeys([*named, root / "models" / lineage.system]) if is_checkpoint(p)]
    intact = [p for p in places if model_sha256(p) == wanted]
    other = [p for p in places if p not in intact]
    # What a stage of the project has made is the prior of today, not a damaged one.
    other = [p for p in other if not made_here(p, root)]
    if registered or other or not intact:
        try:
            # A registered version in the place of the recorded one is another model, not a damaged one.
            known = {model.sha256 for model in records.models()}
            other = [p for p in other if model_sha256(p) not in known]
            for number, place in enumerate(records.places(wanted)):
                if number and intact:
                    break
                if is_checkpoint(place) and place not in places:
                    same = model_sha256(place) == wanted
                    if same or (
                        records.folder and place.is_relative_to(records.folder)
                    ):  # others may be of another project
                        (intact if same else other).append(place)
        except InputError as error:
            return name, CHANGED if other else NOT_VERIFIED, f"the registry cannot be read: {error.what}"
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
    if not path.resolve().is_relative_to(root):
        return name, NOT_VERIFIED, f"{lineage.data_path} is outside the project"
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
    """The different lineages in a structure file of any format, in its order; broken ones are left out."""
    found: dict[Lineage, None] = {}
    for atoms in read_frames(path):
        with suppress(InputError):
            found.setdefault(read_lineage(atoms))
    return list(found)


def lineages_of(path: Path) -> Iterator[Lineage]:
    """The different lineages of an extended-XYZ file, in the order of its frames; broken ones are left out.

    Only the comment lines are understood, so that thousands of files are read in no time. Frames of other origin give
    none, and a damaged file ends where the damage is.
    """
    seen: set[Lineage] = set()
    try:
        with path.open(encoding="utf-8") as stream:
            while count := stream.readline().strip():
                comment = stream.readline()
                next(islice(stream, int(count) - 1, int(count)), None)  # past the atoms
                if PREFIX not in comment:
                    continue
                with suppress(InputError):
                    lineage = read_lineage(Atoms(info=key_val_str_to_dict(comment)))
                    if lineage not in seen:
                        seen.add(lineage)
                        yield lineage
    except (OSError, ValueError):
        return


def lineage_of(path: Path) -> Lineage | None:
    """The lineage of a structure file, as its first frame with one carries it; None for structures of other origin."""
    return next(lineages_of(path), None)
