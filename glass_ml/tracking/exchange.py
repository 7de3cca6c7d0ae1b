"""A model as one file for a colleague: its checkpoint, its card, its lineage and evaluations, each with a checksum.

The file is a zip archive of four plain files. Reading one runs nothing: names, sizes and checksums are compared with
its manifest, weights are safetensors, the rest is JSON and text.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glass_ml.errors import InputError
from glass_ml.files import atomic_path, sha256_file, write_json
from glass_ml.observables.surrogate_files import is_surrogate, load_surrogate
from glass_ml.priors.checkpoint import load_prior
from glass_ml.provenance.data import DataIdentity
from glass_ml.provenance.models import MODEL_FILES, model_sha256
from glass_ml.tracking.model_card import CARD_FILE, refresh_card, version_card
from glass_ml.tracking.registry import Registered, register_prior
from glass_ml.tracking.runs import user
from glass_ml.tracking.store import Store, open_store
from glass_ml.tracking.versions import LINEAGE_TAGS, get_version, read_card, version_folder

FORMAT = 1
MANIFEST = "manifest.json"
MEMBERS = (*MODEL_FILES, CARD_FILE)
LARGEST_TEXT = 16 << 20
EPOCH = (1980, 1, 1, 0, 0, 0)
"""Date of every member: the same model gives the same file."""
MEND = "ask for the file again"


@dataclass(frozen=True)
class Exported:
    """A file that `export_model` has written.

    Attributes:
        path: where.
        uri: the version in it.
        sha256: checksum of the file.
    """

    path: Path
    uri: str
    sha256: str


def export_model(name: str, version: int | str, path: Path | str, store: Store | None = None) -> Exported:
    """Write a version with its card, lineage and evaluations as one file, whole or not at all.

    Raises:
        InputError: no such version, or its files are gone or changed; or the place cannot be written to.
    """
    store = store or open_store()
    found = get_version(store, name, version)
    card = version_card(store, found)
    folder = version_folder(store, found)
    assert folder is not None  # the card was read from it
    kept = {k: v for k, v in found.tags.items() if k in LINEAGE_TAGS or k.startswith("evaluation/")}
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / CARD_FILE).write_text(card, encoding="utf-8")
        sources = {**{file: folder / file for file in MODEL_FILES}, CARD_FILE: Path(scratch) / CARD_FILE}
        manifest = {
            "format": FORMAT,
            "name": name,
            "version": int(found.version),
            "files": {f: {"sha256": sha256_file(p), "bytes": p.stat().st_size} for f, p in sources.items()},
            "tags": kept,
        }
        write_json(Path(scratch) / MANIFEST, manifest)
        with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for file, source in ((MANIFEST, Path(scratch) / MANIFEST), *sources.items()):
                with source.open("rb") as stream, archive.open(zipfile.ZipInfo(file, EPOCH), "w") as member:
                    while chunk := stream.read(1 << 20):
                        member.write(chunk)
    return Exported(Path(path), f"models:/{name}/{found.version}", sha256_file(path))


def import_model(path: Path | str, store: Store | None = None) -> Registered:
    """Register the model of an exported file with its lineage and evaluations; the same content twice is one version.

    Raises:
        InputError: not such a file, or anything in it is not what its manifest says.
    """
    path = Path(path)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        manifest = _unpack(path, folder)
        (load_surrogate if is_surrogate(folder) else load_prior)(folder)
        tags = {str(k): str(v) for k, v in manifest["tags"].items()}
        card = read_card(folder)
        if tags.get("model_sha256") != model_sha256(folder):
            raise InputError("its lineage is of another model", str(path), MEND)
        when = time.strftime("%Y-%m-%d", time.gmtime())
        tags["origin"] = (
            f"{manifest['name']} version {manifest['version']}, imported from {path.name} by {user()} on {when}"
        )
        store = store or open_store()
        done = register_prior(
            folder,
            system=str(card["system"]),
            data=DataIdentity(tags.get("data_path", ""), tags.get("data_md5", "")),
            tags=tags,
            store=store,
        )
    refresh_card(store, done.name, done.version)
    return done


def _unpack(path: Path, folder: Path) -> dict[str, Any]:
    """The members of a file in a folder, each as its manifest says; returns the manifest."""
    where = str(path)
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(archive.namelist())
            if names != sorted((MANIFEST, *MEMBERS)):
                strange = next((n for n in names if n not in (MANIFEST, *MEMBERS)), "")
                what = f"'{strange}' does not belong in an exported model" if strange else "not an exported model"
                raise InputError(what, where, "give a file of 'glass-ml models export'")
            if archive.getinfo(MANIFEST).file_size > LARGEST_TEXT:
                raise InputError("its manifest is too large", where, MEND)
            manifest = json.loads(archive.read(MANIFEST))
            if manifest["format"] != FORMAT:
                raise InputError(f"format {manifest['format']} is not known here", where, "update glass_ml")
            for name in MEMBERS:
                said = manifest["files"][name]
                _copy(archive, name, folder / name, int(said["bytes"]), str(said["sha256"]), where)
            if not all(isinstance(manifest[k], t) for k, t in (("tags", dict), ("name", str), ("version", int))):
                raise ValueError
    except FileNotFoundError:
        raise InputError("no such file", where, "check the path") from None
    except (zipfile.BadZipFile, OSError, ValueError, KeyError, TypeError, NotImplementedError, RuntimeError):
        raise InputError("not an exported model, or a damaged one", where, MEND) from None
    return manifest


def _copy(archive: zipfile.ZipFile, name: str, target: Path, size: int, checksum: str, where: str) -> None:
    """Write one member, no byte more than its manifest says."""
    left, digest = size, hashlib.sha256()
    with archive.open(name) as stream, target.open("wb") as out:
        while chunk := stream.read(1 << 20):
            left -= len(chunk)
            if left < 0:
                break
            digest.update(chunk)
            out.write(chunk)
    if left or digest.hexdigest() != checksum:
        raise InputError(f"{name} is not what its manifest says", where, MEND)
