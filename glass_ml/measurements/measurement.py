"""One measurement of a target: what was measured, how, and how it is compared; out of a file, a mapping or arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from glass_ml.config import reject_unknown
from glass_ml.errors import InputError
from glass_ml.files import sha256_file
from glass_ml.measurements.absorption import check_weight
from glass_ml.measurements.readers import Spectrum, read_spectrum
from glass_ml.observables.fields import Context, choice, interval, number, plain
from glass_ml.observables.kinds import Kind, Settings, find_kind, kinds

USES = ("fit", "validate")
COMPARED = ("use", "name", "x_range", "sigma", "weight", "scale", "offset")
"""Fields of every measurement, wherever its data come from."""

COMMON = ("kind", "file", "values", "columns", *COMPARED)
"""Fields of every entry of `measurements`; those of its kind come on top."""


class SourceFile(NamedTuple):
    """A file that a measurement rests on: its role ('data', 'scattering table', 'surrogate'), place and SHA-256."""

    role: str
    path: str
    sha256: str


@dataclass(frozen=True)
class Measurement:
    """One measurement with its data.

    Attributes:
        kind: a key of `kinds()`, always stated.
        settings: the fields that its kind has for itself.
        spectrum: the data.
        file: where they were read; '' where they stand in TARGET.yaml or came as arrays.
        use: 'fit', or 'validate': compared with, never fitted.
        name: short and unique; by default the file's name without its ending, or the kind.
        x_range: part of the data that is compared, (low, high) in the unit of x; all of it by default.
        sigma: standard deviation of every point, where it was stated as one number for a file or for values.
        weight: factor of this measurement's chi-square.
        scale: bounds of the factor between model and data; equal bounds fix it.
        offset: bounds of the constant added to the scaled model.
        columns: columns of x, y and optionally sigma, from 1.
        files: every file that the measurement rests on, as it was when it was read.
    """

    kind: str
    settings: Settings
    spectrum: Spectrum
    file: str = ""
    use: str = "fit"
    name: str = ""
    x_range: tuple[float, float] | None = None
    sigma: float | None = None
    weight: float = 1.0
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)
    columns: tuple[int, ...] | None = None
    files: tuple[SourceFile, ...] = ()

    def complete(self, context: Context) -> Measurement:
        """The measurement checked against a composition, with the files that follow from it.

        Raises:
            InputError: an element that the composition lacks; a file that is not there.
        """
        settings = find_kind(self.kind).check(self.settings, context)
        data = [SourceFile("data", self.file, self.spectrum.sha256)] if self.file else []
        if settings == self.settings and len(self.files) == len(data) + len(settings.files()):
            return self
        for role, path in settings.files():
            if not Path(path).is_file():
                raise InputError(f"no such {role}", path, "check the path")
            data.append(SourceFile(role, path, sha256_file(path)))
        return replace(self, settings=settings, files=tuple(data))


def parse_measurement(content: Any, context: Context) -> Measurement:
    """A measurement out of its mapping in TARGET.yaml; its file is read.

    Args:
        content: the mapping.
        context: the place to name in an error, the folder of TARGET.yaml and the composition of the target.

    Raises:
        InputError: a key or value that cannot be used; as `read_spectrum`.
    """
    known = checked_keys(content, (*COMMON, *_own_of_all()), ("kind",), context.where)
    entry = {k: v for k, v in known.items() if v is not None}
    kind = find_kind(entry["kind"], context.at("kind"))
    if ("file" in entry) == ("values" in entry):
        mend = "add 'file:', or remove one of the two"
        raise InputError("a measurement has either a file or values", context.where, mend)
    common, settings = _checked(kind, entry, context)
    settings = kind.check(settings, context)
    if "file" in entry:
        given = Path(str(entry["file"])).expanduser()
        file = str(context.folder / (given.name if context.beside else given))
        columns = _columns(entry["columns"], context.at("columns")) if "columns" in entry else None
        name = common.setdefault("name", Path(file).stem)
        spectrum = read_spectrum(
            file, kind.name, columns=columns, sigma=common.get("sigma"), name=name,
            k_weight=getattr(settings, "k_weight", 0.0),
        )  # fmt: skip
        found = Measurement(kind.name, settings, spectrum, file, columns=columns, **common)
    else:
        where, name = context.at("values"), common.setdefault("name", kind.name)
        x, y, sigma = _rows(entry["values"], where, common.get("sigma"))
        found = Measurement(kind.name, settings, _spectrum(kind, settings, x, y, sigma, name, where), **common)
    _check_range(found, context.at("x_range"))
    return found.complete(context)


def make_measurement(kind: str, x: Any, y: Any, sigma: Any, **fields: Any) -> Measurement:
    """A measurement out of arrays, checked by the rules of TARGET.yaml.

    Args:
        kind: a key of `kinds()`, such as 'xray-sq'.
        x: (n,), ascending, in the unit of the kind.
        y: (n,), in its convention.
        sigma: standard deviation of every point, positive: (n,), or one number for all.
        fields: `use`, `name` (by default the kind), `x_range`, `weight`, `scale`, `offset`, and the kind's own.

    Raises:
        InputError: anything that cannot be used: NaN, other shapes, x that does not ascend, an unknown field.
    """
    found = find_kind(kind)
    context = Context(str(fields.get("name") or found.name))
    given = {k: plain(v) for k, v in fields.items() if v is not None}
    reject_unknown(given, [*(f for f in COMPARED if f != "sigma"), *_own_of_all()], context.where)
    common, settings = _checked(found, given, context)
    arrays = {}
    for name, values in (("x", x), ("y", y), ("sigma", sigma)):
        try:
            arrays[name] = np.array(values.tolist() if hasattr(values, "tolist") else values, dtype=np.float64)
        except (TypeError, ValueError):
            raise InputError("not an array of numbers", context.at(name), "give one number for each point") from None
    if arrays["sigma"].ndim == 0 and arrays["x"].ndim == 1:
        arrays["sigma"] = np.full_like(arrays["x"], float(arrays["sigma"]))
    if arrays["x"].ndim != 1 or not len(arrays["x"]):
        raise InputError(
            f"an array of the shape {arrays['x'].shape}", context.at("x"), "give one number for each point"
        )
    for name in ("y", "sigma"):
        if arrays[name].shape != arrays["x"].shape:
            what = f"the shape {arrays[name].shape} where x has {arrays['x'].shape}"
            raise InputError(what, context.at(name), "give one number for each point")
    name = common.setdefault("name", found.name)
    spectrum = _spectrum(found, settings, arrays["x"], arrays["y"], arrays["sigma"], name, context.where)
    result = Measurement(found.name, settings, spectrum, **common)
    _check_range(result, context.at("x_range"))
    return result


def checked_keys(content: Any, known: tuple[str, ...], required: tuple[str, ...], where: str) -> dict[str, Any]:
    """The content itself, if it is a mapping of known keys that has the required ones; else InputError."""
    if not isinstance(content, Mapping):
        raise InputError("not a mapping of keys to values", where, f"write the keys {', '.join(required)}")
    reject_unknown(content, known, where)
    for key in required:
        if content.get(key) is None:
            raise InputError(f"no '{key}'", where, f"add '{key}:'")
    return dict(content)


def _own_of_all() -> dict[str, None]:
    """The fields that some kinds have for themselves."""
    return dict.fromkeys(key for kind in kinds().values() for key in kind.fields)


def _checked(kind: Kind, entry: Mapping[str, Any], context: Context) -> tuple[dict[str, Any], Settings]:
    """The fields of every measurement that are given, and the settings of the kind."""
    common: dict[str, Any] = {}
    if entry.get("name"):
        common["name"] = str(entry["name"])
    if "use" in entry:
        common["use"] = choice(entry["use"], context.at("use"), USES)
    for key in ("sigma", "weight"):
        if key in entry:
            common[key] = number(entry[key], context.at(key), above=0)
    for key, fixed in (("x_range", False), ("scale", True), ("offset", True)):
        if key in entry:
            common[key] = interval(entry[key], context.at(key), fixed=fixed)
    if common.get("scale", (1.0,))[0] <= 0:
        raise InputError("a scale must be positive", context.at("scale"), "write [0.9, 1.1], say")
    return common, kind.build({k: v for k, v in entry.items() if k not in COMMON}, context)


def _columns(value: Any, where: str) -> tuple[int, ...]:
    if not isinstance(value, list) or any(isinstance(c, bool) or not isinstance(c, int) for c in value):
        raise InputError(f"'{value}' are not columns", where, "write [1, 2] or [1, 2, 3]")
    return tuple(value)


def _rows(value: Any, where: str, sigma: float | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y and sigma from a mapping x: y, from a list of pairs, or of triplets that hold sigma."""
    rows = [list(item) for item in value.items()] if isinstance(value, Mapping) else value
    width = 2 if sigma is not None else 3
    mend = "write a mapping x: y, or a list of [x, y]"
    if not isinstance(rows, list) or not rows or any(not isinstance(r, list | tuple) or len(r) > 3 for r in rows):
        raise InputError(f"'{value}' are not values", where, mend)
    if width == 3 and all(len(row) == 2 for row in rows):
        raise InputError("values without their uncertainty", where, "add 'sigma:'")
    if any(len(row) != width for row in rows):
        raise InputError(f"'{value}' are not values", where, mend if width == 2 else "write [x, y, sigma]")
    table = np.array([[number(v, where) for v in row] for row in rows])
    return table[:, 0], table[:, 1], table[:, 2] if width == 3 else np.full(len(table), sigma)


def _spectrum(
    kind: Kind, settings: Settings, x: np.ndarray, y: np.ndarray, sigma: np.ndarray, name: str, where: str
) -> Spectrum:
    """The data that did not come from a file, checked."""
    for label, values in (("x", x), ("y", y), ("sigma", sigma)):
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise InputError(f"{label} of point {bad[0] + 1} is not a number", where, "remove the point or mend it")
    if (sigma <= 0).any():
        raise InputError(f"sigma {sigma.min():g} is not above 0", where, "give standard deviations")
    if any(b <= a for a, b in pairwise(x)):
        raise InputError("x does not ascend", where, "sort the points and merge equal x")
    if kind.name == "exafs":
        check_weight(x, y, getattr(settings, "k_weight", 0.0), where)
    tensors = [torch.tensor(values, dtype=torch.float64) for values in (x, y, sigma)]
    return Spectrum(tensors[0], tensors[1], tensors[2], kind.name, name, name)


def _check_range(measurement: Measurement, where: str) -> None:
    """The asked range lies within the data (to half a step) and holds points."""
    x = measurement.spectrum.x
    if measurement.x_range is None or len(x) < 2:
        return
    low, high = measurement.x_range
    first, last = float(x[0]), float(x[-1])
    if low < first - 0.5 * float(x[1] - x[0]) or high > last + 0.5 * float(x[-1] - x[-2]):
        mend = f"{measurement.spectrum.source} holds {first:g} to {last:g}"
        raise InputError(f"[{low:g}, {high:g}] is outside the data", where, mend)
    if int(((x >= low) & (x <= high)).sum()) < 3:
        raise InputError(f"fewer than three points in [{low:g}, {high:g}]", where, "widen the range")
