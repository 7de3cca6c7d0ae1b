"""Recipes as materials/NAME.yaml states them: composition, potentials, batches of melt-quenches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from glass_ml.config import build, read_yaml
from glass_ml.errors import InputError
from glass_ml.settings.recipe import MATERIALS, SIMULATED, SystemConfig, material_names, reject_unknown_sections
from glass_ml.simulation.recipe import PLAIN_NAME, Potential, Quench, Recipe, potential_from

T = TypeVar("T")


def recipe_of(material: str | Path) -> Recipe:
    """The recipe of a material.

    Args:
        material: its name, of a file in materials/ of the current folder; or the path of such a file (`.yaml`).

    Raises:
        InputError: no such file, or something in it that is not known or cannot be; file and key are named.
    """
    path = Path(material) if str(material).endswith((".yaml", ".yml")) else MATERIALS / f"{material}.yaml"
    if not path.is_file():
        known = ", ".join(material_names()) or "none"
        mend = f"known: {known}; or give the path of a YAML file (docs/material.md)"
        raise InputError(f"no material '{material}'", str(path), mend)
    if not PLAIN_NAME.fullmatch(path.stem):
        raise InputError(f"'{path.stem}' is no name", str(path), "use letters, digits, '-', '_' and '.'")
    content = read_yaml(path)
    reject_unknown_sections(content, path)
    composition, potentials, batches = (
        _mapping(content, key, path) for key in ("composition", "potentials", "batches")
    )
    made = {name: _potential(name, potentials, path) for name in potentials}
    quenches = tuple(_quench(name, batches, composition, made, path) for name in batches)
    settings = {key: value for key, value in content.items() if key not in SIMULATED}
    build(SystemConfig, {"target": {"reference": ""}} | settings, str(path), ": ")  # before hours of simulation
    try:
        return Recipe(path.stem, quenches)
    except InputError as error:
        raise InputError(error.what, f"{path}: batches", error.mend) from None


def _mapping(content: Mapping[str, Any], key: str, where: Path | str) -> dict[str, Any]:
    value = content.get(key)
    if not isinstance(value, dict) or not value:
        raise InputError(f"'{key}' is {'missing' if value is None else 'no mapping'}", str(where), "docs/material.md")
    return {str(name): entry for name, entry in value.items()}


def _potential(name: str, potentials: dict[str, Any], path: Path) -> Potential:
    where = f"{path}: potentials.{name}"
    entry = _mapping(potentials, name, f"{path}: potentials") | {"name": name}
    if isinstance(entry.get("files"), list):  # names of files in the folder beside, which has the material's name
        entry["files"] = {str(name): _text(path.with_suffix(""), str(name), where) for name in entry["files"]}
    return _placed(where, lambda: potential_from(entry, where))


def _text(folder: Path, name: str, where: str) -> str:
    if Path(name).name != name:
        return ""  # the potential refuses the name
    try:
        return (folder / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", f"{where}.files", f"put the file into {folder}/") from None


def _quench(
    name: str, batches: dict[str, Any], composition: dict[str, Any], potentials: dict[str, Potential], path: Path
) -> Quench:
    where = f"{path}: batches.{name}"
    entry = {"composition": composition} | _mapping(batches, name, f"{path}: batches") | {"name": name}
    if (potential := str(entry.get("potential"))) not in potentials:
        mend = f"one of: {', '.join(potentials)}"
        raise InputError(f"no potential '{potential}'", f"{where}.potential", mend)
    if isinstance(entry.get("density"), int | float):
        entry["density"] = [entry["density"]] * 2
    return _placed(where, lambda: build(Quench, entry | {"potential": potentials[potential]}, where))


def _placed(where: str, make: Callable[[], T]) -> T:
    """What `make` gives; of an error that names a key alone, the place becomes that of the file."""
    try:
        return make()
    except InputError as error:
        if error.where.startswith(where):
            raise
        raise InputError(error.what, f"{where}.{error.where}", error.mend) from None
