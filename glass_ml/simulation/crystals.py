"""Crystals of the compositions that come with scattering tables: their atoms give the potentials of FEFF.

The scattering of an atom hardly depends on how its neighbours
are arranged, so that a crystal serves for the glass; `glass-ml xas-table` makes a table from any structure.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal


def silicon() -> Atoms:
    """Diamond structure."""
    return bulk("Si", "diamond", 5.431, cubic=True)


def carbon() -> Atoms:
    """Diamond."""
    return bulk("C", "diamond", 3.567, cubic=True)


def silica() -> Atoms:
    """Alpha-cristobalite. Source: Downs and Palmer, Am. Mineral. 79, 9 (1994)."""
    basis = [(0.3003, 0.3003, 0.0), (0.2392, 0.1044, 0.1787)]
    return crystal("SiO", basis, spacegroup=92, cellpar=[4.9717, 4.9717, 6.9223, 90, 90, 90])


def copper_zirconium() -> Atoms:
    """CuZr, CsCl structure. Source: Carvalho and Harris, J. Less-Common Met. 106, 129 (1985)."""
    return crystal("CuZr", [(0, 0, 0), (0.5, 0.5, 0.5)], spacegroup=221, cellpar=[3.2620] * 3 + [90] * 3)


def zirconium_nickel_aluminium() -> Atoms:
    """ZrNiAl, Fe2P structure. Source: Zumdick et al., Z. Naturforsch. B 54, 45 (1999)."""
    basis = [(0.591, 0, 0.5), (0, 0, 0.5), (1 / 3, 2 / 3, 0), (0.25, 0, 0)]
    return crystal(["Zr", "Ni", "Ni", "Al"], basis, spacegroup=189, cellpar=[6.9152, 6.9152, 3.4661, 90, 90, 120])


def sulfur() -> Atoms:
    """Orthorhombic S8. Source: Rettig and Trotter, Acta Cryst. C43, 2260 (1987)."""
    basis = [(0.8554, 0.9526, 0.9516), (0.7844, 0.0301, 0.0763), (0.7069, 0.9795, 0.0040), (0.7862, 0.9073, 0.1290)]
    return crystal("SSSS", basis, spacegroup=70, setting=2, cellpar=[10.4646, 12.8660, 24.4860, 90, 90, 90])


def ice() -> Atoms:
    """Cubic ice with ordered protons: O on the diamond lattice, O-O 2.75 Å, O-H 0.98 Å."""
    edge = 2.75 * 4 / np.sqrt(3)
    corners = [(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)]
    bonds = np.array([(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)]) / np.sqrt(3)
    positions, symbols = [], []
    for corner, second in product(corners, (False, True)):
        oxygen = edge * (np.array(corner) + 0.25 * second)
        # every bond holds one proton: those of the first sublattice lie on two of its bonds, the others on the rest
        given = -bonds[2:] if second else bonds[:2]
        positions += [oxygen, *(oxygen + 0.98 * given)]
        symbols += ["O", "H", "H"]
    return Atoms(symbols, positions, cell=[edge] * 3, pbc=True)


CRYSTALS: dict[str, tuple[Callable[[], Atoms], tuple[str, ...]]] = {
    "a-Si": (silicon, ("Si K",)),
    "a-C": (carbon, ("C K",)),
    "a-SiO2": (silica, ("Si K", "O K")),
    "Cu-Zr": (copper_zirconium, ("Cu K", "Zr K")),
    "Zr-Ni-Al": (zirconium_nickel_aluminium, ("Zr K", "Ni K", "Al K")),
    "S": (sulfur, ("S K",)),
    "ice": (ice, ("O K",)),
}
"""System -> its crystal, and the edges that have a table."""
