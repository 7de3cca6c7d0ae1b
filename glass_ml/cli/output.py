"""What a command prints: text for people, or one JSON document for machines."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import Any


def emit(arguments: argparse.Namespace, document: Any, text: str | Iterable[str]) -> None:
    """Print a result: with --json as one JSON document in one line, else as text, which may come in lines.

    Args:
        arguments: of the command; `json` decides.
        document: the result in mappings, lists, dataclasses and scalars; anything else in it becomes a string.
        text: the result for people; nothing is printed where it is empty.
    """
    if arguments.json:
        print(json.dumps(document, ensure_ascii=False, default=_plain))
    elif text := text if isinstance(text, str) else "\n".join(text):
        print(text)


def _plain(value: Any) -> Any:
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else str(value)  # type: ignore[arg-type]


def table(rows: Iterable[Sequence[object]], align: str = "") -> str:
    """Rows of cells as lines with aligned columns; what a terminal would obey is shown as "?".

    Args:
        rows: all of the same length.
        align: "l" or "r" for each column; columns beyond its end are aligned left.
    """
    columns = []
    for k, column in enumerate(zip(*rows, strict=True)):
        cells = ["".join(c if c.isprintable() else "?" for c in str(cell)) for cell in column]
        width = max(map(len, cells))
        columns.append([cell.rjust(width) if align[k : k + 1] == "r" else cell.ljust(width) for cell in cells])
    return "\n".join("  ".join(row).rstrip() for row in zip(*columns, strict=True))
