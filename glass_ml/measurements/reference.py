"""The tables of kinds and of their fields in the documentation, made from the kinds themselves.

    python -m glass_ml.measurements.reference [docs/measurements.md]

writes them between the two markers of each in the page.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from glass_ml.files import write_text
from glass_ml.observables.kinds import fields_of_kinds, kinds

PAGE = Path("docs/measurements.md")


def kinds_table() -> str:
    """Every kind with its x, its y and its own fields, the needed ones in bold, as Markdown."""
    rows = ["| kind | x | y | its own fields (**needed**) |", "|---|---|---|---|"]
    for kind in kinds().values():
        fields = (f"**`{name}`**" if name in kind.needed else f"`{name}`" for name in kind.fields)
        rows.append(f"| `{kind.name}` | {kind.x} | {kind.formula} | {', '.join(fields)} |")
    return "\n".join(rows)


def fields_table() -> str:
    """Every field that only some kinds have, as Markdown."""
    rows = ["| field | of | meaning | unit | default |", "|---|---|---|---|---|"]
    for name, meanings in fields_of_kinds().items():
        rows += [f"| {' | '.join((f'`{name}`', *meaning))} |" for meaning in meanings]
    return "\n".join(rows)


def updated(page: str) -> str:
    """The text of a page with its tables made anew.

    Raises:
        ValueError: it lacks a marker.
    """
    for name, table in (("kinds", kinds_table()), ("fields", fields_table())):
        start, end = f"<!-- {name}: made by glass_ml.measurements.reference -->\n", f"\n<!-- end of {name} -->"
        before, after = page.index(start) + len(start), page.index(end)
        page = page[:before] + table + page[after:]
    return page


def main(arguments: Sequence[str]) -> None:
    """Rewrite the tables of a page."""
    path = Path(arguments[0]) if arguments else PAGE
    write_text(path, updated(path.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main(sys.argv[1:])
