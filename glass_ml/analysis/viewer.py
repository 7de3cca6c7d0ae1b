"""What the 3D view of a report is given: atoms, bonds and cells of the replicas, compact enough for a page."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors

from glass_ml.analysis.coordination import Bonds, coordination_fractions
from glass_ml.structures.state import Structures

MAX_ATOMS = 24_000
"""Atoms in a page, over all replicas shown: about 1 MB, and as many as a telephone still turns."""


def viewer_data(structures: Structures, bonds: Bonds) -> dict[str, Any]:
    """The data of `viewer.js`: `elements`, `usual` (most frequent coordination of each) and `replicas`.

    Replicas are taken in order while their atoms fit into MAX_ATOMS; of a first replica that is larger, a slice of
    that many atoms at the bottom of the cell along its third vector. `left_out` says in words what is missing.
    """
    structures = structures.wrapped()
    fractions = coordination_fractions(bonds)
    elements = list(fractions)
    kind_of = np.zeros(max(elements) + 1, dtype=np.int64)
    kind_of[elements] = np.arange(len(elements))
    counts = structures.counts.tolist()
    number = max(1, int(np.searchsorted(np.cumsum(counts), MAX_ATOMS, side="right")))
    frames = structures.split()[:number]
    start = np.concatenate([[0], np.cumsum(counts)])
    degree = bonds.degree
    replicas = []
    for s, frame in enumerate(frames):
        position, cell = frame.positions.cpu().double().numpy(), frame.cell[0].cpu().double().numpy()
        height = (position @ np.linalg.inv(cell))[:, 2]
        kept = np.sort(np.argsort(height, kind="stable")[:MAX_ATOMS])
        place = np.full(len(position), -1)
        place[kept] = np.arange(len(kept))
        chosen = (bonds.system[bonds.i] == s) & (bonds.i < bonds.j)
        i, j = place[bonds.i[chosen] - start[s]], place[bonds.j[chosen] - start[s]]
        both = (i >= 0) & (j >= 0)
        i, j, shift = i[both], j[both], bonds.shift[chosen][both]
        across = shift.any(1)
        replicas.append(
            {
                "cell": cell.round(3).tolist(),
                "kind": kind_of[frame.numbers.cpu().numpy()[kept]].tolist(),
                "count": degree[kept + start[s]].tolist(),
                "position": position[kept].round(2).ravel().tolist(),
                "bonds": np.stack([i[~across], j[~across]], axis=1).ravel().tolist(),
                "crossing": np.column_stack([i[across], j[across], shift[across]]).ravel().tolist(),
            }
        )
    left_out = ""
    if number < len(counts):
        left_out = f"The first {number} of {len(counts)} replicas are shown."
    if counts[0] > MAX_ATOMS:
        left_out = f"{MAX_ATOMS} of the {counts[0]} atoms of the first replica are shown, from the bottom of its cell."
    return {
        "elements": [
            {
                "symbol": chemical_symbols[z],
                "colour": "#" + "".join(f"{round(255 * c):02x}" for c in jmol_colors[z]),
                "radius": round(0.22 + 0.27 * float(covalent_radii[z]), 3),
            }
            for z in elements
        ],
        "usual": [int(np.nanmean(table, axis=0).argmax()) for table in fractions.values()],
        "replicas": replicas,
        "left_out": left_out,
    }
