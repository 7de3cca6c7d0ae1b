"""What a served model takes from a request: text and files that come with it, and nothing of the machine it runs on."""

from __future__ import annotations

import base64
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from mlflow.exceptions import BAD_REQUEST, ErrorCode, MlflowException

from glass_ml.errors import InputError
from glass_ml.measurements.target import Target, load_target
from glass_ml.observables.scattering_table import SHIPPED, parse_edge, table_name

TARGET = "target.yaml"
NAMING = ("file", "table", "surrogate")
"""Keys of a measurement that name files."""


class Refused(InputError, MlflowException):
    """What a request is at fault for: the one line is all that MLflow's server answers, with status 400."""

    def __init__(self, what: str, where: str = "", mend: str = ""):
        super().__init__(what, where, mend)
        self.error_code = ErrorCode.Name(BAD_REQUEST)


@contextmanager
def answering(folder: Path | str = "") -> Iterator[None]:
    """Answer errors of the block in one line without paths of this machine; unexpected ones go to the server's log.

    Args:
        folder: where the request's files lie; the answer names them without it.

    Raises:
        Refused: the request is at fault.
        MlflowException: anything else.
    """
    try:
        yield
    except InputError as error:
        place = f"{folder}/" if folder else "\0"
        texts = [text.replace(place, "") for text in (error.what, error.where, error.mend)]
        raise Refused(*texts) from None
    except Exception as error:
        logging.getLogger(__name__).exception("a request failed")
        raise MlflowException(f"the request failed ({type(error).__name__}): see the server's log") from None


def read_request(folder: Path, target: str, files: str | Mapping[str, Any] | None) -> Target:
    """The target of a request, its text and the files that it names written to an empty folder.

    Args:
        folder: where to.
        target: the text of a TARGET.yaml. It names files by bare names, and only those in `files`.
        files: name -> content, as a mapping or its JSON; a scattering table, which is no text, as {"base64": ...}.

    Raises:
        InputError: files that did not come with the request, or anything that `load_target` refuses.
    """
    given = _files(files)
    try:
        content = yaml.safe_load(target)
    except (TypeError, RecursionError):  # keys that are lists; thousands of brackets
        raise InputError("not the text of a TARGET.yaml", "target", "give its text") from None
    except (yaml.YAMLError, ValueError):
        content = {}  # `load_target` says what is wrong
    if not isinstance(content, Mapping):
        raise InputError("not the text of a TARGET.yaml", "target", "give its text, and the files it names in 'files'")
    entries = content.get("measurements")
    for k, entry in enumerate(entries if isinstance(entries, list) else (), 1):
        where = f"{TARGET}: measurements[{k}]"
        if isinstance(entry, Mapping):
            _check_names(entry, given, where)
            _bring_table(folder, entry, content.get("composition"), given)
    for name, data in given.items():
        (folder / name).write_bytes(data)
    (folder / TARGET).write_text(target, encoding="utf-8")
    found = load_target(folder / TARGET, beside=True)
    for measurement in found.measurements:
        for role, file, _ in measurement.files:
            if Path(file).resolve().parent != folder.resolve():
                what = f"no {role} for it came with the request or comes with the package"
                raise InputError(what, f"{TARGET}: {measurement.name}", "send it in 'files'")
    return found


def _files(files: str | Mapping[str, Any] | None) -> dict[str, bytes]:
    mend = 'give a JSON object: name -> text, or {"base64": ...} for what is no text'
    try:
        given = json.loads(files or "{}") if not isinstance(files, Mapping) else files
        items = {
            name: data.encode() if isinstance(data, str) else base64.b64decode(data["base64"], validate=True)
            for name, data in given.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InputError("cannot be read", "files", mend) from None
    for name in items:
        if not _bare(name) or name == TARGET:
            raise InputError(f"'{name}' is not the bare name of a measured file", "files", "send it by another name")
    return items


def _bare(name: str) -> bool:
    return name not in ("", ".", "..") and not any(c in "/\\\0" for c in name)


def _check_names(entry: Mapping[str, Any], given: Mapping[str, bytes], where: str) -> None:
    for key in NAMING:
        name = str(entry[key]) if entry.get(key) is not None else None
        if name is None:
            continue
        if not _bare(name):
            raise InputError(f"'{name}' is not a bare name", f"{where}.{key}", "name it as in 'files'")
        if key == "surrogate":
            mend = "leave the measurement out, or use 'glass-ml invert'"
            raise InputError("a served prior takes no surrogate", f"{where}.{key}", mend)
        if name not in given:
            raise InputError(f"'{name}' did not come with the request", f"{where}.{key}", "send it in 'files'")


def _bring_table(folder: Path, entry: Mapping[str, Any], composition: Any, given: Mapping[str, bytes]) -> None:
    """Put the package's scattering table beside the target, where one is needed and none was sent."""
    if entry.get("kind") != "exafs" or entry.get("table") is not None or not isinstance(composition, Mapping):
        return
    name = table_name(parse_edge(str(entry.get("edge"))), map(str, composition))
    if name not in given and (SHIPPED / name).is_file():
        shutil.copyfile(SHIPPED / name, folder / name)
