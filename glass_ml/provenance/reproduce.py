"""Structures made again from what their lineage names, by the code of that time, and compared with what they were."""

from __future__ import annotations

import json
import os
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
from glass_ml.files import write_text
from glass_ml.observables.surrogate_files import WEIGHTS
from glass_ml.provenance.lineage import Lineage, Stamp, read_stamp, structure_sha256
from glass_ml.provenance.project import PACKAGE, code_sha256, code_sha256_at, git, package_in_repository, worktree
from glass_ml.provenance.recall import recall_file, recall_model, recall_target
from glass_ml.structures.io import read_frames

STRUCTURES, TARGET = "structures.extxyz", "target.yaml"
SETTINGS = ("sampling", "n_structures", "n_atoms")


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
        """Whether every structure is."""
        return all(c.identical for c in self.compared)


def reproduce(
    path: Path | str, *, project: Path | str | None = None, out: Path | str | None = None
) -> list[Reproduction]:
    """Make the structures of a file again.

    The recorded commit is checked out in a temporary worktree, which goes afterwards; model, target and measurements
    are found by their checksums, here or in the history of DVC; the settings are those of the lineage. Nothing is
    recorded in MLflow.

    Args:
        path: structure file with lineage; a single frame of an ensemble will do.
        project: the project (default: the one around the current folder).
        out: keep what is made in this folder, each lineage in a folder of its own if there are several.

    Returns:
        One reproduction for every lineage in the file.

    Raises:
        InputError: a frame carries no lineage, or something that it names is nowhere.
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
            code = _make(lineage, root, path.resolve().parent, Path(scratch), folder, highest)
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
        except InputError as error:
            mend = "only structures of an inversion can be made again"
            raise InputError(error.what, f"{path}: frame {frame}", mend) from None
    return found


def _make(lineage: Lineage, root: Path, beside: Path, scratch: Path, out: Path, highest: int) -> str:
    """Invert once more, by the recorded code; returns where that was found."""
    params = json.loads(lineage.params)
    if set(params) != set(SETTINGS):
        mend = "structures of 'glass-ml invert' can"
        raise InputError(f"these structures of {lineage.system} cannot be made again alone", "params", mend)
    if (out / STRUCTURES).exists():
        raise InputError("holds structures already", str(out), "choose another --out")
    model = recall_model(lineage, root, scratch / "models")
    target = _target(lineage, root, beside, scratch)
    # A replica depends on its own number, and on those that are computed in one batch with it.
    sampling, count = params["sampling"], int(params["n_structures"])
    if sampling.get("fit") != "ensemble":  # which is one batch
        batch = int(sampling.get("batch", 1))
        count = min(count, batch * (highest // batch + 1))
    with _code(lineage, root, scratch / "code") as (source, where):
        home = scratch / "project"
        home.mkdir()
        recipe = {"target": {"reference": ""}, "sampling": params["sampling"]}
        write_text(home / "params.yaml", yaml.safe_dump({"systems": {lineage.system: recipe}}))
        write_text(home / "dvc.yaml", "stages: {}\n")
        command = [
            sys.executable, "-m", "glass_ml.cli.main", "invert", str(target), "--model", str(model.resolve()),
            "-n", str(count), "--atoms", str(params["n_atoms"]), "--seed", str(lineage.seed),
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
        if git(root, "worktree", "add", "--detach", "--force", str(folder), commit) is None:
            raise InputError("git cannot check this commit out", commit[:12], "'git worktree list' may say why")
        try:
            yield folder / prefix, f"commit {commit[:12]}"
        finally:
            git(root, "worktree", "remove", "--force", str(folder))
            git(root, "worktree", "prune")
    elif code_sha256() == lineage.code_sha256:
        yield PACKAGE.parent, "the code here"
    else:
        dirty = ": it had uncommitted changes" if lineage.git_dirty else ""
        what = f"the recorded code is neither here nor in commit {commit[:12]}{dirty}"
        raise InputError(what, str(root), "name the project with its history by --project")


def _target(lineage: Lineage, root: Path, beside: Path, scratch: Path) -> Path:
    """The recorded target with every file that it names in one folder; in it the files have their bare names."""
    folder = scratch / "target"
    folder.mkdir()
    content: dict[str, Any] = yaml.safe_load(recall_target(lineage, root, beside, scratch).read_bytes())
    recorded = {entry["name"]: entry for entry in json.loads(lineage.measurements)}
    for entry in content["measurements"]:
        name = str(entry.get("name") or (Path(entry["file"]).stem if "file" in entry else entry["kind"]))
        for key, role in (("file", name), ("table", f"{name}: scattering table"), ("surrogate", f"{name}: surrogate")):
            known = recorded.get(role)
            if known is None or (key == "file" and "file" not in entry):
                continue
            file = recall_file(known["file"], known["sha256"], lineage, root, beside, scratch)
            if file is None:
                mend = "put the file beside the structures"
                raise InputError(f"the recorded file of measurement '{role}' is nowhere", known["file"], mend)
            entry[key] = str((file.parent if file.name == WEIGHTS else file).resolve())
    write_text(folder / TARGET, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return folder / TARGET


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
    then, now = (json.loads(record.params)["sampling"] for record in (lineage, again))
    pairs += [(f"sampling.{k}", then.get(k), now.get(k)) for k in sorted({*then, *now})]
    return [f"{name} is {new}, was {old}" for name, old, new in pairs if old != new]
