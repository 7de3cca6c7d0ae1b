"""Tables of photoelectron scattering: what a neighbour adds to the EXAFS of an absorber, by k and distance.

Made by FEFF (`glass_ml.simulation.feff`), read here; reading one never executes code.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from scipy.interpolate import CubicSpline

from glass_ml.errors import InputError
from glass_ml.files import atomic_path

FORMAT_VERSION = 1
SHIPPED = Path(__file__).parent / "tables"
OWN = Path("xas-tables")
"""Folder of a project that holds tables of its own; it is looked into first."""

EDGES = ("K", "L1", "L2", "L3")
ARRAYS = ("k", "r", "amplitude", "phase", "reduction", "mean_free_path")


@dataclass(frozen=True)
class ScatteringTable:
    """Single scattering of one absorption edge in one material.

    Attributes:
        edge: absorber and edge, such as 'Si K'.
        scatterers: atomic numbers, ascending.
        k: photoelectron wave numbers, (K,), 1/Å, ascending.
        r: distances, (R,), Å, ascending.
        amplitude: magnitude of the effective scattering amplitude f_eff, (E, R, K), Å.
        phase: 2 delta_c + phase of f_eff, (E, R, K), continuous in k; rows may differ by turns of 2 pi.
        reduction: reduction factor of the absorber, (K,).
        mean_free_path: of the photoelectron, (K,), Å.
        composition: element symbol -> share of the atoms of the material that it was made for.
        origin: program, structure and settings, in words.
    """

    edge: str
    scatterers: tuple[int, ...]
    k: np.ndarray
    r: np.ndarray
    amplitude: np.ndarray
    phase: np.ndarray
    reduction: np.ndarray
    mean_free_path: np.ndarray
    composition: dict[str, float]
    origin: str

    @property
    def absorber(self) -> int:
        """Atomic number of the absorber."""
        return atomic_numbers[self.edge.split()[0]]

    def complex_amplitude(self, scatterer: int, k: np.ndarray, r: np.ndarray) -> np.ndarray:
        """Amplitude F with chi = Im(F exp(2ikr))/(k r^2) of one neighbour at distance r: (B, n), complex, Å.

        Along k amplitude and phase are splines, each smooth; along r, where the phase may jump by 2 pi, the complex
        amplitude is one. Distances outside the table take the amplitude of its nearer end.

        Args:
            scatterer: atomic number.
            k: wave numbers, (n,), 1/Å, within the table.
            r: distances, (B,), Å.
        """
        row = self.scatterers.index(scatterer)
        magnitude = CubicSpline(self.k, self.amplitude[row], axis=-1)(k) * CubicSpline(self.k, self.reduction)(k)
        turned = magnitude * np.exp(1j * CubicSpline(self.k, self.phase[row], axis=-1)(k))
        along = np.clip(r, self.r[0], self.r[-1])
        path = CubicSpline(self.k, self.mean_free_path)(k)
        return CubicSpline(self.r, turned, axis=0)(along) * np.exp(-2 * along[:, None] / path)


def parse_edge(text: str, where: str = "edge") -> str:
    """An edge in its one spelling, 'Si K', out of 'si k', 'Si-K' or 'Si_K'.

    Raises:
        InputError: not an element and one of K, L1, L2, L3.
    """
    words = str(text).replace("-", " ").replace("_", " ").split()
    symbol = words[0].capitalize() if words else ""
    if len(words) != 2 or symbol not in atomic_numbers or symbol == "X" or words[1].upper() not in EDGES:
        raise InputError(f"'{text}' is not an absorption edge", where, "write element and edge, such as Si K")
    return f"{symbol} {words[1].upper()}"


def save_table(path: Path | str, table: ScatteringTable) -> None:
    """Write a table, whole or not at all (safetensors, single precision)."""
    arrays = {name: torch.from_numpy(np.ascontiguousarray(getattr(table, name), dtype=np.float32)) for name in ARRAYS}
    card = {
        "format_version": FORMAT_VERSION,
        "edge": table.edge,
        "scatterers": list(table.scatterers),
        "composition": table.composition,
        "origin": table.origin,
    }
    with atomic_path(path) as temporary:
        save_file(arrays, temporary, {"card": json.dumps(card, sort_keys=True)})


def load_table(path: Path | str) -> ScatteringTable:
    """Read a table.

    Raises:
        InputError: missing, damaged or of a newer format.
    """
    path = Path(path)
    mend = "make it again: glass-ml xas-table"
    if not path.is_file():
        raise InputError("no such scattering table", str(path), mend)
    try:
        with safe_open(path, framework="np") as stored:
            card = json.loads((stored.metadata() or {})["card"])
            arrays = {name: stored.get_tensor(name).astype(np.float64) for name in ARRAYS}
        version, edge, origin = card["format_version"], parse_edge(card["edge"]), str(card["origin"])
        scatterers = tuple(int(z) for z in card["scatterers"])
        composition = {str(symbol): float(share) for symbol, share in card["composition"].items()}
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError):
        raise InputError("not a scattering table, or a damaged one", str(path), mend) from None
    if version != FORMAT_VERSION:
        raise InputError(f"format version {version} is not {FORMAT_VERSION}", str(path), "update glass_ml")
    shape = (len(scatterers), len(arrays["r"]), len(arrays["k"]))
    if arrays["amplitude"].shape != shape or arrays["phase"].shape != shape or min(shape[1:]) < 4:
        raise InputError("its arrays do not fit together", str(path), mend)
    if not all(np.isfinite(a).all() for a in arrays.values()):
        raise InputError("it holds numbers that are not finite", str(path), mend)
    return ScatteringTable(edge, scatterers, **arrays, composition=composition, origin=origin)


def table_name(edge: str, composition: Iterable[str]) -> str:
    """File name of the table of an edge ('Si K') in a material of these elements: 'Si-K_O-Si.safetensors'."""
    return f"{edge.replace(' ', '-')}_{'-'.join(sorted(composition))}.safetensors"


def find_table(edge: str, composition: Iterable[str], where: str = "edge") -> Path:
    """The table of an edge for a material: the project's own before those that come with the package.

    Args:
        edge: such as 'Si K'.
        composition: element symbols of the material.
        where: the place to name in an error.

    Raises:
        InputError: there is none; the message says the command that makes it.
    """
    edge, composition = parse_edge(edge, where), sorted(composition)
    name = table_name(edge, composition)
    for folder in (OWN, SHIPPED):
        if (folder / name).is_file():
            return folder / name
    what = f"no scattering table of the {edge} edge among {', '.join(composition)}"
    raise InputError(what, where, f"make it: glass-ml xas-table STRUCTURE --edge '{edge}'")


def covers(table: ScatteringTable, elements: Iterable[int]) -> None:
    """Check that a table knows every neighbour.

    Raises:
        InputError: an element is not among its scatterers.
    """
    missing = sorted(set(elements) - set(table.scatterers))
    if missing:
        raise InputError(
            f"the {table.edge} table knows no neighbours {', '.join(chemical_symbols[z] for z in missing)}",
            "edge",
            f"make one from a structure that has them: glass-ml xas-table STRUCTURE --edge '{table.edge}'",
        )
