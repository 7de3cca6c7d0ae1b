"""glass-ml invert TARGET.yaml."""

import argparse
import json
from pathlib import Path
from typing import Any

from glass_ml.cli.options import add_devices, devices_of


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("target", type=Path, help="TARGET.yaml; 'glass-ml data check FILE' writes one")
    parser.add_argument("-n", "--structures", type=int, help="replicas (default: params.yaml)")
    parser.add_argument("--atoms", type=int, help="atoms of each (default: params.yaml)")
    parser.add_argument("--seed", type=int, help="of all random choices (default: params.yaml)")
    parser.add_argument("--model", help="models:/glass-a-Si@production, or a folder (default: models/SYSTEM)")
    parser.add_argument("--out", type=Path, help="folder to write (default: inversions/NAME of the target's file)")
    parser.add_argument("--processes", type=int, help="replicas side by side (default: params.yaml)")
    add_devices(parser)
    parser.add_argument(
        "--cross-validate", action="store_true", help="invert again without each measurement in turn; prints the matrix"
    )
    parser.add_argument("--no-track", action="store_true", help="do not record the run in MLflow")
    parser.add_argument("--json", action="store_true", help="print the metrics as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Invert and say what came out."""
    from glass_ml.analysis.verdict import verdict
    from glass_ml.stages.invert import invert

    out = arguments.out or Path("inversions") / arguments.target.stem
    options: dict[str, Any] = {
        "model": arguments.model,
        "n_structures": arguments.structures,
        "n_atoms": arguments.atoms,
        "seed": arguments.seed,
        "processes": arguments.processes,
        "devices": devices_of(arguments),
        "track": not arguments.no_track,
    }
    if arguments.cross_validate:
        return _cross_validate(arguments, out, options)
    metrics = invert(arguments.target, out, **options)
    if not metrics:  # another process of this command speaks
        return 0
    if arguments.json:
        print(json.dumps(metrics, indent=2))
    else:
        print(verdict(metrics).text())
        print(f"\nStructures, spectra and report: {out}\nWho made them: glass-ml trace {out / 'structures.extxyz'}")
    return 0


def _cross_validate(arguments: argparse.Namespace, out: Path, options: dict[str, Any]) -> int:
    from glass_ml.stages.cross_validation import RESULT, cross_validate, matrix_text

    result = cross_validate(arguments.target, out, **options)
    if result and arguments.json:
        print(json.dumps(result, indent=2))
    elif result:
        print(matrix_text(result))
        print(f"\nEach inversion has its report in {out}; the numbers: {out / RESULT}")
    return 0
