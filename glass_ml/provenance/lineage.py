"""Lineage: one record that says what made a structure, carried by every frame of every structure file.

In memory and in `lineage.json` it is nested; in a frame it is flat, text by text, and the checksums are of that form.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
from ase import Atoms

from glass_ml import __version__
from glass_ml.errors import InputError
from glass_ml.files import sha256_file, sha256_text, write_json
from glass_ml.provenance.models import CARD, DATA, ROLES, Measured
from glass_ml.provenance.models import model_sha256 as checkpoint_identity
from glass_ml.provenance.project import PACKAGE, code_identity, worktree

PREFIX = "glass_ml_"
PLAIN = ("str", "int", "bool")


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
        measurements: every file that they rest on.
        params: every setting of sampler and likelihood, nested, of types that JSON has; not to be changed.
        params_sha256: SHA-256 of them as `canonical_json`.
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
    measurements: tuple[Measured, ...]
    params: Mapping[str, Any] = field(hash=False)  # their checksum is in the hash
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


def structure_sha256(atoms: Atoms) -> str:
    """Identity of a structure: SHA-256 of its cell and, per atom, number and position, all with 8 decimals.

    These are the decimals of a structure file, so the identity survives writing and reading. Atoms are taken where
    they stand (not wrapped) and in their order; 0 and -0 are the same.
    """
    rows = [*atoms.cell.array.tolist(), *np.column_stack([atoms.numbers, atoms.positions]).tolist()]
    text = "\n".join(" ".join(f"{x:.8f}" for x in row) for row in rows)
    return sha256_text(re.sub(r"-(0\.0+)\b", r"\1", text))


def measurement_entry(
    name: str, kind: str, use: str, file: Path | str, *, role: str = DATA, sha256: str = ""
) -> Measured:
    """What the lineage keeps of one file; one of the project or of the package is named relative to it.

    Arguments as the attributes of `Measured`; where `sha256` is not given, the file is read.

    Raises:
        InputError: there is no such file.
    """
    root, path = worktree(), Path(file).resolve()
    if not path.is_file():
        raise InputError("no such measurement", str(file), "check the path")
    own = next((folder for folder in (root, PACKAGE) if path.is_relative_to(folder)), None)
    shown = path.relative_to(PACKAGE.parent if own == PACKAGE else own).as_posix() if own else str(path)
    return Measured(name, kind, use, shown, sha256 or sha256_file(path), role)


def make_lineage(
    *,
    model: Path | str,
    model_uri: str,
    target: Path | str,
    measurements: Sequence[Measured],
    params: Mapping[str, Any],
    seed: int,
    device: str,
    model_name: str = "",
    model_sha256: str = "",
    target_sha256: str = "",
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
        model_sha256: identity of the prior where it is known; else its files are read.
        target_sha256: checksum of the target's file where it is known.
        system: the material (default: what the card says).
        root: the project (default: around the current folder).

    Raises:
        InputError: the prior or the target is not there.
    """
    import torch

    model_sha256 = model_sha256 or checkpoint_identity(model)
    card = json.loads((Path(model) / CARD).read_text(encoding="utf-8"))
    system = system or str(card["system"])
    code, settings = code_identity(root), canonical_json(params)
    if not (target_sha256 or Path(target).is_file()):
        raise InputError("no such target", str(target), "check the path")
    return Lineage(
        glass_ml_version=__version__,
        git_commit=code.git_commit,
        git_dirty=code.git_dirty,
        code_sha256=code.code_sha256,
        system=system,
        model_name=model_name or f"glass-{system}",
        model_uri=model_uri,
        model_sha256=model_sha256,
        data_path=str(card.get("data_path", "data")),
        data_md5=str(card.get("data_md5", "")),
        target_sha256=target_sha256 or sha256_file(target),
        measurements=tuple(measurements),
        params=json.loads(settings),
        params_sha256=sha256_text(settings),
        seed=int(seed),
        torch_version=str(torch.__version__),
        device=device,
    )


def flat(lineage: Lineage) -> dict[str, str | int | bool]:
    """The record as frames carry it, measurements and settings as JSON text; its checksum is of this form."""
    return {
        **{f.name: getattr(lineage, f.name) for f in fields(Lineage)},
        "measurements": measurements_text(lineage.measurements),
        "params": canonical_json(lineage.params),
    }


def measurements_text(measurements: Sequence[Measured]) -> str:
    """Measurements in one text, as `measurements_of` reads it."""
    flattened = ({**vars(m), "name": m.label} for m in measurements)
    return canonical_json([{key: text for key, text in m.items() if key != "role"} for m in flattened])


def measurements_of(content: Any) -> tuple[Measured, ...]:
    """Measurements out of the text of `measurements_text`, or out of a list as `lineage.json` has it.

    Raises:
        InputError: it is neither.
    """
    try:
        entries = json.loads(content) if isinstance(content, str) else content
        found = [Measured(**entry) for entry in entries]
        if all(isinstance(value, str) for m in found for value in vars(m).values()):
            return tuple(_parted(m) for m in found) if isinstance(content, str) else tuple(found)
    except (ValueError, TypeError):
        pass
    raise InputError("the measurements in the lineage cannot be read")


def _parted(flattened: Measured) -> Measured:
    name, _, role = flattened.name.rpartition(": ")
    return replace(flattened, name=name, role=role) if name and role in ROLES else flattened


def write_lineage(path: Path | str, lineage: Lineage) -> None:
    """Write `lineage.json`: the record as nested JSON."""
    write_json(path, asdict(lineage))


def load_lineage(folder: Path | str) -> Lineage:
    """The `lineage.json` of an inversion; one with text in place of its nested parts is read as well.

    Raises:
        InputError: it is missing or not complete.
    """
    path = Path(folder) / "lineage.json"
    try:
        return _lineage(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError("not an inversion: lineage.json is missing", str(folder), "run 'glass-ml invert'") from None
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"unreadable lineage: {error}", str(path)) from None
    except InputError as error:
        raise InputError(error.what, str(path)) from None


def _lineage(record: Mapping[str, Any]) -> Lineage:
    """A lineage out of its fields, nested or flat.

    Raises:
        InputError: a field is missing, unknown or not of its type.
    """
    types = {f.name: str(f.type) for f in fields(Lineage)}
    for name in [*types, *record]:
        if name not in record:
            raise InputError(f"the lineage lacks {_info_key(name)}")
        if name not in types:
            raise InputError(f"unknown field {_info_key(name)} in the lineage", mend="update glass_ml")
        if types[name] in PLAIN and type(record[name]).__name__ != types[name]:
            raise InputError(f"{_info_key(name)} in the lineage is not of the type {types[name]}")
    params = record["params"]
    try:
        params = json.loads(params) if isinstance(params, str) else params
    except ValueError:
        params = None
    if not isinstance(params, dict):
        raise InputError("the settings in the lineage cannot be read")
    lineage = Lineage(**{**record, "measurements": measurements_of(record["measurements"]), "params": params})
    for name, text in flat(lineage).items():
        if isinstance(record[name], str) and record[name] != text:
            raise InputError(f"{_info_key(name)} in the lineage is not as it was written")
    return lineage


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
    record = {**flat(lineage), "replica": replica, "structure_sha256": structure_sha256(atoms)}
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
    known = {_info_key(f.name): f for f in (*fields(Lineage), *fields(Stamp)[1:])}
    for key in record.keys() - known.keys():
        raise InputError(f"unknown field {key} in the lineage", mend="update glass_ml")
    values = {known[key].name: _decode(value, str(known[key].type), key) for key, value in record.items()}
    own = [f.name for f in fields(Stamp)[1:]]
    for name in own:
        if name not in values:
            raise InputError(f"the lineage lacks {_info_key(name)}")
    stamped: dict[str, Any] = {name: values.pop(name) for name in own}
    return Stamp(_lineage(values), **stamped)


def lineage_sha256(stamped: Stamp) -> str:
    """The checksum that a stamp should carry."""
    own = {"replica": stamped.replica, "structure_sha256": stamped.structure_sha256}
    return sha256_text(canonical_json({**flat(stamped.lineage), **own}))


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
    """A value as it was before `_encode`; nested fields are text here."""
    if isinstance(value, str):
        text = unquote(value.removeprefix("%_"))
        if kind not in ("int", "bool"):
            return text
        if kind == "int" and re.fullmatch(r"-?\d+", text):
            return int(text)
    elif hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if type(value).__name__ != kind:
        raise InputError(f"{key} in the lineage is not of the type {kind if kind in PLAIN else 'str'}")
    return value
