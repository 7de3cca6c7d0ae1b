"""glass-ml spectrum: any forward model on any structure file; every kind's own fields are options."""

import argparse
import sys
from pathlib import Path

from glass_ml.cli.output import emit
from glass_ml.observables.fields import Context, from_text
from glass_ml.observables.kinds import Kind, fields_of_kinds, find_kind, kinds


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("structures", type=Path, help="any structure file that ase reads; the mean over its frames")
    parser.add_argument("--kind", required=True, help=f"one of {', '.join(kinds())}")
    parser.add_argument("--out", type=Path, help="CSV file (default: print)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--x-min", type=float, help="first point (default: by kind; r and Q 0.5, k 3)")
    parser.add_argument("--x-max", type=float, help="last point (default: by kind; r half the cell, Q 20, k 14)")
    parser.add_argument("--points", type=int, default=400, help="number of points (default %(default)s)")
    group = parser.add_argument_group("fields of the kinds")
    for name, meanings in fields_of_kinds(fitted=False).items():
        lines = (
            f"{owners}: {text}{f', {unit}' if unit else ''}{f' (default {default})' if default else ''}"
            for owners, text, unit, default in meanings
        )
        group.add_argument(
            f"--{name.replace('_', '-')}", metavar="X", help="; ".join(lines).replace("%", "%%").replace("`", "")
        )


def run(arguments: argparse.Namespace) -> int:
    """Compute the mean and the spread over the frames, and write them."""
    import torch

    from glass_ml.observables.kinds import elements_of
    from glass_ml.structures.io import from_atoms, read_frames
    from glass_ml.structures.state import concatenate

    kind = find_kind(arguments.kind, "--kind")
    given = {name: from_text(getattr(arguments, name)) for name in fields_of_kinds(fitted=False)}
    settings = kind.build(given, Context("--"), alone=True)
    frames = [from_atoms([frame]) for frame in read_frames(arguments.structures)]
    cells = concatenate(frames)
    settings = kind.check(settings, Context("--", elements_of(cells)))
    half_width = float(cells.half_width.min())
    grid = kind.points(settings, arguments.x_min, arguments.x_max, arguments.points, half_width)
    observable = settings.observable(kind.name, grid, cells)
    with torch.no_grad():
        values = torch.cat([observable.forward(frame) for frame in frames])
    mean = values.mean(0)
    spread = values.std(0) if len(frames) > 1 else torch.zeros_like(mean)
    _write(arguments, kind, len(frames), observable.grid.tolist(), mean.tolist(), spread.tolist())
    return 0


def _write(
    arguments: argparse.Namespace, kind: Kind, frames: int, x: list[float], mean: list[float], spread: list[float]
) -> None:
    if arguments.json:
        document = {
            "file": str(arguments.structures),
            "kind": kind.name,
            "frames": frames,
            "x": x,
            "mean": mean,
            "spread": spread,
        }
        emit(arguments, document, "")
        return
    rows = [f"{a:.6g},{y:.8g},{s:.4g}" for a, y, s in zip(x, mean, spread, strict=True)]
    text = "\n".join(
        [f"# {kind.name}: {kind.formula}", f"# mean and spread of {frames} frames of {arguments.structures}",
         f"# {kind.x},mean,spread", *rows]
    )  # fmt: skip
    if arguments.out:
        from glass_ml.files import write_text

        write_text(arguments.out, text + "\n")
        print(f"wrote {arguments.out}", file=sys.stderr)
    else:
        print(text)
