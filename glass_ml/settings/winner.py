"""The file that carries the settings of a sweep's winner to where they are used."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from glass_ml.config import build, read_yaml
from glass_ml.errors import InputError
from glass_ml.files import write_text
from glass_ml.settings.overrides import dotted, nested

HEAD = "# Settings of {system} that 'glass-ml {command}' has chosen; the file without them changes nothing.\n"


@dataclass(frozen=True)
class Winner:
    """Settings that a sweep has chosen.

    Attributes:
        system: the material.
        settings: dotted key -> value, nested in the file as in params.yaml; none: nothing has been tuned, or nothing
            was better than the default.
        provenance: study, trial, and its values beside those of the default settings.
    """

    system: str
    settings: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)


def write_winner(path: Path, winner: Winner, command: str) -> None:
    """Write the file, whole or not at all."""
    content = {"system": winner.system, "settings": nested(winner.settings), "provenance": winner.provenance}
    text = yaml.safe_dump(content, sort_keys=False, width=120, allow_unicode=True)
    write_text(path, HEAD.format(system=winner.system, command=command) + text)


def read_winner(path: Path, system: str) -> Winner | None:
    """What the file holds; None where there is none.

    Raises:
        InputError: it is not such a file, or that of another system.
    """
    if not path.is_file():
        return None
    winner = build(Winner, read_yaml(path), str(path))
    if winner.system != system:
        raise InputError(f"holds settings of '{winner.system}'", str(path), f"name another file for '{system}'")
    return replace(winner, settings=dotted(winner.settings))
