"""glass-ml data: look at measured files, convert them, reduce mu(E) to chi(k), list them."""

import argparse
import sys
from pathlib import Path
from typing import Any

from glass_ml.cli.output import emit, table
from glass_ml.errors import InputError


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their options."""
    actions = parser.add_subparsers(dest="action", metavar="check | convert | reduce | list", required=True)
    check = actions.add_parser("check", help="what a file looks like, a plot, and a TARGET.yaml to start from")
    check.add_argument("file", type=Path)
    check.add_argument("--kind", help=f"read it as this kind (default: the likeliest){_listed('check')}")
    check.add_argument("--out", type=Path, help="the plot (default: <name>.png here); the TARGET.yaml goes beside it")
    check.add_argument("--k-weight", type=float, default=0.0, help="power of k that chi(k) carries (%(default)s)")
    convert = actions.add_parser("convert", help="the same data in another convention")
    convert.add_argument("file", type=Path)
    convert.add_argument("--from", dest="source", required=True, metavar="KIND", help=f"convention{_listed('convert')}")
    convert.add_argument("--to", required=True, metavar="KIND", help="another of them")
    convert.add_argument("--out", type=Path, help="CSV file (default: print)")
    convert.add_argument("--grid", metavar="LOW:HIGH:STEP", help="x of the result, between r and Q")
    convert.add_argument("--lorch", action="store_true", help="Lorch's window in the transform between r and Q")
    for action in (check, convert):
        action.add_argument("--density", help="atoms/Å^3, or a text such as '2.20 g/cm3'")
        action.add_argument("--composition", metavar="EL=N,...", help="such as Si=1,O=2")
    reduce = actions.add_parser("reduce", help="chi(k) of a measured mu(E), by larch's autobk, with a plot")
    reduce.add_argument("file", type=Path, help="XDI, or columns with names")
    reduce.add_argument("--edge", help="such as 'Cu K' (default: the file's, or the nearest to its step)")
    reduce.add_argument("--e0", type=float, help="edge energy, eV (default: the steepest rise)")
    reduce.add_argument(
        "--rbkg", type=float, default=1.0, help="distance below which all is background, Å (%(default)s)"
    )
    reduce.add_argument("--k-max", type=float, help="upper end, 1/Å (default: the data's)")
    reduce.add_argument("--k-weight", type=float, default=2.0, help="of the plot (default %(default)s)")
    reduce.add_argument("--out", type=Path, help="chi(k) (default: <name>.chi here); the plot goes beside it")
    listing = actions.add_parser("list", help="the spectra below a folder")
    listing.add_argument("folder", type=Path, nargs="?", default=Path("../shared/data"))
    for action in (check, convert, reduce, listing):
        action.add_argument("--json", action="store_true", help="print one JSON document")


def parse_composition(text: str | None) -> dict[str, float] | None:
    """A composition out of a text such as 'Si=1,O=2' (or 'Si', which is 'Si=1').

    Raises:
        InputError: it is none.
    """
    from ase.data import atomic_numbers

    if text is None:
        return None
    composition = {}
    for part in text.split(","):
        symbol, _, amount = part.strip().partition("=")
        try:
            composition[symbol] = float(amount or 1)
        except ValueError:
            composition[symbol] = 0.0
        if symbol not in atomic_numbers or symbol == "X" or not 0 < composition[symbol] < float("inf"):
            raise InputError(f"'{part}' is not an element with a positive amount", "--composition", "write Si=1,O=2")
    return composition


def _listed(action: str) -> str:
    """What an action can be given, for its own help: nothing else waits until all kinds are loaded."""
    if action not in sys.argv[2:3]:
        return ""
    if action == "check":
        from glass_ml.observables.kinds import kinds

        return ": " + ", ".join(kinds())
    from glass_ml.measurements.conventions import CONVENTIONS

    return ": " + "; ".join(f"{name}: {formula}" for name, formula in CONVENTIONS.items())


def run(arguments: argparse.Namespace) -> int:
    """Do the action."""
    actions = {"check": check, "convert": convert_file, "reduce": reduce_file, "list": list_spectra}
    return actions[arguments.action](arguments)


def _density(arguments: argparse.Namespace, composition: dict[str, float] | None) -> float | None:
    from glass_ml.units import parse_density

    if arguments.density is None:
        return None
    if composition is None and not arguments.density.replace(".", "").isdigit():
        raise InputError("a density by mass needs the composition", "--composition", "write Si=1,O=2")
    return parse_density(arguments.density, composition or {"Si": 1.0}, "--density")


def check(arguments: argparse.Namespace) -> int:
    """Print what the file looks like; write the plot and the stub."""
    from glass_ml.files import write_text
    from glass_ml.measurements.inspection import inspect, plot_inspection, target_stub

    composition = parse_composition(arguments.composition)
    density = _density(arguments, composition)
    found = inspect(arguments.file, arguments.kind, density, composition, arguments.k_weight)
    picture = arguments.out or Path(f"{arguments.file.stem}.png")
    stub = picture.with_name(f"{arguments.file.stem}.target.yaml")
    plot_inspection(found, picture)
    kept = stub.exists()  # somebody may have filled it in
    if not kept:
        write_text(stub, target_stub(found, density, composition, arguments.k_weight))
    summary = {**found.summary(), "plot": str(picture), "target": str(stub)}
    rows = [
        ("x", f"{summary['x_min']:g} to {summary['x_max']:g}"),
        ("y", f"{summary['y_min']:.4g} to {summary['y_max']:.4g}; starts at {summary['low_x_value']:.4g}"),
        ("high x", f"{summary['high_x_mean']:.4g} +- {summary['high_x_scatter']:.2g}"),
        ("sigma", f"{summary['sigma_median']:.3g} (median)"),
        *(("looks like", f"{guess['kind']}: {guess['because']}") for guess in summary["guesses"]),
        ("read as", summary["kind"] if arguments.kind else ""),
        ("peaks at", ", ".join(f"{p:g}" for p in summary["peaks"])),
        ("distances", ", ".join(f"{d:.2f}" for d in summary["distances"]) + " Å" if summary["distances"] else ""),
        ("density", f"{d:.4f} atoms/Å^3 from the low-r slope" if (d := summary["density_from_low_r"]) else ""),
        *(("note", note) for note in summary["notes"]),
    ]
    title = f"{summary['file']}: {summary['points']} points in {summary['columns']} columns"
    emit(arguments, summary, [title, table([(f"  {name}", text) for name, text in rows if text])])
    if arguments.json:
        return 0
    print(f"wrote {picture}; kept the {stub} that is there" if kept else f"wrote {picture} and {stub}", file=sys.stderr)
    return 0


def convert_file(arguments: argparse.Namespace) -> int:
    """Write the data in another convention, with their uncertainty."""
    import numpy as np

    from glass_ml.files import write_text
    from glass_ml.measurements.conventions import CONVENTIONS, REAL, convert
    from glass_ml.measurements.readers import read_data

    composition = parse_composition(arguments.composition)
    for option, kind in (("--from", arguments.source), ("--to", arguments.to)):
        if kind not in CONVENTIONS:
            raise InputError(f"unknown convention '{kind}'", option, f"one of {', '.join(CONVENTIONS)}")
    x, y, sigma, notes = read_data(arguments.file, in_q=arguments.source not in REAL)
    positive = x > 0
    x, y, sigma = convert(
        x[positive],
        y[positive],
        arguments.source,
        arguments.to,
        density=_density(arguments, composition),
        composition=composition,
        sigma=None if sigma is None else sigma[positive],
        grid=_grid(arguments.grid),
        lorch=arguments.lorch,
    )
    for note in notes:
        print(note, file=sys.stderr)
    columns = {"x": x, "y": y} if sigma is None else {"x": x, "y": y, "sigma": sigma}
    if arguments.json:
        emit(arguments, {"kind": arguments.to, **{k: v.tolist() for k, v in columns.items()}}, "")
        return 0
    rows = [",".join(f"{v:.8g}" for v in row) for row in np.stack(list(columns.values()), axis=1)]
    text = "\n".join(
        [f"# {arguments.to}: {CONVENTIONS[arguments.to]}", f"# from {arguments.file} ({arguments.source})",
         f"# {','.join(columns)}", *rows]
    )  # fmt: skip
    if arguments.out:
        write_text(arguments.out, text + "\n")
    else:
        print(text)
    return 0


def reduce_file(arguments: argparse.Namespace) -> int:
    """Write chi(k) of a measured mu(E), and the plot of how it came about."""
    from glass_ml.measurements.absorption import read_absorption
    from glass_ml.measurements.reduction import plot_reduction, reduce_absorption, write_reduction

    measured = read_absorption(arguments.file, arguments.edge)
    if not 0 < arguments.rbkg < 3:
        raise InputError(f"{arguments.rbkg} Å", "--rbkg", "give about half the shortest bond, such as 1.0")
    found = reduce_absorption(
        measured, str(arguments.file), e0=arguments.e0, rbkg=arguments.rbkg, k_max=arguments.k_max
    )
    out = arguments.out or Path(f"{arguments.file.stem}.chi")
    picture = out.with_suffix(".png")
    write_reduction(found, out, arguments.file.name)
    plot_reduction(found, picture, arguments.k_weight)
    summary = {
        "edge": found.edge,
        "signal": measured.signal,
        "e0": found.e0,
        "edge_step": found.edge_step,
        "k_max": float(found.k[-1]),
        "noise": found.noise,
        "file": str(out),
        "plot": str(picture),
    }
    lines = [
        f"{arguments.file}: {found.edge} edge, {measured.signal}",
        f"  E0 {found.e0:.1f} eV, edge step {found.edge_step:.4g}",
        f"  k to {found.k[-1]:.2f} 1/Å, noise of chi(k) {found.noise:.2g}",
    ]
    emit(arguments, summary, lines)
    if not arguments.json:
        print(f"wrote {out} and {picture}", file=sys.stderr)
    return 0


def _grid(text: str | None) -> Any:
    import numpy as np

    if text is None:
        return None
    try:
        low, high, step = (float(word) for word in text.split(":"))
        if not (0 < low < high and 0 < step < high - low):
            raise ValueError
    except ValueError:
        raise InputError(f"'{text}' is not a grid", "--grid", "write LOW:HIGH:STEP, such as 0.02:12:0.02") from None
    return np.arange(low, high + 0.5 * step, step)


def list_spectra(arguments: argparse.Namespace) -> int:
    """Print the spectra below a folder."""
    from glass_ml.measurements.inspection import find_spectra

    found = find_spectra(arguments.folder)
    rows = [
        (e["kind"] or "?", f"{e['points']} points", f"x {e['x_min']:g} to {e['x_max']:g}", e["file"]) for e in found
    ]
    emit(arguments, found, table(rows, "lr"))
    if not arguments.json:
        print(f"{len(found)} tables below {arguments.folder}; the kind is a guess from their looks", file=sys.stderr)
    return 0
