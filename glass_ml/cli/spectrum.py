"""glass-ml spectrum: any forward model on any structure file."""

import argparse
import sys
from pathlib import Path
from typing import Any

from glass_ml.cli.output import emit
from glass_ml.errors import InputError
from glass_ml.observables.base import KINDS

RANGES = {
    "exafs": (3.0, 14.0),
    "adf": (1.0, 179.0),
    "coordination": (0.0, 8.0),
    "pair-count": (0.5, 6.0),
    "distance-window": (0.5, 6.0),
}
"""Default range of x of a kind; functions of r go from 0.5 Å to half the cell, functions of Q from 0.5 to 20 1/Å."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("structures", type=Path, help="any structure file that ase reads; the mean over its frames")
    parser.add_argument("--kind", required=True, help=f"one of {', '.join(KINDS)}")
    parser.add_argument("--out", type=Path, help="CSV file (default: print)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--x-min", type=float, help="first point (default: by kind; r and Q 0.5, k 3)")
    parser.add_argument("--x-max", type=float, help="last point (default: by kind; r half the cell, Q 20, k 14)")
    parser.add_argument("--points", type=int, default=400, help="number of points (default %(default)s)")
    parser.add_argument("--window", default="none", help="of the sine transform: 'lorch' (as inversions use) or 'none'")
    parser.add_argument(
        "--limit", type=float, help="farthest distance, Å: of the sine transform (default half the cell)"
    )
    parser.add_argument("--method", default="sine", help="functions of Q: 'sine' transform, or exact 'reciprocal' sum")
    parser.add_argument("--qmin", type=float, default=0.0, help="functions of r: termination, 1/Å")
    parser.add_argument("--qmax", type=float, help="functions of r: termination, 1/Å")
    parser.add_argument("--qdamp", type=float, default=0.0, help="Gaussian resolution in Q, 1/Å")
    parser.add_argument("--qbroad", type=float, default=0.0, help="widening of peaks by qbroad r")
    parser.add_argument("--broadening", type=float, help="standard deviation added to distances, Å; adf: °")
    parser.add_argument("--radiation", help="weights of the elements in gr and pdf: xray, neutron or number")
    parser.add_argument("--pair", help="gr: one partial, Si-O; coordination, pair-count: the O around each Si")
    parser.add_argument("--edge", help="exafs: absorber and edge, such as 'Si K'")
    parser.add_argument("--table", type=Path, help="exafs: scattering table (default: the one of these elements)")
    parser.add_argument("--k-weight", type=float, default=0.0, help="exafs: power of k that chi is multiplied by")
    parser.add_argument("--triplet", help="adf: elements, the apex in the middle, O-Si-O")
    parser.add_argument("--cutoff", help="adf, coordination: end of a bond, Å: 2.1, or by pair Si-O=2.1,Si-Si=2.7")
    parser.add_argument("--surrogate", type=Path, help="xanes: folder of the model, models/aC-xanes")


def run(arguments: argparse.Namespace) -> int:
    """Compute the mean and the spread over the frames, and write them."""
    import torch

    from glass_ml.observables.registry import check_kind, make_observable
    from glass_ml.structures.io import from_atoms, read_frames

    check_kind(arguments.kind, "--kind")
    frames = [from_atoms([frame]) for frame in read_frames(arguments.structures)]
    half_width = min(float(frame.half_width[0]) for frame in frames)
    grid = _grid(arguments, half_width)
    observable = make_observable(arguments.kind, grid, **_options(arguments, frames, half_width))
    with torch.no_grad():
        values = torch.cat([observable.forward(frame) for frame in frames])
    mean = values.mean(0)
    spread = values.std(0) if len(frames) > 1 else torch.zeros_like(mean)
    _write(arguments, len(frames), observable.grid.tolist(), mean.tolist(), spread.tolist())
    return 0


def _grid(arguments: argparse.Namespace, half_width: float) -> Any:
    import torch

    from glass_ml.observables.base import RECIPROCAL_KINDS
    from glass_ml.observables.surrogate_files import load_surrogate

    if arguments.kind == "xanes" and arguments.surrogate is not None:
        own = load_surrogate(arguments.surrogate).energies.double()
        low = float(own[0]) if arguments.x_min is None else arguments.x_min
        high = float(own[-1]) if arguments.x_max is None else arguments.x_max
        return own[(own >= low) & (own <= high)]
    low, high = RANGES.get(arguments.kind, (0.5, 20.0 if arguments.kind in RECIPROCAL_KINDS else half_width))
    low = low if arguments.x_min is None else arguments.x_min
    high = high if arguments.x_max is None else arguments.x_max
    least = -1.0 if arguments.kind == "coordination" else 0.0
    if not least < low < high or arguments.points < 2:
        raise InputError(
            f"{arguments.points} points from {low:g} to {high:g}", "--x-min, --x-max", "ascend from above 0"
        )
    if arguments.kind == "coordination":
        return torch.arange(round(low), round(high) + 1, dtype=torch.float64)
    return torch.linspace(low, high, arguments.points, dtype=torch.float64)


def _options(arguments: argparse.Namespace, frames: list[Any], half_width: float) -> dict[str, Any]:
    """What the forward model needs besides its grid."""
    from ase.data import chemical_symbols

    from glass_ml.observables.base import RECIPROCAL_KINDS, Instrument
    from glass_ml.observables.scattering_table import find_table

    for name in ("qmin", "qdamp", "qbroad", "broadening"):
        if (getattr(arguments, name) or 0) < 0:
            raise InputError(f"{getattr(arguments, name)} is negative", f"--{name}")
    if arguments.limit is not None and not arguments.limit > 0:
        raise InputError(f"{arguments.limit} is not positive", "--limit", "give a distance in Å")
    options = {
        "instrument": Instrument(arguments.qmin, arguments.qmax, arguments.qdamp, arguments.qbroad, arguments.window),
        "broadening": arguments.broadening,
        "radiation": arguments.radiation,
        "pair": arguments.pair,
        "limit": arguments.limit,
        "method": arguments.method,
        "table": arguments.table,
        "edge": arguments.edge,
        "k_weight": arguments.k_weight,
        "triplet": arguments.triplet,
        "cutoff": _cutoff(arguments.cutoff),
        "surrogate": arguments.surrogate,
    }
    if arguments.kind in RECIPROCAL_KINDS:
        options["limit"] = min(half_width * (1 - 1e-6), arguments.limit or half_width)
    if arguments.kind == "exafs" and arguments.table is None and arguments.edge is not None:
        elements = {chemical_symbols[z] for frame in frames for z in frame.numbers.unique().tolist()}
        options["table"] = find_table(arguments.edge, elements, "--edge")
    return options


def _cutoff(text: str | None) -> float | dict[str, float] | None:
    if text is None:
        return None
    try:
        by_pair = {pair: float(value) for pair, value in (part.split("=") for part in text.split(","))}
    except ValueError:
        by_pair = {}
    try:
        return by_pair or float(text)
    except ValueError:
        raise InputError(f"'{text}' is no distance", "--cutoff", "write 2.1, or Si-O=2.1,Si-Si=2.7") from None


def _write(arguments: argparse.Namespace, frames: int, x: list[float], mean: list[float], spread: list[float]) -> None:
    if arguments.json:
        document = {
            "file": str(arguments.structures),
            "kind": arguments.kind,
            "frames": frames,
            "x": x,
            "mean": mean,
            "spread": spread,
        }
        emit(arguments, document, "")
        return
    unit, meaning = KINDS[arguments.kind]
    rows = [f"{a:.6g},{y:.8g},{s:.4g}" for a, y, s in zip(x, mean, spread, strict=True)]
    text = "\n".join(
        [f"# {arguments.kind}: {meaning}", f"# mean and spread of {frames} frames of {arguments.structures}",
         f"# {unit},mean,spread", *rows]
    )  # fmt: skip
    if arguments.out:
        from glass_ml.files import write_text

        write_text(arguments.out, text + "\n")
        print(f"wrote {arguments.out}", file=sys.stderr)
    else:
        print(text)
