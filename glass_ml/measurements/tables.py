"""Tables of numbers as laboratories write them: text, CSV, .gr, .sq, .fq, .xye, .mint01, .xdi.

One reader for all. It is lenient about headers and separators and strict about the numbers.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glass_ml.errors import InputError

COMMENTS = ("#", "!", ";", "%", "//", "@")
MIN_ROWS = 5


@dataclass(frozen=True)
class Table:
    """Numbers of a file.

    Attributes:
        values: (rows, columns), float64.
        lines: line of the file (from 1) that each row stands on.
        header: comment and title lines, in order.
        sha256: checksum of the bytes that were read.
    """

    values: np.ndarray
    lines: np.ndarray
    header: list[str]
    sha256: str


def _numbers(line: str) -> list[float] | None:
    """The numbers of a line, None if it holds anything else."""
    for separator in (",", ";", "\t"):
        line = line.replace(separator, " ")
    try:
        return [float(word.replace("D", "E").replace("d", "e")) for word in line.split()]
    except ValueError:
        return None


def read_table(path: Path | str) -> Table:
    """The table of numbers in a text file, titles, comments and bare counts at its top set apart.

    Raises:
        InputError: missing file, binary file, no table, a line in the table that is not numbers or has another
            number of columns.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("no such file", str(path), "check the path")
    content = path.read_bytes()
    if b"\0" in content:
        raise InputError("a binary file", str(path), "give a text file of two to four columns")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    header: list[str] = []
    rows: list[tuple[int, list[float]]] = []
    odd: list[tuple[int, str]] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith(COMMENTS):
            header += [line] if line and not rows else []
            continue
        values = _numbers(line)
        if values is None:
            odd.append((number, line))
            header += [] if rows else [line]
        else:
            rows.append((number, values))
    width = Counter(len(v) for _, v in rows).most_common(1)[0][0] if rows else 0
    start = next((k for k, (_, v) in enumerate(rows) if len(v) == width), 0)
    # a first row whose first number counts the rows is a header (.xye, .mint01 and their kin)
    if len(rows) - start > MIN_ROWS and rows[start][1][0] == len(rows) - start - 1 > rows[start + 1][1][0]:
        start += 1
    rows = rows[start:]
    if len(rows) < MIN_ROWS or width < 2:
        raise InputError("no table of numbers", str(path), f"expected at least {MIN_ROWS} rows of two to four columns")
    for number, line in odd:
        if number > rows[0][0]:
            raise InputError(f"'{line[:40]}' is not a row of numbers", f"{path}: line {number}", "mend or remove it")
    for number, values in rows:
        if len(values) != width:
            raise InputError(
                f"{len(values)} columns where the other rows have {width}", f"{path}: line {number}", "mend the row"
            )
    checksum = hashlib.sha256(content).hexdigest()
    return Table(np.array([v for _, v in rows]), np.array([n for n, _ in rows]), header, checksum)
