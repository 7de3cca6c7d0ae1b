"""Bond-angle distributions: what the triplets of a structure look like, differentiable in the positions.

As with the pair histograms, every angle is shared among the three nearest nodes by the quadratic B-spline; the smeared
distribution is then a small matrix product of that histogram.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from ase.data import atomic_numbers
from scipy.linalg import solve_banded
from torch import Tensor
from torch.autograd.function import once_differentiable

from glass_ml.errors import InputError
from glass_ml.observables.base import Observable
from glass_ml.observables.bonds import WIDTH, BondFinder, Bonds, BondSettings, Cutoff, bond_cutoffs
from glass_ml.observables.fields import setting
from glass_ml.observables.jacobian import TABLE, TABLE_GPU
from glass_ml.observables.kinds import Kind, register
from glass_ml.observables.realspace import elements_in
from glass_ml.structures.neighbours import Pairs, block_size
from glass_ml.structures.state import Structures

SPACING = 1.0
"""Largest distance between nodes, degrees."""

NEAREST = 0.05
"""An angle turns by 1/r per Å as the end of a bond moves sideways; below this length (Å) as if r were this long."""

FEWEST = 1e-3
"""A structure that has less than this many angles in all counts as if it had as many: its distribution fades to zero
instead of jumping there as the last bond breaks."""

_SMALLEST_SINE = 1e-6  # the distribution is even about 0 and 180 degrees: its slope is zero where this matters


def parse_triplet(text: str, where: str = "triplet") -> tuple[int, int, int]:
    """Three atomic numbers of a text such as 'O-Si-O', the apex in the middle, the ends ascending.

    Raises:
        InputError: not three element symbols.
    """
    parts = text.split("-")
    if len(parts) != 3 or any(p not in atomic_numbers or p == "X" for p in parts):
        raise InputError(f"'{text}' is not three elements", where, "write the apex in the middle, such as O-Si-O")
    a, b, c = (atomic_numbers[p] for p in parts)
    return min(a, c), b, max(a, c)


def triplet_text(value: Any, where: str) -> str:
    """The text itself, if it is a triplet of elements."""
    parse_triplet(str(value), where)
    return str(value)


@register(
    Kind(
        "adf", "Bond angles", "angle (degrees)", "angles (% per degree)",
        "distribution of a bond angle, % per degree: 100 over 0–180°", fixes="angles", span=(1.0, 179.0),
    ),
)  # fmt: skip
@dataclass(frozen=True, kw_only=True)
class AngleSettings(BondSettings):
    """Fields of a bond-angle distribution."""

    triplet: str = setting(parse=triplet_text, elements=elements_in, help="elements, the apex in the middle: `O-Si-O`")
    broadening: float = setting(2.0, unit="°", least=0, help="standard deviation of the angles")

    def observable(self, kind: str, grid: Tensor, cells: Structures | None = None) -> Observable:
        """The distribution on a grid of angles (n,), degrees."""
        return AngleDistribution(grid, self.triplet, self.cutoff, self.broadening, self.width)


class AngleDistribution:
    """Distribution of the angles between the bonds of an atom, % per degree.

    y(x) = 100 sum_t w_t K(x, theta_t) / sum_t w_t over the angles t of a system, each with w = s(r_ij) s(r_ik), the
    product of the weights of its two bonds. K is a Gaussian, reflected at 0 and 180 degrees, so that y integrates to
    100 over 0-180 degrees. A system without such angles gives zeros; see `FEWEST` for how it gets there.

    Args:
        grid: angles, (n,), degrees, ascending between 0 and 180.
        triplet: 'O-Si-O', the apex in the middle.
        cutoff: where bonds end, Å: one number, or one for each pair ({'Si-O': 2.1}).
        broadening: standard deviation of K, degrees, 0.1-90.
        width: half the range over which a bond ends, Å: whole up to cutoff - width, none from cutoff + width on.

    Attributes:
        kind: 'adf'.
        grid, triplet, broadening, width: as given.
        reach: how far (Å) a list of pairs must reach to be passed to `forward` and `jacobian`.

    Raises:
        InputError: not three elements; a pair without a cutoff; a grid, cutoff, broadening or width out of range.
    """

    kind = "adf"

    def __init__(self, grid: Tensor, triplet: str, cutoff: Cutoff, broadening: float = 2.0, width: float = WIDTH):
        x = grid.detach().cpu().double().numpy()
        if x.ndim != 1 or not len(x) or not (x[0] > 0 and x[-1] < 180 and (np.diff(x) > 0).all()):
            raise InputError("angles are not ascending between 0 and 180 degrees", "grid", "give degrees")
        if not 0.1 <= broadening <= 90:
            raise InputError(f"broadening {broadening} is not in 0.1-90 degrees", "broadening", "such as 2")
        first, centre, last = parse_triplet(triplet)
        self.grid, self.triplet, self.broadening, self.width = grid, triplet, broadening, width
        self._finder = BondFinder(centre, bond_cutoffs(cutoff, width, centre, {first, last}), width)
        self.reach = self._finder.reach
        self._unlike = first != last
        n_intervals = math.ceil(180 / min(SPACING, broadening / 2.5) - 1e-9)
        self._spacing = 180 / n_intervals
        self._rows = torch.from_numpy(_projection(x, n_intervals, broadening))
        self._angles: _Angles | None = None

    def forward(self, structures: Structures, pairs: Pairs | None = None) -> Tensor:
        """The distribution of every system, (S, n), % per degree, differentiable in the positions.

        Args:
            structures: the batch.
            pairs: a list that reaches `reach` or farther. Without it neighbours are searched, and kept from call to
                call for as long as the atoms move little.
        """
        angles = self._measure(structures, pairs)
        return self._spectrum(_Deposit.apply(structures.positions, angles))[0]

    def jacobian(self, structures: Structures, pairs: Pairs | None = None) -> Tensor:
        """Derivative of every point of its own system's distribution in the position of every atom, (n, N, 3).

        Arguments as `forward`. Time and memory are linear in the number of atoms.
        """
        angles = self._measure(structures, pairs)
        spectrum, amount = self._spectrum(angles.counts)
        rows = self._rows.to(spectrum)
        scale = 1 / amount.clamp(min=FEWEST)
        lost = spectrum * (scale * (amount >= FEWEST))[:, None]  # quotient rule: what one angle more takes from each
        result = spectrum.new_empty(len(self.grid), structures.n_atoms, 3)
        for low, high, table in angles.tables():
            change = (rows @ table).view(len(rows), high - low, 3)
            system = structures.system[low:high]
            out = torch.mul(change[:-1], (100 * scale[system])[:, None], out=result[:, low:high])
            out.addcmul_(lost.t()[:, system, None], change[-1], value=-1)
        return result

    def _spectrum(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        """The distribution (S, n) and the number of angles (S,), from histograms (S, M)."""
        sums = counts @ self._rows.to(counts).t()
        amount = sums[:, -1]
        return 100 * sums[:, :-1] / amount.clamp(min=FEWEST)[:, None], amount

    def _measure(self, structures: Structures, pairs: Pairs | None) -> _Angles:
        bonds = self._finder(structures, pairs)
        if self._angles is None or self._angles.bonds is not bonds:
            n_nodes = self._rows.shape[1]
            self._angles = _Angles(bonds, structures, self._unlike, self._spacing, n_nodes)
        return self._angles


def _projection(x: np.ndarray, n_intervals: int, broadening: float) -> np.ndarray:
    """Spline coefficients of K at every point, and of 1 in the last row, (n + 1, M), from one node below 0 to one above
    180 degrees."""
    nodes = np.linspace(0, 180, n_intervals + 1)[:, None]
    images = [turn + sign * nodes for turn in (-360, 0, 360) for sign in (-1, 1)]
    gauss = sum(np.exp(-0.5 * ((x - image) / broadening) ** 2) for image in images)
    values = np.column_stack([gauss / (np.sqrt(2 * np.pi) * broadening), np.ones(len(nodes))])
    bands = np.full((3, len(nodes)), 0.125)
    bands[1] = 0.75
    bands[0, 1] = bands[2, -2] = 0.25  # even about either end
    inside = solve_banded((1, 1), bands, values)
    return np.vstack([inside[1], inside, inside[-2]]).T.copy()


class _Deposit(torch.autograd.Function):
    """Positions to histograms of angles, with nothing per angle on the tape."""

    @staticmethod
    def forward(ctx: Any, positions: Tensor, angles: _Angles) -> Tensor:
        ctx.angles = angles
        return angles.counts.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.angles.pull(upstream[0]), None


@dataclass(frozen=True)
class _Part:
    """Some angles between bonds p and q, (T,): where they lie and how they change.

    `offset` is from the node at place `node` (place 1 is 0 degrees), in node spacings; `turn` is the change of that per
    unit of (cosine u_p - u_q)/r_p, the direction in which the end of bond p opens the angle.
    """

    p: Tensor
    q: Tensor
    node: Tensor
    offset: Tensor
    cosine: Tensor
    turn: Tensor


class _Angles:
    """All angles of a batch. They are measured in blocks, again each time, and never held all at once."""

    def __init__(self, bonds: Bonds, structures: Structures, unlike: bool, spacing: float, n_nodes: int):
        self.bonds, self.spacing, self.n_nodes = bonds, spacing, n_nodes
        self.n_systems = structures.n_systems
        self.row = structures.system[bonds.i] * n_nodes
        self.kind = structures.numbers[bonds.j] if unlike else None
        counts = torch.bincount(bonds.i, minlength=structures.n_atoms)
        self.number = counts[bonds.i]  # bonds of the same atom
        self.start = (counts.cumsum(0) - counts)[bonds.i]
        self.near = bonds.length.clamp(min=NEAREST)

    @cached_property
    def counts(self) -> Tensor:
        """The histograms, (S, M)."""
        counts = self.bonds.weight.new_zeros(self.n_systems * self.n_nodes)
        for part in self._parts():
            weight = self.bonds.weight.index_select(0, part.p) * self.bonds.weight.index_select(0, part.q)
            place = self.row.index_select(0, part.p) + part.node
            for shift, share in zip((-1, 0, 1), _shares(part.offset), strict=True):
                counts.scatter_add_(0, place + shift, share.mul_(weight))
        return counts.view(self.n_systems, self.n_nodes)

    def pull(self, upstream: Tensor) -> Tensor:
        """Gradient in the positions, (N, 3), of a function with the gradient `upstream` (S, M) in the histograms."""
        bonds, upstream = self.bonds, upstream.reshape(-1)
        across, along = torch.zeros_like(bonds.unit), torch.zeros_like(bonds.weight)
        for part in self._parts():
            p, q, place = part.p, part.q, self.row.index_select(0, part.p) + part.node
            below, at, above = (upstream.index_select(0, place + shift) for shift in (-1, 0, 1))
            first, second = bonds.weight.index_select(0, p), bonds.weight.index_select(0, q)
            slope = (0.5 * (above - below)).addcmul_(below - 2 * at + above, part.offset)
            slope *= part.turn * first * second
            value = sum(u * share for u, share in zip((below, at, above), _shares(part.offset), strict=True))
            along.scatter_add_(0, p, value * second)
            along.scatter_add_(0, q, value * first)
            for plane, unit in zip(across, bonds.unit, strict=True):
                u, v = unit.index_select(0, p), unit.index_select(0, q)
                plane.scatter_add_(0, p, slope * (part.cosine * u - v))
                plane.scatter_add_(0, q, slope * (part.cosine * v - u))
        return bonds.pull(across / self.near + bonds.unit * (along * bonds.slope))

    def tables(self) -> Iterator[tuple[int, int, Tensor]]:
        """Derivative of the histogram of its own system in the atoms low to high, (M, 3 (high - low)), all in turn.

        An atom is moved at either end of its bonds, and a bond is in an angle with every other one of the same atom.
        """
        bonds = self.bonds
        n_atoms, n_bonds, unit = len(bonds.positions), len(bonds.i), bonds.unit
        moved, order = torch.cat([bonds.j, bonds.i]).sort()
        most = TABLE if unit.device.type == "cpu" else TABLE_GPU
        size = max(1, most // (3 * self.n_nodes))
        limits = [*range(0, n_atoms, size), n_atoms]
        ends = torch.searchsorted(moved, torch.tensor(limits, device=unit.device)).tolist()
        component = torch.arange(3, device=unit.device)
        shifts = torch.arange(-1, 2, device=unit.device)[:, None, None]
        for k, (low, high) in enumerate(pairwise(limits)):
            chosen = order[ends[k] : ends[k + 1]]
            bond, width = chosen % max(1, n_bonds), high - low
            owner, q = _runs(self.start[bond], self.number[bond])
            owner, p, q = self._angled(owner, bond.index_select(0, owner), q)
            part = self._measure(p, q)
            first, second = bonds.weight.index_select(0, p), bonds.weight.index_select(0, q)
            sign = torch.where(chosen < n_bonds, 1.0, -1.0).to(unit).index_select(0, owner)
            turn = sign * part.turn * first * second / self.near.index_select(0, p)
            u, v = unit.index_select(1, p), unit.index_select(1, q)
            across = ((part.cosine * u).sub_(v) * turn).t()
            along = (u * (sign * bonds.slope.index_select(0, p) * second)).t()
            o = part.offset
            values = torch.stack([o - 0.5, -2 * o, o + 0.5])[..., None] * across
            values += torch.stack(_shares(o))[..., None] * along
            atom = moved[ends[k] : ends[k + 1]].index_select(0, owner) - low
            place = ((part.node + shifts[..., 0]) * width + atom)[..., None] * 3 + component
            table = unit.new_zeros(self.n_nodes * width * 3)
            table.scatter_add_(0, place.reshape(-1), values.reshape(-1))
            yield low, high, table.view(self.n_nodes, width * 3)

    def _parts(self) -> Iterator[_Part]:
        """Every angle once."""
        bond = torch.arange(len(self.number), device=self.number.device)
        later = self.start + self.number - bond - 1
        total = later.cumsum(0)
        size = block_size(self.number.device)
        n_angles = int(total[-1]) if len(total) else 0
        marks = torch.tensor([*range(size, n_angles, size)], dtype=torch.long, device=total.device)
        limits = [0, *torch.searchsorted(total, marks).tolist(), len(bond)]
        for low, high in pairwise(limits):
            owner, q = _runs(bond[low:high] + 1, later[low:high])
            _, p, q = self._angled(owner, owner + low, q)
            yield self._measure(p, q)

    def _angled(self, owner: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Those of some pairs of bonds that make an angle of the kind that is asked for."""
        kind = self.kind
        fits = p != q if kind is None else kind.index_select(0, p) != kind.index_select(0, q)
        chosen = fits.nonzero()[:, 0]
        return owner.index_select(0, chosen), p.index_select(0, chosen), q.index_select(0, chosen)

    def _measure(self, p: Tensor, q: Tensor) -> _Part:
        u, v = self.bonds.unit.index_select(1, p), self.bonds.unit.index_select(1, q)
        cosine = (u * v).sum(0)
        sine = torch.linalg.cross(u, v, dim=0).square().sum(0).sqrt()
        per_node = 180 / math.pi / self.spacing
        scaled = torch.atan2(sine, cosine) * per_node
        node = scaled.round()
        turn = per_node / sine.clamp(min=_SMALLEST_SINE)
        return _Part(p, q, node.long() + 1, scaled - node, cosine, turn)


def _shares(offset: Tensor) -> list[Tensor]:
    """What the nodes below, at and above get of an angle."""
    return [0.5 * (0.5 - offset).square(), 0.75 - offset.square(), 0.5 * (0.5 + offset).square()]


def _runs(begin: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
    """The integers begin, begin + 1, ... (`number` of them) of every entry, and the entry that each belongs to."""
    owner = torch.repeat_interleave(number)
    first = begin - number.cumsum(0) + number
    return owner, torch.arange(len(owner), device=owner.device).add_(first.index_select(0, owner))
