"""glass-ml analyse: coordination, angles and rings of structure files, side by side."""

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any

from glass_ml.errors import InputError


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("structures", nargs="+", metavar="STRUCTURES", help="structure file, every frame a replica")
    parser.add_argument(
        "--cutoff",
        action="append",
        default=[],
        metavar="A-B=R",
        help="longest A-B bond in Å, such as Si-O=2.2 (default: the first minimum of g(r); may be repeated)",
    )
    parser.add_argument("--no-rings", action="store_true", help="leave the rings out (much faster for large cells)")
    parser.add_argument(
        "--training",
        metavar="FILE",
        help="look for copies of the structures in this file, such as data/a-Si/train.extxyz",
    )
    parser.add_argument("--out", metavar="FILE", help="write the values of every structure: .csv or .json")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document with the values of every structure"
    )


def parse_cutoffs(texts: list[str]) -> dict[str, float]:
    """Cutoffs out of texts such as 'Si-O=2.2'.

    Raises:
        InputError: a text is not a pair of elements, an equals sign and a number.
    """
    cutoffs = {}
    for text in texts:
        pair, _, value = text.partition("=")
        try:
            cutoffs[pair] = float(value)
        except ValueError:
            raise InputError(f"'{text}' is not a cutoff", "--cutoff", "write it as Si-O=2.2, in Å") from None
    return cutoffs


def run(args: argparse.Namespace) -> int:
    """Describe every file and print a table, or JSON."""
    from glass_ml.analysis.diversity import copies
    from glass_ml.analysis.ensemble import describe, summary
    from glass_ml.files import write_json
    from glass_ml.stages.originality import read_thinned
    from glass_ml.structures.io import read_structures

    suffix = Path(args.out).suffix.lower() if args.out else ""
    if args.out and suffix not in (".csv", ".json"):
        raise InputError(f"unknown file type '{suffix}'", f"--out {args.out}", "give a .csv or a .json file")
    cutoffs = parse_cutoffs(args.cutoff)
    training = read_thinned(args.training)[1] if args.training else None
    described: dict[str, dict[str, Any]] = {}
    for path in dict.fromkeys(args.structures):
        print(f"{path} ...", file=sys.stderr)
        structures = read_structures(path)
        described[path] = describe(structures, cutoffs, rings=not args.no_rings)
        if training is not None:
            described[path]["copied"] = copies(structures, training).fraction
    document: dict[str, dict[str, Any]] = {
        path: {
            "summary": summary(values),
            "values": {name: [None if v != v else float(v) for v in column] for name, column in values.items()},
        }
        for path, values in described.items()
    }
    if suffix == ".json":
        write_json(args.out, document)
    elif suffix == ".csv":
        _write_csv(args.out, described)
    if args.json:
        print(json.dumps(document, indent=2))
    else:
        print(_table({path: content["summary"] for path, content in document.items()}))
    return 0


def _write_csv(path: str, described: dict[str, dict[str, Any]]) -> None:
    """A row per structure, a column per descriptor."""
    from glass_ml.files import atomic_path

    names = list(dict.fromkeys(name for values in described.values() for name in values))
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "structure", *names])
        for source, values in described.items():
            for k in range(len(values["density"])):
                writer.writerow([source, k, *(float(values[n][k]) if n in values else "" for n in names)])


def _table(summaries: dict[str, dict[str, dict[str, float]]]) -> str:
    """Descriptors in rows, files in columns: mean ± standard deviation over the structures of a file."""
    from glass_ml.analysis.names import GROUPS, label

    names = list(dict.fromkeys(name for values in summaries.values() for name in values))
    names.sort(key=lambda name: GROUPS.index(label(name).group))
    rows = [["", *(Path(path).name for path in summaries), "unit"]]
    for name in names:
        shown = label(name)
        cells = [
            f"{shown.number(v[name]['mean'])} ± {shown.number(v[name]['std'])}" if name in v else "-"
            for v in summaries.values()
        ]
        rows.append([name, *cells, shown.unit])
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if k in (0, len(widths) - 1) else cell.rjust(w)
            for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
