"""glass-ml invert TARGET.yaml."""

import argparse
import json
from pathlib import Path

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
    parser.add_argument("--no-track", action="store_true", help="do not record the run in MLflow")
    parser.add_argument("--json", action="store_true", help="print the metrics as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Invert and say what came out."""
    from glass_ml.analysis.verdict import verdict
    from glass_ml.stages.invert import invert

    out = arguments.out or Path("inversions") / arguments.target.stem
    metrics = invert(
        arguments.target,
        out,
        model=arguments.model,
        n_structures=arguments.structures,
        n_atoms=arguments.atoms,
        seed=arguments.seed,
        processes=arguments.processes,
        devices=devices_of(arguments),
        track=not arguments.no_track,
    )
    if not metrics:  # another process of this command speaks
        return 0
    if arguments.json:
        print(json.dumps(metrics, indent=2))
    else:
        print(verdict(metrics).text())
        print(f"\nStructures, spectra and report: {out}\nWho made them: glass-ml trace {out / 'structures.extxyz'}")
    return 0
