"""The targets of benchmarks/realism.py: what is to be found again, and how it is judged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from glass_ml.files import write_text
from glass_ml.measurements.target import Target, load_target
from glass_ml.observables.kinds import make_observable
from glass_ml.structures.io import from_atoms, read_frames
from glass_ml.structures.state import Structures

GRID = torch.arange(20, 161, dtype=torch.float64) * 0.05
"""Where g(r) is known, Å: 1 to 8."""

BROADENING = 0.05
"""Width (Å) of the Gaussian shell around a point of g(r)."""

SIGMA = 0.01
"""Uncertainty of a point of g(r) that every method is told: a tolerance, as the data are free of noise."""


@dataclass(frozen=True)
class Case:
    """One target.

    Attributes:
        system: whose prior and whose training recipe are used.
        reference: file of the hidden structures, in data/SYSTEM.
        cutoffs: longest bond of the pair that bonds, Å.
        neighbours: right coordination numbers, by element.
    """

    system: str
    reference: str
    cutoffs: dict[str, float]
    neighbours: dict[str, int]


CASES = {
    "a-Si": Case("a-Si", "reference-modified-sw.extxyz", {"Si-Si": 2.85}, {"Si": 4}),
    "a-Si-1.89": Case("a-Si", "reference-modified-sw-1.89.extxyz", {"Si-Si": 2.85}, {"Si": 4}),
    "a-Si-2.75": Case("a-Si", "reference-modified-sw-2.75.extxyz", {"Si-Si": 2.85}, {"Si": 4}),
    "a-SiO2": Case("a-SiO2", "reference-bks.extxyz", {"Si-O": 2.1}, {"Si": 4, "O": 2}),
}


@dataclass(frozen=True)
class Hidden:
    """The hidden structures of a case and what is told of them.

    Attributes:
        structures: all hidden structures.
        quench: the melt-quench that each comes from.
        mass_density: g/cm^3.
        target: their mean g(r), number-weighted, as a target file; with composition and density.
        state: 'minimised', or 'thermal' (at 300 K).
    """

    structures: Structures
    quench: tuple[str, ...]
    mass_density: float
    target: Target
    state: str

    @property
    def n_atoms(self) -> int:
        """Atoms of one structure."""
        return int(self.structures.counts[0])


def hidden(case: Case, state: str, folder: Path) -> Hidden:
    """Read the hidden structures and write their g(r) and a target file into `folder`."""
    frames = [a for a in read_frames(Path("data") / case.system / case.reference) if a.info["state"] == state]
    structures = from_atoms(frames)
    model = make_observable("gr", GRID, radiation="number", broadening=BROADENING)
    g = model.forward(structures).mean(0)
    rows = "".join(f"{r:.4f},{y:.8f}\n" for r, y in zip(GRID.tolist(), g.tolist(), strict=True))
    write_text(folder / "gr.csv", f"# r (Å),g\n{rows}")
    composition = ", ".join(f"{el}: {n}" for el, n in frames[0].symbols.formula.reduce()[0].count().items())
    write_text(
        folder / "target.yaml",
        f"system: {case.system}\ncomposition: {{{composition}}}\ndensity: {float(structures.density.mean()):.8f}\n"
        f"measurements:\n  - {{file: gr.csv, kind: gr, name: g(r), radiation: number, broadening: {BROADENING},"
        f" sigma: {SIGMA}}}\n",
    )
    return Hidden(
        structures,
        tuple(a.info["quench"] for a in frames),
        float(frames[0].info["density_g_cm3"]),
        load_target(folder / "target.yaml"),
        state,
    )
