"""glass-ml spectrum: any forward model on any structure file."""

import argparse
import json
import sys
from pathlib import Path

from glass_ml.errors import InputError
from glass_ml.observables.base import KINDS


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("structures", type=Path, help="any structure file that ase reads; the mean over its frames")
    parser.add_argument("--kind", required=True, help=f"one of {', '.join(KINDS)}")
    parser.add_argument("--out", type=Path, help="CSV file (default: print)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--x-min", type=float, help="first r (Å, default 0.5) or Q (1/Å, default 0.5)")
    parser.add_argument("--x-max", type=float, help="last r (default half the cell) or Q (default 20)")
    parser.add_argument("--points", type=int, default=400, help="number of points (default %(default)s)")
    parser.add_argument("--window", default="none", help="of the sine transform: 'lorch' (as inversions use) or 'none'")
    parser.add_argument("--limit", type=float, help="upper limit of the sine transform, Å (default: half the cell)")
    parser.add_argument("--method", default="sine", help="functions of Q: 'sine' transform, or exact 'reciprocal' sum")
    parser.add_argument("--qmin", type=float, default=0.0, help="functions of r: termination, 1/Å")
    parser.add_argument("--qmax", type=float, help="functions of r: termination, 1/Å")
    parser.add_argument("--qdamp", type=float, default=0.0, help="Gaussian resolution in Q, 1/Å")
    parser.add_argument("--qbroad", type=float, default=0.0, help="widening of peaks by qbroad r")
    parser.add_argument("--broadening", type=float, default=0.0, help="standard deviation added to distances, Å")
    parser.add_argument("--radiation", help="weights of the elements in gr and pdf: xray, neutron or number")
    parser.add_argument("--pair", help="one partial of gr, such as Si-O")


def run(arguments: argparse.Namespace) -> int:
    """Compute the mean and the spread over the frames, and write them."""
    import torch

    from glass_ml.observables.base import RECIPROCAL_KINDS, Instrument
    from glass_ml.observables.registry import check_kind, make_observable
    from glass_ml.structures.io import from_atoms, read_frames

    check_kind(arguments.kind, "--kind")
    for name in ("qmin", "qdamp", "qbroad", "broadening"):
        if getattr(arguments, name) < 0:
            raise InputError(f"{getattr(arguments, name)} is negative", f"--{name}")
    frames = [from_atoms([frame]) for frame in read_frames(arguments.structures)]
    half_width = min(float(frame.half_width[0]) for frame in frames)
    in_q = arguments.kind in RECIPROCAL_KINDS
    if arguments.limit is not None and not arguments.limit > 0:
        raise InputError(f"{arguments.limit} is not positive", "--limit", "give a distance in Å")
    low = 0.5 if arguments.x_min is None else arguments.x_min
    high = (20.0 if in_q else half_width) if arguments.x_max is None else arguments.x_max
    if not 0 < low < high or arguments.points < 2:
        raise InputError(
            f"{arguments.points} points from {low:g} to {high:g}", "--x-min, --x-max", "ascend from above 0"
        )
    grid = torch.linspace(low, high, arguments.points, dtype=torch.float64)
    observable = make_observable(
        arguments.kind,
        grid,
        instrument=Instrument(arguments.qmin, arguments.qmax, arguments.qdamp, arguments.qbroad, arguments.window),
        broadening=arguments.broadening,
        radiation=arguments.radiation,
        pair=arguments.pair,
        limit=min(half_width * (1 - 1e-6), arguments.limit or half_width) if in_q else None,
        method=arguments.method,
    )
    with torch.no_grad():
        values = torch.cat([observable.forward(frame) for frame in frames])
    mean = values.mean(0)
    spread = values.std(0) if len(frames) > 1 else torch.zeros_like(mean)
    if arguments.json:
        document = {
            "file": str(arguments.structures),
            "kind": arguments.kind,
            "frames": len(frames),
            "x": grid.tolist(),
            "mean": mean.tolist(),
            "spread": spread.tolist(),
        }
        print(json.dumps(document))
        return 0
    unit, meaning = KINDS[arguments.kind]
    rows = [f"{x:.6g},{y:.8g},{s:.4g}" for x, y, s in zip(grid.tolist(), mean.tolist(), spread.tolist(), strict=True)]
    text = "\n".join(
        [f"# {arguments.kind}: {meaning}", f"# mean and spread of {len(frames)} frames of {arguments.structures}",
         f"# {unit},mean,spread", *rows]
    )  # fmt: skip
    if arguments.out:
        from glass_ml.files import write_text

        write_text(arguments.out, text + "\n")
        print(f"wrote {arguments.out}", file=sys.stderr)
    else:
        print(text)
    return 0
