"""glass-ml xas-table STRUCTURE --edge 'Si K'."""

import argparse
import json
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("structure", type=Path, help="periodic structure of the material, any file that ase reads")
    parser.add_argument("--edge", required=True, help="absorber and edge, such as 'Si K'")
    parser.add_argument("--out", type=Path, help="folder (default: xas-tables here, where inversions look)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(arguments: argparse.Namespace) -> int:
    """Make the table of the last frame."""
    from glass_ml.files import sha256_file
    from glass_ml.observables.scattering_table import OWN, load_table
    from glass_ml.stages.xas_table import make_table
    from glass_ml.structures.io import read_frames

    atoms = read_frames(arguments.structure)[-1]
    label = f"{arguments.structure.name} (sha256 {sha256_file(arguments.structure)[:16]})"
    path = make_table(atoms, arguments.edge, label, arguments.out or OWN)
    table = load_table(path)
    if arguments.json:
        shape = {"k": [float(table.k[0]), float(table.k[-1])], "r": [float(table.r[0]), float(table.r[-1])]}
        print(json.dumps({"file": str(path), "edge": table.edge, "composition": table.composition, **shape}))
    else:
        scatterers = ", ".join(sorted(table.composition))
        print(f"{path}: {table.edge} edge, neighbours {scatterers}, r {table.r[0]:.2f} to {table.r[-1]:.2f} Å")
    return 0
