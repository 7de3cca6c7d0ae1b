"""Scattering tables by FEFF8L: potentials and phases of one site, then one run over straight paths of many lengths.

The programs come with xraylarch. Their path expansion reads its paths from a file, so that paths of any length, to
atoms that need not be there, cost a millisecond each once the potentials are known.
Source: Rehr et al., Phys. Chem. Chem. Phys. 12, 5503 (2010); Rehr and Albers, Rev. Mod. Phys. 72, 621 (2000), eq. 30.
"""

from __future__ import annotations

import importlib.util
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from ase.neighborlist import neighbor_list

from glass_ml.errors import InputError

CLUSTER = 7.0
"""Radius of the cluster whose overlapping atoms give the potentials, Å."""

DISTANCES = np.arange(1.40, 6.2001, 0.05)
"""Lengths of the paths that a table holds, Å."""

HOLES = {"K": 1, "L1": 2, "L2": 3, "L3": 4}
MOST_PATHS = 999  # what FEFF's path numbers of four digits and its fixed arrays hold with room to spare


def programs() -> Path:
    """Folder of the FEFF8L programs.

    Raises:
        InputError: xraylarch is not installed.
    """
    found = importlib.util.find_spec("larch")
    folder = Path(found.origin).parent / "bin" / "linux64" if found and found.origin else None
    if folder is None or not (folder / "feff8l_genfmt").exists():
        raise InputError("FEFF8L is not installed", "xraylarch", "pip install 'glass_ml[xas]'")
    return folder


def run_feff(folder: Path, *modules: str) -> None:
    """Run modules of FEFF8L in a folder that holds their input.

    Raises:
        RuntimeError: a module failed; the message ends with what it said.
    """
    for module in modules:
        program = programs() / f"feff8l_{module}"
        done = subprocess.run([str(program)], cwd=folder, capture_output=True, text=True, errors="replace")
        said = (done.stdout + done.stderr).strip()
        if done.returncode != 0 or "fatal" in said.lower():
            raise RuntimeError(f"FEFF8L {module} failed: {said[-300:]}")


def typical_site(atoms: Atoms, absorber: int, neighbours: int = 12) -> int:
    """The atom of an element whose nearest distances are closest to the mean of all atoms of it.

    Raises:
        InputError: there is no such atom.
    """
    sites = np.flatnonzero(atoms.numbers == absorber)
    if not len(sites):
        raise InputError(f"no {chemical_symbols[absorber]} in the structure", "edge", "name an element that it holds")
    i, distance = neighbor_list("id", atoms, CLUSTER)
    nearest = [np.sort(distance[i == site])[:neighbours] for site in sites]
    length = min(len(row) for row in nearest)
    if length < 1:
        raise InputError(f"an atom has no neighbour within {CLUSTER} Å", "structure", "give a condensed material")
    rows = np.stack([row[:length] for row in nearest])
    return int(sites[np.square(rows - rows.mean(0)).sum(1).argmin()])


def feff_input(atoms: Atoms, site: int, hole: str, *, cluster: float = CLUSTER, cards: str = "") -> str:
    """The text of feff.inp for one site of a periodic structure.

    Args:
        atoms: the structure.
        site: index of the absorber.
        hole: 'K', 'L1', 'L2' or 'L3'.
        cluster: radius of the cluster, Å.
        cards: further cards, one per line.
    """
    i, j, vector, distance = neighbor_list("ijDd", atoms, cluster)
    around = np.flatnonzero(i == site)
    around = around[np.argsort(distance[around], kind="stable")]
    potential = {z: n for n, z in enumerate(sorted(set(atoms.numbers[j[around]].tolist())), 1)}
    absorber = int(atoms.numbers[site])
    lines = [
        "TITLE glass_ml",
        f"HOLE {HOLES[hole]} 1.0",
        "CONTROL 1 1 1 1 1 1",
        "PRINT 1 0 0 0 0 3",
        "EXCHANGE 0",
        "CRITERIA 0.0 0.0",
        cards,
        "POTENTIALS",
        f"0 {absorber} {chemical_symbols[absorber]}",
        *(f"{n} {z} {chemical_symbols[z]}" for z, n in potential.items()),
        "ATOMS",
        "0.0 0.0 0.0 0",
    ]
    for pair in around:
        x, y, z = vector[pair]
        lines.append(f"{x:.5f} {y:.5f} {z:.5f} {potential[int(atoms.numbers[j[pair]])]}")
    return "\n".join([*lines, "END", ""])


def straight_paths(potentials: int, distances: np.ndarray) -> str:
    """The text of paths.dat: one path out and back for every potential (1, 2, ...) and distance (Å)."""
    lines = ["two-leg paths of glass_ml", " " + "-" * 71]
    number = 0
    for potential in range(1, potentials + 1):
        for r in distances:
            number += 1
            lines += [
                f"{number:6d}    2   1.000  index, nleg, degeneracy, r={r:8.4f}",
                "      x           y           z     ipot  label      rleg      beta        eta",
                f"{0:12.6f}{0:12.6f}{r:12.6f}{potential:4d} 'S     '{r:12.4f}{180:12.4f}{0:12.4f}",
                f"{0:12.6f}{0:12.6f}{0:12.6f}{0:4d} 'A     '{r:12.4f}{180:12.4f}{0:12.4f}",
            ]
    return "\n".join([*lines, ""])


def read_path(file: Path) -> np.ndarray:
    """The table of a feffNNNN.dat, (K, 7): k, 2 delta_c, |f_eff|, phase of f_eff, reduction, mean free path, p."""
    lines = file.read_text(encoding="latin-1").splitlines()
    start = next(n for n, line in enumerate(lines) if "real[2*phc]" in line)
    return np.array([[float(word) for word in line.split()] for line in lines[start + 1 :] if line.strip()])


def scattering_arrays(atoms: Atoms, site: int, hole: str, distances: np.ndarray = DISTANCES) -> dict:
    """The arrays of a scattering table, as `glass_ml.observables.scattering_table.ScatteringTable` names them.

    Args:
        atoms: periodic structure that gives the potentials.
        site: index of the absorber.
        hole: 'K', 'L1', 'L2' or 'L3'.
        distances: lengths of the paths, (R,), Å.

    Raises:
        InputError: xraylarch is not installed.
        RuntimeError: FEFF failed.
    """
    with tempfile.TemporaryDirectory(prefix="feff-") as name:
        folder = Path(name)
        (folder / "feff.inp").write_text(feff_input(atoms, site, hole), encoding="ascii")
        run_feff(folder, "rdinp", "pot", "xsph")
        i, j = neighbor_list("ij", atoms, CLUSTER)
        scatterers = tuple(sorted(set(atoms.numbers[j[i == site]].tolist())))
        if len(scatterers) * len(distances) > MOST_PATHS:
            raise RuntimeError(f"{len(scatterers)} scatterers at {len(distances)} distances are too many paths")
        (folder / "paths.dat").write_text(straight_paths(len(scatterers), distances), encoding="ascii")
        run_feff(folder, "genfmt", "ff2x")
        rows = [read_path(folder / f"feff{n:04d}.dat") for n in range(1, len(scatterers) * len(distances) + 1)]
    table = np.stack(rows).reshape(len(scatterers), len(distances), *rows[0].shape)[:, :, 1:]  # without k = 0
    k, two_delta, magnitude, phase, reduction, path = np.moveaxis(table[..., :6], -1, 0)
    return {
        "scatterers": scatterers,
        "k": k[0, 0],
        "r": np.asarray(distances, dtype=float),
        "amplitude": magnitude,
        "phase": np.unwrap(two_delta + phase, axis=-1),
        "reduction": reduction[0, 0],
        "mean_free_path": path[0, 0],
    }


def edge_parts(edge: str) -> tuple[int, str]:
    """Atomic number and hole of an edge such as 'Si K'."""
    symbol, hole = edge.split()
    return atomic_numbers[symbol], hole
