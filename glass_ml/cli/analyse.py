"""glass-ml analyse and xas-table: what structures say of themselves, side by side, and of their absorption edges."""

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

from glass_ml.cli.output import emit, table
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


def run(arguments: argparse.Namespace) -> int:
    """Describe every file and print a table, or JSON."""
    from glass_ml.analysis.diversity import copies
    from glass_ml.analysis.ensemble import describe, summary
    from glass_ml.files import write_json
    from glass_ml.stages.originality import read_thinned
    from glass_ml.structures.io import read_structures

    suffix = Path(arguments.out).suffix.lower() if arguments.out else ""
    if arguments.out and suffix not in (".csv", ".json"):
        raise InputError(f"unknown file type '{suffix}'", f"--out {arguments.out}", "give a .csv or a .json file")
    cutoffs = parse_cutoffs(arguments.cutoff)
    training = read_thinned(arguments.training)[1] if arguments.training else None
    described: dict[str, dict[str, Any]] = {}
    for path in dict.fromkeys(arguments.structures):
        print(f"{path} ...", file=sys.stderr)
        structures = read_structures(path)
        described[path] = describe(structures, cutoffs, rings=not arguments.no_rings)
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
        write_json(arguments.out, document)
    elif suffix == ".csv":
        _write_csv(arguments.out, described)
    emit(arguments, document, _summaries({path: content["summary"] for path, content in document.items()}))
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


def _summaries(summaries: dict[str, dict[str, dict[str, float]]]) -> str:
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
    return table(rows, "l" + "r" * len(summaries))


def configure_xas_table(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `xas-table`."""
    parser.add_argument("structure", type=Path, help="periodic structure of the material, any file that ase reads")
    parser.add_argument("--edge", required=True, help="absorber and edge, such as 'Si K'")
    parser.add_argument("--out", type=Path, help="folder (default: xas-tables here, where inversions look)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run_xas_table(arguments: argparse.Namespace) -> int:
    """Make the table of the last frame."""
    from glass_ml.files import sha256_file
    from glass_ml.observables.scattering_table import OWN, load_table
    from glass_ml.stages.xas_table import make_table
    from glass_ml.structures.io import read_frames

    atoms = read_frames(arguments.structure)[-1]
    label = f"{arguments.structure.name} (sha256 {sha256_file(arguments.structure)[:16]})"
    path = make_table(atoms, arguments.edge, label, arguments.out or OWN)
    made = load_table(path)
    k, r = ([float(axis[0]), float(axis[-1])] for axis in (made.k, made.r))
    document = {"file": path, "edge": made.edge, "composition": made.composition, "k": k, "r": r}
    scatterers = ", ".join(sorted(made.composition))
    emit(arguments, document, f"{path}: {made.edge} edge, neighbours {scatterers}, r {r[0]:.2f} to {r[1]:.2f} Å")
    return 0
