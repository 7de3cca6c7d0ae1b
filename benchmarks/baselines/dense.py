"""The dense form of pair spectra, as it is usually published: a table of N x N distances, every pair at every point.

    g(r)   = 1/(N rho V(r)) sum_{i != j} exp(-(r_ij - r)^2 / 2 s^2),   V(r) = 4 pi int x^2 exp(-(x - r)^2 / 2 s^2) dx
    S(Q)   = 1 + 1/(N <f>^2) sum_{i != j} f_i f_j W(r_ij) sin(Q r_ij)/(Q r_ij) - 4 pi rho int x^2 W(x) sin(Qx)/(Qx) dx
    chi(k) = 1/N_a sum_{i in a} sum_{j != i} |F_j(k, r_ij)|/(k r_ij^2) exp(-2 r_ij/lambda) sin(2k r_ij + phase_j)

Distances are those to the nearest image, so that a spectrum is right up to half the cell. The points of the grid are
taken in chunks that a processor's cache likes; where they do not fit into memory with all that their gradient needs,
each is computed again for it.
Sources: Debye, Ann. Phys. 351, 809 (1915); Lorch, J. Phys. C 2, 229 (1969); Rehr and Albers, Rev. Mod. Phys. 72, 621
(2000), eq. 30.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from glass_ml.observables.exafs import TAPER
from glass_ml.observables.factors import BARN, neutron_lengths, xray_f0
from glass_ml.observables.kinds import has_role
from glass_ml.observables.scattering_table import ScatteringTable
from glass_ml.structures.state import Structures

FAR = 1e4
"""Where an atom sees itself, Å: beyond every range."""

BUDGET = 2e9
"""Bytes that may be kept for a gradient."""

CHUNK = 2e7
"""Bytes that a chunk takes, unless one point takes more."""

FIXED = 11
"""Numbers per pair that the table of distances takes while it is made."""

KEPT = {"gr": 4, "xray-sq": 6, "exafs": 12}
"""Numbers per pair and point, with the gradient; other functions of Q as 'xray-sq'."""

STEP = 0.01  # Å, of tables and integrals over r


def kept(kind: str) -> int:
    """Numbers per pair and point that a kind takes."""
    return KEPT["xray-sq" if has_role(kind, "q") else kind]


def bytes_needed(kind: str, n_atoms: int, size: int = 4) -> float:
    """Least memory of a spectrum with its gradient: the table of distances and a chunk of one point."""
    return size * (FIXED + kept(kind)) * n_atoms**2


def distances(structures: Structures) -> Tensor:
    """Distances to the nearest image, (N, N), Å, differentiable; an atom is `FAR` from itself."""
    cell = structures.cell[0]
    fractional = structures.positions @ torch.linalg.inv(cell)
    apart = fractional[None] - fractional[:, None]
    vectors = (apart - apart.detach().round()) @ cell
    own = torch.eye(len(vectors), dtype=torch.bool)
    return vectors.square().sum(-1).masked_fill(own, FAR**2).sqrt()


def chunked(term: Callable[..., Tensor], kind: str, grid: Tensor, *pairs: Tensor) -> Tensor:
    """term(points, *pairs) for all points of the grid, some at a time."""
    point = pairs[0].element_size() * kept(kind) * pairs[0].numel()
    parts = grid.to(pairs[0]).split(max(1, int(CHUNK / point)))
    if point * len(grid) <= BUDGET or not torch.is_grad_enabled():
        return torch.cat([term(part, *pairs) for part in parts])
    return torch.cat([_Again.apply(term, part, *pairs) for part in parts])


class _Again(torch.autograd.Function):
    """A term that is computed again for its gradient (torch checkpoints leave garbage behind)."""

    @staticmethod
    def forward(ctx: Any, term: Callable[..., Tensor], points: Tensor, *pairs: Tensor) -> Tensor:
        ctx.term = term
        ctx.save_for_backward(points, *pairs)
        return term(points, *pairs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        points, *pairs = ctx.saved_tensors
        with torch.enable_grad():
            own = [p.detach().requires_grad_() for p in pairs]
            values = ctx.term(points, *own)
        return None, None, *torch.autograd.grad(values, own, upstream[0])


def radial_distribution(structures: Structures, grid: Tensor, broadening: float) -> Tensor:
    """g(r) of all pairs, (n,); r and broadening in Å."""
    x = np.arange(0.5 * STEP, float(grid[-1]) + 8 * broadening, STEP)
    shell = np.exp(-0.5 * ((x - grid.double().numpy()[:, None]) / broadening) ** 2)
    volume = torch.from_numpy(4 * np.pi * STEP * (shell * x**2).sum(1))

    def term(points: Tensor, r: Tensor) -> Tensor:
        return ((r - points[:, None, None]).square() * (-0.5 / broadening**2)).exp().sum((1, 2))

    sums = chunked(term, "gr", grid, distances(structures))
    return sums / (structures.n_atoms * float(structures.density[0]) * volume.to(sums))


def scattering(structures: Structures, kind: str, grid: Tensor, limit: float) -> Tensor:
    """S(Q) or F(Q) by the Debye sum through Lorch's window of width `limit` (Å), (n,)."""
    elements, species = structures.numbers.unique(return_inverse=True)

    def factors(q: Tensor) -> Tensor:
        """Scattering factor of every atom, (n, N)."""
        if kind.startswith("xray"):
            return xray_f0(elements.tolist(), q)[species].T.to(q)
        return neutron_lengths(elements.tolist())[species].to(q).expand(len(q), -1)

    def term(q: Tensor, r: Tensor, window: Tensor) -> Tensor:
        f = factors(q)
        phase = q[:, None, None] * r
        return ((phase.sin() / phase * window @ f[..., None])[..., 0] * f).sum(1)

    r = distances(structures)
    total = chunked(term, kind, grid, r, torch.sinc(r / limit) * (r < limit)) / structures.n_atoms
    mean = factors(grid.to(total)).mean(1).square()
    x = np.arange(0.5 * STEP, limit, STEP)
    weight = 4 * np.pi * STEP * float(structures.density[0]) * x**2 * np.sinc(x / limit)
    uniform = torch.from_numpy(np.sinc(np.outer(grid.double().numpy(), x) / np.pi) @ weight).to(total)
    excess = total - mean * uniform
    if kind == "neutron-fq":
        return BARN * excess
    return grid.to(total) * excess / mean if kind == "xray-fq" else excess / mean + 1


def exafs(structures: Structures, grid: Tensor, table: ScatteringTable, k_weight: float, limit: float) -> Tensor:
    """k^w chi(k) of the edge of a table, (n,), neighbours fading out over `TAPER` below `limit` (Å)."""
    absorbers = (structures.numbers == table.absorber).nonzero()[:, 0]
    species = torch.searchsorted(torch.tensor(table.scatterers), structures.numbers)
    nodes = np.arange(float(table.r[0]), limit + STEP, STEP)
    first, last = float(nodes[0]), len(nodes) - 2

    def term(k: Tensor, r: Tensor, fade: Tensor) -> Tensor:
        sampled = np.stack([table.complex_amplitude(z, k.double().numpy(), nodes).T for z in table.scatterers], 1)
        real, imaginary = (torch.from_numpy(np.ascontiguousarray(part)).to(r) for part in (sampled.real, sampled.imag))
        scaled = (r - first) / STEP
        node = scaled.detach().floor().clamp(0, last).long()
        share = (scaled - node).clamp(0, 1)
        place = species * len(nodes) + node

        def between(values: Tensor) -> Tensor:
            low, high = (values.flatten(1)[:, place + step] for step in (0, 1))
            return low + (high - low) * share

        phase = 2 * k[:, None, None] * r
        wave = between(real) * phase.sin() + between(imaginary) * phase.cos()
        return k ** (k_weight - 1) * (wave * fade).sum((1, 2))

    r = distances(structures)[absorbers]
    fade = 0.5 * (1 + (math.pi * ((r - limit) / TAPER + 1).clamp(0, 1)).cos()) / r.square()
    return chunked(term, "exafs", grid, r, fade) / len(absorbers)
