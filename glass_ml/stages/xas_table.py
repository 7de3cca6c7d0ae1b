"""Scattering tables: FEFF runs on a site of a structure, and its numbers become a file that EXAFS reads.

    python -m glass_ml.stages.xas_table

makes the tables that come with the package again, from `glass_ml.simulation.crystals`.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ase import Atoms

from glass_ml.errors import InputError
from glass_ml.observables.scattering_table import OWN, SHIPPED, ScatteringTable, parse_edge, save_table, table_name
from glass_ml.simulation.crystals import CRYSTALS
from glass_ml.simulation.feff import CLUSTER, edge_parts, scattering_arrays, typical_site


def make_table(atoms: Atoms, edge: str, label: str, folder: Path | str = OWN) -> Path:
    """Run FEFF on the most typical site of a structure and write its table; returns the file.

    Args:
        atoms: periodic structure of the material.
        edge: absorber and edge, such as 'Si K'.
        label: says in the table where the structure comes from.
        folder: by default the project's own tables.

    Raises:
        InputError: no such edge or atom, a structure without a cell, FEFF not installed or not able.
    """
    edge = parse_edge(edge, "--edge")
    absorber, hole = edge_parts(edge)
    if abs(atoms.cell.volume) < 1e-6:
        raise InputError("the structure has no cell", label, "give a periodic one")
    atoms = atoms.copy()
    atoms.pbc = True
    site = typical_site(atoms, absorber)
    try:
        arrays = scattering_arrays(atoms, site, hole)
    except RuntimeError as error:
        raise InputError(str(error), label, "try another structure") from None
    counts = Counter(atoms.get_chemical_symbols())
    missing = set(atoms.numbers.tolist()) - set(arrays["scatterers"])
    if missing:
        raise InputError(f"not every element lies within {CLUSTER} Å of the absorber", label, "give a mixed structure")
    composition = {symbol: count / len(atoms) for symbol, count in sorted(counts.items())}
    origin = (
        f"FEFF8L (xraylarch), Hedin-Lundin, potentials of overlapping atoms within {CLUSTER} Å; {label}, atom {site}"
    )
    table = ScatteringTable(edge, **arrays, composition=composition, origin=origin)
    path = Path(folder) / table_name(edge, composition)
    save_table(path, table)
    return path


def make_shipped(folder: Path | str = SHIPPED) -> list[Path]:
    """Make every table that comes with the package; returns the files."""
    return [
        make_table(build(), edge, f"{system}: {(build.__doc__ or '').splitlines()[0]}", folder)
        for system, (build, edges) in CRYSTALS.items()
        for edge in edges
    ]


if __name__ == "__main__":
    for written in make_shipped():
        print(written)
