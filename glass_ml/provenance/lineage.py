"""Lineage: one flat record that says what made a structure, carried by every frame of every structure file."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
from ase import Atoms

from glass_ml import __version__
from glass_ml.errors import InputError
from glass_ml.files import sha256_file, sha256_text, write_json
from glass_ml.provenance.data import DataIdentity, data_identity
from glass_ml.provenance.project import PACKAGE, CodeIdentity, code_identity, worktree

__all__ = [
    "CodeIdentity",
    "DataIdentity",
    "Lineage",
    "Stamp",
    "canonical_json",
    "code_identity",
    "data_identity",
    "make_lineage",
    "measurement_entry",
    "model_sha256",
    "read_lineage",
    "read_stamp",
    "stamp",
    "structure_sha256",
    "write_lineage",
]

PREFIX = "glass_ml_"
MODEL_FILES = ("model.json", "model.safetensors")


@dataclass(frozen=True)
class Lineage:
    """What made the structures of one inversion.

    Attributes:
        glass_ml_version: release of glass_ml.
        git_commit: commit of the project, "unknown" outside git.
        git_dirty: whether code or configuration differ from that commit.
        code_sha256: `project.code_sha256` of the package that ran.
        system: the material, such as "a-Si".
        model_name: registered name of the prior, such as "glass-a-Si".
        model_uri: where the prior came from: `models:/name/version`, or a folder relative to the project.
        model_sha256: `model_sha256` of its checkpoint folder.
        data_path: its training data, relative to the project.
        data_md5: DVC's md5 of them.
        target_sha256: SHA-256 of the target's file.
        measurements: JSON list of {"name", "kind", "use", "file", "sha256"}, one a measurement.
        params: JSON object of every setting of sampler and likelihood.
        params_sha256: SHA-256 of that text.
        seed: seed of the inversion; with the replica number it fixes a structure.
        torch_version: release of torch.
        device: device that computed, such as "cpu".
    """

    glass_ml_version: str
    git_commit: str
    git_dirty: bool
    code_sha256: str
    system: str
    model_name: str
    model_uri: str
    model_sha256: str
    data_path: str
    data_md5: str
    target_sha256: str
    measurements: str
    params: str
    params_sha256: str
    seed: int
    torch_version: str
    device: str


@dataclass(frozen=True)
class Stamp:
    """The lineage that one structure carries.

    Attributes:
        lineage: what its inversion's structures share.
        replica: its number in the ensemble.
        structure_sha256: `structure_sha256` when it was made.
        lineage_sha256: checksum of all fields above, so that an edited field shows.
    """

    lineage: Lineage
    replica: int
    structure_sha256: str
    lineage_sha256: str


def canonical_json(content: Any) -> str:
    """JSON on one line with sorted keys: equal contents give equal texts."""
    return json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def model_sha256(folder: Path | str) -> str:
    """Identity of a prior: SHA-256 of the lines "name sha256" of `model.json` and `model.safetensors`.

    Raises:
        InputError: one of the two files is missing.
    """
    folder = Path(folder)
    for name in MODEL_FILES:
        if not (folder / name).is_file():
            raise InputError(f"no prior here: {name} is missing", str(folder), "run 'dvc pull' or 'glass-ml train'")
    return checkpoint_sha256(*(sha256_file(folder / name) for name in MODEL_FILES))


def checkpoint_sha256(card: str, weights: str) -> str:
    """`model_sha256` out of the SHA-256 of the card, `model.json`, and of the weights, `model.safetensors`."""
    return sha256_text("".join(f"{name} {sha}\n" for name, sha in zip(MODEL_FILES, (card, weights), strict=True)))


def structure_sha256(atoms: Atoms) -> str:
    """Identity of a structure: SHA-256 of its cell and, per atom, number and position, all with 8 decimals.

    These are the decimals of a structure file, so the identity survives writing and reading. Atoms are taken where
    they stand (not wrapped) and in their order; 0 and -0 are the same.
    """
    rows = [*atoms.cell.array.tolist(), *np.column_stack([atoms.numbers, atoms.positions]).tolist()]
    text = "\n".join(" ".join(f"{x:.8f}" for x in row) for row in rows)
    return sha256_text(re.sub(r"-(0\.0+)\b", r"\1", text))


def measurement_entry(
    name: str, kind: str, use: str, file: Path | str, root: Path | str | None = None
) -> dict[str, str]:
    """What the lineage keeps of one measurement; a file of the project or of the package is named relative to it.

    Raises:
        InputError: there is no such file.
    """
    root, path = worktree(root), Path(file).resolve()
    if not path.is_file():
        raise InputError("no such measurement", str(file), "check the path")
    own = next((folder for folder in (root, PACKAGE) if path.is_relative_to(folder)), None)
    shown = path.relative_to(PACKAGE.parent if own == PACKAGE else own).as_posix() if own else str(path)
    return {"name": name, "kind": kind, "use": use, "file": shown, "sha256": sha256_file(path)}


def make_lineage(
    *,
    model: Path | str,
    model_uri: str,
    target: Path | str,
    measurements: Sequence[Mapping[str, str]],
    params: Mapping[str, Any],
    seed: int,
    device: str,
    model_name: str = "",
    system: str = "",
    root: Path | str | None = None,
) -> Lineage:
    """The lineage of an inversion that runs now, in this process.

    Args:
        model: checkpoint folder of the prior; its card names system and data.
        model_uri: how the prior was found, see `Lineage`.
        target: the target's file.
        measurements: entries as `measurement_entry` makes them.
        params: every setting that the result depends on.
        seed: seed of the inversion.
        device: device that computes.
        model_name: registered name (default: "glass-<system>").
        system: the material (default: what the card says).
        root: the project (default: around the current folder).

    Raises:
        InputError: the prior or the target is not there.
    """
    import torch

    identity = model_sha256(model)
    card = json.loads((Path(model) / "model.json").read_text(encoding="utf-8"))
    system = system or str(card["system"])
    code, settings = code_identity(root), canonical_json(params)
    if not Path(target).is_file():
        raise InputError("no such target", str(target), "check the path")
    return Lineage(
        glass_ml_version=__version__,
        git_commit=code.git_commit,
        git_dirty=code.git_dirty,
        code_sha256=code.code_sha256,
        system=system,
        model_name=model_name or f"glass-{system}",
        model_uri=model_uri,
        model_sha256=identity,
        data_path=str(card.get("data_path", "data")),
        data_md5=str(card.get("data_md5", "")),
        target_sha256=sha256_file(target),
        measurements=canonical_json([dict(m) for m in measurements]),
        params=settings,
        params_sha256=sha256_text(settings),
        seed=int(seed),
        torch_version=str(torch.__version__),
        device=device,
    )


def write_lineage(path: Path | str, lineage: Lineage) -> None:
    """Write `lineage.json`: the record as a flat JSON object."""
    write_json(path, asdict(lineage))


def stamp(frames: Sequence[Atoms], lineage: Lineage, replicas: Sequence[int] | None = None) -> list[Atoms]:
    """Copies of frames that carry their lineage in flat `info` keys, each with the prefix "glass_ml_" (once).

    Args:
        frames: structures, as they will be written.
        lineage: what they share.
        replicas: their numbers in the ensemble (default: 0, 1, ...).
    """
    numbers = range(len(frames)) if replicas is None else replicas
    return [_stamped(atoms, lineage, int(k)) for atoms, k in zip(frames, numbers, strict=True)]


def _stamped(atoms: Atoms, lineage: Lineage, replica: int) -> Atoms:
    atoms = atoms.copy()
    record = {**asdict(lineage), "replica": replica, "structure_sha256": structure_sha256(atoms)}
    record["lineage_sha256"] = sha256_text(canonical_json(record))
    other = {k: v for k, v in atoms.info.items() if not k.startswith(PREFIX)}
    atoms.info = {**other, **{_info_key(key): _encode(value) for key, value in record.items()}}
    return atoms


def read_lineage(atoms: Atoms) -> Lineage:
    """The shared part of a frame's lineage; errors as `read_stamp`."""
    return read_stamp(atoms).lineage


def read_stamp(atoms: Atoms) -> Stamp:
    """The lineage that a frame carries, as it was stamped.

    Raises:
        InputError: a field is missing, unknown or of the wrong type.
    """
    record = {k: v for k, v in atoms.info.items() if k.startswith(PREFIX)}
    if not record:
        raise InputError("the structure carries no glass_ml lineage")
    types = {f.name: f.type for f in fields(Lineage)} | {
        "replica": "int",
        "structure_sha256": "str",
        "lineage_sha256": "str",
    }
    known = {_info_key(name): (name, str(kind)) for name, kind in types.items()}
    for key in record:
        if key not in known:
            raise InputError(f"unknown field {key} in the lineage", mend="update glass_ml")
    values: dict[str, Any] = {}
    for key, (name, kind) in known.items():
        if key not in record:
            raise InputError(f"the lineage lacks {key}")
        values[name] = _decode(record[key], kind, key)
    own = {key: values.pop(key) for key in ("replica", "structure_sha256", "lineage_sha256")}
    return Stamp(Lineage(**values), **own)


def lineage_sha256(stamped: Stamp) -> str:
    """The checksum that a stamp should carry."""
    record = {**asdict(stamped.lineage), "replica": stamped.replica, "structure_sha256": stamped.structure_sha256}
    return sha256_text(canonical_json(record))


_PLAIN = "".join(c for c in string.printable if c not in "%\\\t\n\r\v\f")


def _info_key(field: str) -> str:
    return field if field.startswith(PREFIX) else PREFIX + field


def _encode(value: str | int | bool) -> str | int | bool:
    """A value that the extended-XYZ reader gives back unchanged.

    It reads a text such as "12e4" as a number and "T" as a truth value, and drops backslashes; such texts are
    percent-encoded.
    """
    if isinstance(value, int):
        return value if abs(value) < 2**63 else f"%_{value}"
    text = quote(value, safe=_PLAIN)
    parts = [part for part in re.split(r"[\s,]+", text) if part]
    return f"%_{text}" if all(map(_converted, parts)) or text.startswith("_JSON") else text


def _converted(part: str) -> bool:
    try:
        float(part)
    except ValueError:
        return part in ("T", "F", "true", "false", "True", "False", "TRUE", "FALSE")
    return True


def _decode(value: Any, kind: str, key: str) -> str | int | bool:
    if isinstance(value, str):
        text = unquote(value.removeprefix("%_"))
        if kind == "str":
            return text
        if kind == "int" and re.fullmatch(r"-?\d+", text):
            return int(text)
    elif hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if type(value).__name__ != kind:
        raise InputError(f"{key} in the lineage is not of the type {kind}")
    return value
