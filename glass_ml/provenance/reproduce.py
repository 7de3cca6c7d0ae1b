"""Structures made again from what their lineage names, by the code of that time, and compared with what they were."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase import Atoms
from ase.geometry import find_mic

from glass_ml.errors import InputError
from glass_ml.files import sha256_text, write_text
from glass_ml.provenance.data import MD5
from glass_ml.provenance.lineage import Lineage, Stamp, canonical_json, lineage_sha256, read_stamp, structure_sha256
from glass_ml.provenance.models import WEIGHTS, Records
from glass_ml.provenance.project import (
    COMMIT,
    PACKAGE,
    UNKNOWN,
    code_sha256,
    code_sha256_at,
    git,
    package_in_repository,
    worktree,
)
from glass_ml.provenance.recall import recall_file, recall_model, recall_target
from glass_ml.structures.io import read_frames

STRUCTURES, TARGET = "structures.extxyz", "target.yaml"
SETTINGS = ("sampling", "n_structures", "n_atoms")
SHA256 = re.compile("[0-9a-f]{64}")
SYSTEM = re.compile(r"[\w+-][\w.+ -]*")


@dataclass(frozen=True)
class Comparison:
    """One structure beside itself, made again.

    Attributes:
        frame: its place in the file, from 0.
        replica: its number in the ensemble.
        identical: whether cell, elements and positions are the same to all 8 decimals.
        displacement: largest distance of an atom from where it was, Å; None where cell or elements differ.
    """

    frame: int
    replica: int
    identical: bool
    displacement: float | None


@dataclass(frozen=True)
class Reproduction:
    """What came of making the structures of one lineage again.

    Attributes:
        lineage: what they say made them.
        again: what made them this time.
        code: where the recorded code was found.
        compared: every frame of that lineage.
        differences: what was not as recorded though it was to be, such as the release of torch.
    """

    lineage: Lineage
    again: Lineage
    code: str
    compared: list[Comparison]
    differences: list[str]

    @property
    def identical(self) -> bool:
        """Whether every structure is, by the recorded settings."""
        same = self.again.params["sampling"] == self.lineage.params["sampling"]
        return same and all(c.identical for c in self.compared)


def reproduce(
    path: Path | str,
    *,
    project: Path | str | None = None,
    out: Path | str | None = None,
    records: Records | None = None,
) -> list[Reproduction]:
    """Make the structures of a file again.

    The recorded commit is checked out in a temporary worktree, which goes afterwards; model, target and measurements
    are found by their checksums, here or in the history of DVC; the settings are those of the lineage. Nothing is
    recorded in MLflow. A record whose own checksum does not fit, or in which a checksum or commit is none, is refused
    before anything runs.

    Args:
        path: structure file with lineage; a single frame of an ensemble will do.
        project: the project (default: the one around the current folder).
        out: keep what is made in this folder, each lineage in a folder of its own if there are several.
        records: the project's registry, which may know model and target.

    Returns:
        One reproduction for every lineage in the file.

    Raises:
        InputError: a frame carries no lineage or a damaged one, or something that it names is nowhere.
    """
    path, root = Path(path), worktree(project)
    frames = read_frames(path)
    stamps = _stamps(path, frames)
    groups: dict[Lineage, list[int]] = {}
    for frame, found in stamps.items():
        groups.setdefault(found.lineage, []).append(frame)
    done = []
    for number, (lineage, members) in enumerate(groups.items()):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(out or Path(scratch) / "again")
            folder = folder / str(number) if len(groups) > 1 else folder
            highest = max(stamps[frame].replica for frame in members)
            source = (root, path.resolve().parent, records or Records())
            code = _make(lineage, *source, Path(scratch), folder, highest)
            made = _stamps(folder / STRUCTURES, again := read_frames(folder / STRUCTURES))
            by_replica = {found.replica: again[frame] for frame, found in made.items()}
            compared = [_compare(frame, frames[frame], stamps[frame].replica, by_replica) for frame in members]
            second = next(iter(made.values())).lineage
            done.append(Reproduction(lineage, second, code, compared, _differences(lineage, second)))
    return done


def _stamps(path: Path, frames: Sequence[Atoms]) -> dict[int, Stamp]:
    found = {}
    for frame, atoms in enumerate(frames):
        try:
            found[frame] = read_stamp(atoms)
            _trust(found[frame])
        except InputError as error:
            mend = "only structures of an inversion can be made again"
            raise InputError(error.what, f"{path}: frame {frame}", error.mend or mend) from None
    return found


def _trust(stamp: Stamp) -> None:
    """See that a record is whole, and that what may reach git, DVC or a file's name is a checksum or a plain name.

    Raises:
        InputError: it is not, or does not.
    """
    lineage = stamp.lineage
    fits = lineage_sha256(stamp) == stamp.lineage_sha256
    if not fits or sha256_text(canonical_json(lineage.params)) != lineage.params_sha256:
        raise InputError("the lineage is not as it was written: its checksum does not fit")
    if not SYSTEM.fullmatch(lineage.system):
        raise InputError("the recorded system is no name")
    if lineage.git_commit != UNKNOWN and not COMMIT.fullmatch(lineage.git_commit):
        raise InputError("the recorded git commit is none: 40 hexadecimal digits name one")
    if lineage.data_md5 and not MD5.fullmatch(lineage.data_md5):
        raise InputError("the recorded md5 of the data is none")
    sums = {name: getattr(lineage, name) for name in ("code_sha256", "model_sha256", "target_sha256")}
    for name, text in {**sums, **{f"sha256 of {m.label}": m.sha256 for m in lineage.measurements}}.items():
        if not SHA256.fullmatch(text):
            raise InputError(f"the recorded {name} is no checksum: it has 64 hexadecimal digits")


def _make(lineage: Lineage, root: Path, beside: Path, records: Records, scratch: Path, out: Path, highest: int) -> str:
    """Invert once more, by the recorded code; returns where that was found."""
    params = lineage.params
    if set(params) != set(SETTINGS):
        mend = "structures of 'glass-ml invert' can"
        raise InputError(f"these structures of {lineage.system} cannot be made again alone", "params", mend)
    if (out / STRUCTURES).exists():
        raise InputError("holds structures already", str(out), "choose another --out")
    sampling, count, n_atoms = (params[name] for name in SETTINGS)
    batch = sampling.get("batch", 1) if isinstance(sampling, dict) else 0
    if not all(type(number) is int and number > 0 for number in (count, n_atoms, batch)):
        raise InputError("the recorded settings are not those of an inversion", "params")
    model = recall_model(lineage, root, scratch / "models", records)
    target = _target(lineage, root, beside, records, scratch)
    # A replica depends on its own number, and on those that are computed in one batch with it.
    if sampling.get("fit") != "ensemble":  # which is one batch
        count = min(count, batch * (highest // batch + 1))
    with _code(lineage, root, scratch / "code") as (source, where):
        home = scratch / "project"
        home.mkdir()
        recipe = {"target": {"reference": ""}, "sampling": sampling}
        # Older code had the recipes of all systems in params.yaml.
        own_file = (source / PACKAGE.name / "simulation" / "materials.py").is_file()
        systems: Any = [lineage.system] if own_file else {lineage.system: recipe}
        write_text(home / "params.yaml", yaml.safe_dump({"systems": systems}))
        write_text(home / "materials" / f"{lineage.system}.yaml", yaml.safe_dump(recipe))
        write_text(home / "dvc.yaml", "stages: {}\n")
        command = [
            sys.executable, "-m", "glass_ml.cli.main", "invert", str(target), "--model", str(model.resolve()),
            "-n", str(count), "--atoms", str(n_atoms), "--seed", str(lineage.seed),
            "--out", str(out.resolve()), "--no-track", "--json",
        ]  # fmt: skip
        environment = {k: v for k, v in os.environ.items() if k not in ("DVC_ROOT", "DVC_STAGE")}
        environment |= {"PYTHONPATH": str(source), "PYTHONSAFEPATH": "1"}
        status = subprocess.run(command, cwd=home, env=environment, stdout=subprocess.DEVNULL, check=False).returncode
    if status:
        raise InputError(f"the inversion ended with status {status}", where, "its own message stands above")
    return where


@contextmanager
def _code(lineage: Lineage, root: Path, folder: Path) -> Iterator[tuple[Path, str]]:
    """The folder of the recorded package: the one that runs here, or that of the recorded commit in a worktree.

    Raises:
        InputError: neither is the recorded code.
    """
    commit = lineage.git_commit
    if code_sha256_at(root, commit) == lineage.code_sha256:
        prefix = Path(package_in_repository(root)).parent
        if git(root, "worktree", "add", "--detach", "--force", "--", str(folder), commit) is None:
            raise InputError("git cannot check this commit out", commit[:12], "'git worktree list' may say why")
        try:
            yield folder / prefix, f"commit {commit[:12]}"
        finally:
            git(root, "worktree", "remove", "--force", "--", str(folder))
            git(root, "worktree", "prune")
    elif code_sha256() == lineage.code_sha256:
        yield PACKAGE.parent, "the code here"
    else:
        dirty = ": it had uncommitted changes" if lineage.git_dirty else ""
        what = f"the recorded code is neither here nor in commit {commit[:12]}{dirty}"
        raise InputError(what, str(root), "name the project with its history by --project")


def _target(lineage: Lineage, root: Path, beside: Path, records: Records, scratch: Path) -> Path:
    """The recorded target in a folder of its own; every file that it names is the recorded one, by its full path."""
    folder = scratch / "target"
    folder.mkdir()
    found = recall_target(lineage, root, beside, scratch, records)
    content = _read_target(found)
    if str(content.get("system")) != lineage.system:
        raise InputError("the recorded target is of another system", str(found))
    recorded = {(m.name, m.role): m for m in lineage.measurements}
    for entry in content["measurements"]:
        name = str(entry.get("name") or (Path(str(entry["file"])).stem if "file" in entry else entry["kind"]))
        for key, role in (("file", "data"), ("table", "scattering table"), ("surrogate", "surrogate")):
            known = recorded.get((name, role))
            if known is None and key in entry:
                raise InputError(f"the lineage does not name the {key} of measurement '{name}'", str(found))
            if known is None or (key == "file" and "file" not in entry):
                continue
            file = recall_file(known.file, known.sha256, lineage, root, beside, scratch)
            if file is None:
                mend = "put the file beside the structures"
                raise InputError(f"the recorded file of measurement '{known.label}' is nowhere", known.file, mend)
            entry[key] = str((file.parent if file.name == WEIGHTS else file).resolve())
    write_text(folder / TARGET, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return folder / TARGET


def _read_target(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_bytes())
    except yaml.YAMLError:
        content = None
    entries = content.get("measurements") if isinstance(content, dict) else None
    known = isinstance(entries, list) and all(isinstance(e, dict) and ("file" in e or "kind" in e) for e in entries)
    if not known:
        raise InputError("the recorded target is none", str(path), "structures of 'glass-ml invert' name one")
    return content


def _compare(frame: int, atoms: Atoms, replica: int, again: dict[int, Atoms]) -> Comparison:
    other = again.get(replica)
    alike = other is not None and len(atoms) == len(other) and (atoms.numbers == other.numbers).all()
    if other is None or not (alike and np.allclose(atoms.cell.array, other.cell.array, atol=1e-6)):
        return Comparison(frame, replica, False, None)
    _, distances = find_mic(other.positions - atoms.positions, atoms.cell, pbc=True)
    return Comparison(frame, replica, structure_sha256(other) == structure_sha256(atoms), float(np.max(distances)))


def _differences(lineage: Lineage, again: Lineage) -> list[str]:
    """What could explain a difference, and what would be one."""
    fields = ("code_sha256", "model_sha256", "seed", "torch_version", "device")
    pairs = [(name, getattr(lineage, name), getattr(again, name)) for name in fields]
    then, now = (record.params["sampling"] for record in (lineage, again))
    pairs += [(f"sampling.{k}", then.get(k), now.get(k)) for k in sorted({*then, *now})]
    return [f"{name} is {new}, was {old}" for name, old, new in pairs if old != new]
