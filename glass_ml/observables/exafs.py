"""EXAFS of one absorption edge: single scattering by every neighbour, a linear map of the pair histograms.

    chi(k) = 1/N_a sum_{i in a} sum_j |F_j(k, r)| / (k r^2) exp(-2r/lambda(k)) sin(2kr + phase_j(k, r))

with F from a scattering table (`scattering_table`): amplitude, phases, mean free path and reduction factor of FEFF.
The mean over the absorbers carries their thermal and static disorder; the amplitude factor
S0² is the scale of the measurement.
Source: Rehr and Albers, Rev. Mod. Phys. 72, 621 (2000), eq. 30.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from ase.data import covalent_radii
from torch import Tensor

from glass_ml.errors import InputError
from glass_ml.observables.base import Observable
from glass_ml.observables.fields import Context, setting
from glass_ml.observables.kinds import Kind, Settings, register
from glass_ml.observables.linear import PairObservable, spline_coefficients
from glass_ml.observables.pairs import SPACING, PairHistograms
from glass_ml.observables.scattering_table import (
    ScatteringTable,
    covers,
    find_table,
    load_table,
    parse_edge,
    table_name,
)
from glass_ml.structures.state import Structures

TAPER = 1.0
"""Distance over which neighbours fade out below the limit, Å, so that the cut leaves no ripple at k > 2 1/Å."""

INNERMOST = 0.65
"""Share of the sum of covalent radii below which atoms overlap: there the amplitude is that at this distance."""


@register(
    Kind("exafs", "EXAFS", "k (1/Å)", "kʷχ(k)", "kʷ χ(k) of one edge", rates_fit=True, span=(3.0, 14.0)),
)
@dataclass(frozen=True, kw_only=True)
class ExafsSettings(Settings):
    """Fields of EXAFS; the amplitude factor S0² is the `scale` of the measurement."""

    edge: str = setting(
        parse=parse_edge,
        elements=lambda edge: edge.split()[:1],
        help="absorber and edge, such as `Si K` (K, L1, L2, L3)",
    )
    k_weight: float = setting(0.0, least=0, help="power of k that the data carry")
    e0: tuple[float, float] = setting(
        (0.0, 0.0),
        unit="eV",
        fixed=True,
        fitted=True,
        help="shift of the edge energy E0, positive where it lies above that of the data: a number or bounds",
    )
    sigma2: tuple[float, float] = setting(
        (0.0, 0.0),
        unit="Å²",
        fixed=True,
        fitted=True,
        help="mean square displacement along the bond that structures do not carry, exp(−2k²σ²): a number or bounds",
    )
    r_range: tuple[float, float] | None = setting(
        None,
        unit="Å",
        fitted=True,
        help="Fourier filter on model and data, without phase correction: 0.3–0.5 Å below true distances",
    )
    limit: float | None = setting(
        None, unit="Å", above=0, help="distance beyond which no neighbour counts; the end of the table by default"
    )
    table: str | None = setting(None, file="scattering table", help="scattering table; by edge and elements by default")
    broadening: float = setting(
        0.0, unit="Å", least=0, help="standard deviation of distances by motion that structures do not carry"
    )

    def check(self, context: Context) -> ExafsSettings:
        """The table of the edge among the elements filled in, where none is named."""
        if self.table is not None or context.composition is None:
            return self
        near = context.folder / table_name(self.edge, context.composition)
        found = near if context.beside and near.is_file() else None
        return replace(self, table=str(found or find_table(self.edge, context.composition, context.where.strip("-"))))

    def observable(self, kind: str, grid: Tensor, cells: Structures | None = None) -> Observable:
        """k^w chi(k) on a grid (n,), 1/Å."""
        if self.table is None:
            raise InputError("kind exafs needs 'table'", "table", "name one, or the structures")
        found = load_table(self.table)
        if self.edge != found.edge:
            what = f"the table is of the {found.edge} edge, not of {self.edge}"
            raise InputError(what, self.table, "name the other table")
        return Exafs(grid, found, self.k_weight, self.limit, broadening=self.broadening)


class Exafs(PairObservable):
    """k^w chi(k) of one edge.

    Args:
        grid: photoelectron wave numbers k, (n,), 1/Å, positive.
        table: scattering table of the edge.
        k_weight: w.
        limit: distance beyond which no neighbour counts, Å; at most the table's end, which is the default.
        taper: distance below it over which neighbours fade out, Å.
        broadening: standard deviation, Å, of distances by motion that the structures do not carry:
            exp(-2 k^2 broadening^2).

    Raises:
        InputError: k outside the table.
    """

    def __init__(
        self,
        grid: Tensor,
        table: ScatteringTable,
        k_weight: float = 0.0,
        limit: float | None = None,
        taper: float = TAPER,
        broadening: float = 0.0,
    ):
        low, high = float(grid.min()), float(grid.max())
        if low < table.k[0] or high > table.k[-1]:
            what = f"k from {low:g} to {high:g} 1/Å is outside the {table.edge} table"
            raise InputError(what, "x_range", f"it holds {table.k[0]:g} to {table.k[-1]:g}")
        super().__init__("exafs", grid, min(SPACING, 0.25 / high))
        self.table, self.k_weight, self.taper, self.broadening = table, k_weight, taper, broadening
        self.limit = min(limit or float(table.r[-1]), float(table.r[-1]))
        self._kernels: dict[tuple, tuple[Tensor, list[int]]] = {}

    def reach(self, half_width: float) -> float:
        """The limit, Å, in any cell: neighbours are counted with their images."""
        return self.limit

    def kernel(self, scatterer: int, r: np.ndarray) -> np.ndarray:
        """What one neighbour of atomic number `scatterer` at distances r (B,), Å, adds: (B, n)."""
        k = self.grid.detach().cpu().double().numpy()
        touching = covalent_radii[self.table.absorber] + covalent_radii[scatterer]
        inner = max(float(self.table.r[0]), INNERMOST * float(touching))
        amplitude = self.table.complex_amplitude(scatterer, k, np.maximum(r, inner))
        wave = np.imag(amplitude * np.exp(2j * np.outer(r, k))) / np.square(np.maximum(r, inner))[:, None]
        fade = 0.5 * (1 + np.cos(np.pi * np.clip((r - self.limit) / max(self.taper, 1e-9) + 1, 0, 1)))
        return wave * fade[:, None] * k ** (self.k_weight - 1) * np.exp(-2 * (k * self.broadening) ** 2)

    def from_histograms(self, h: PairHistograms) -> Tensor:
        """k^w chi(k), (S, n)."""
        kernel, rows = self._kernel(h)
        return torch.einsum("stb,tbn->sn", h.counts[:, rows], kernel) / self._absorbers(h)[:, None]

    def response(self, h: PairHistograms) -> Tensor:
        """Derivative in the counts, (n, T, B)."""
        kernel, rows = self._kernel(h)
        response = kernel.new_zeros(len(self.grid), *h.counts.shape[1:])
        response[:, rows] = kernel.permute(2, 0, 1) / self._absorbers(h)[0]
        return response

    def _absorbers(self, h: PairHistograms) -> Tensor:
        """Absorbing atoms of each system, (S,)."""
        return h.amounts[:, h.elements.index(self.table.absorber)].clamp(min=1)

    def _kernel(self, h: PairHistograms) -> tuple[Tensor, list[int]]:
        """Spline coefficients (E, B, n) of what a pair adds, and the rows of the histograms that they act on."""
        key = (h.counts.shape[1:], h.spacing, h.elements, h.counts.dtype, h.counts.device)
        if key not in self._kernels:
            self.check_reach(h)
            absorber = self.table.absorber
            if absorber not in h.elements:
                raise InputError(f"no atom of the {self.table.edge} edge in the structure", "edge", "name another edge")
            covers(self.table, h.elements)
            r = np.arange(h.counts.shape[-1]) * h.spacing
            rows = [row for row, pair in enumerate(h.pair_types) if absorber in pair]
            kernels = []
            for a, b in (h.pair_types[row] for row in rows):
                both = 2.0 if a == b else 1.0  # either atom of a pair absorbs
                kernels.append(both * spline_coefficients(self.kernel(b if a == absorber else a, r)))
            self._kernels = {key: (torch.from_numpy(np.stack(kernels)).to(h.counts), rows)}
        return self._kernels[key]
