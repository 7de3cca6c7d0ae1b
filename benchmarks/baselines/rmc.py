"""Reverse Monte Carlo on g(r), compiled: the method that most of the field uses.

One atom is moved at a time. A move that brings two atoms closer than the smallest distance of their elements is
refused; otherwise it is accepted with probability min(1, exp(-change of chi^2 / 2)), where chi^2 compares the same
forward model with the same data, grid and sigma as every other method here. The step length follows the acceptance.
A move costs two rows of distances, O(N), and the few grid points that each distance touches.
Source: McGreevy and Pusztai, Mol. Simul. 1, 359 (1988), doi:10.1080/08927028808080958.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from glass_ml.structures.state import Structures

Array = NDArray[np.float64]

FINE = 0.001
"""Spacing of tabulated pair distances, Å."""

REACH = 5.0
"""Half width of the shell around a grid point, in standard deviations."""

ACCEPTANCE = 0.15
"""Share of accepted moves that the step length aims at: from a random start it fits faster than 0.35."""

LONGEST_STEP = 1.0
"""Longest displacement along an axis, Å."""


@dataclass(frozen=True)
class Problem:
    """The g(r) to reach, as `RadialDistribution` with number weights sees it.

    Attributes:
        grid: distances, (n,), Å, evenly spaced.
        target: g(r) there, (n,).
        sigma: standard deviation of a point.
        broadening: standard deviation of the shell around a grid point, Å.
        shortest: rows (Z1, Z2, Å) of the smallest distances; a pair that is absent may come as close as it likes.
    """

    grid: Array
    target: Array
    sigma: float
    broadening: float
    shortest: Sequence[Sequence[float]]


class ReverseMonteCarlo:
    """A run that can be continued: `advance` makes moves, `structures` is where it stands.

    Args:
        problem: what to fit.
        start: one structure in a cubic cell, wider than the longest distance that the grid sees.
        seed: of all random numbers. They come from numba's one stream of the thread: finish a run before the next.

    Raises:
        ValueError: the start is no single cubic cell, or the cell is too narrow.
    """

    def __init__(self, problem: Problem, start: Structures, seed: int):
        self.start = start.wrapped()
        cell = start.cell[0].double().numpy()
        self.edge = float(cell[0, 0])
        reach = float(problem.grid[-1]) + REACH * problem.broadening
        if start.n_systems != 1 or not np.allclose(cell, self.edge * np.eye(3), atol=1e-4) or self.edge <= reach:
            raise ValueError(f"needs one cubic cell wider than {reach:.2f} Å")
        self.xyz = np.ascontiguousarray(self.start.positions.double().numpy().T) % self.edge
        numbers = start.numbers.numpy()
        limits = {frozenset((int(a), int(b))): float(r) for a, b, r in problem.shortest}
        kinds, self.kind = np.unique(numbers, return_inverse=True)
        self.closest2 = np.array([[limits.get(frozenset((int(a), int(b))), 0.0) ** 2 for b in kinds] for a in kinds])
        self.first, self.shares = _table(problem, len(numbers), self.edge)
        self.target = problem.target.astype(np.float64)
        self.sigma = problem.sigma
        self.step = 0.2
        self.model = _model(self.xyz, self.edge, self.first, self.shares, len(self.target))
        _seed(seed)

    @property
    def structures(self) -> Structures:
        """The configuration reached."""
        return self.start.at(torch.from_numpy(self.xyz.T.copy()).to(self.start.positions)).wrapped()

    @property
    def chi2(self) -> float:
        """Sum of squared deviations over sigma squared."""
        return float((((self.model - self.target) / self.sigma) ** 2).sum())

    def advance(self, moves: int) -> float:
        """Try so many moves; the share of those accepted."""
        accepted, self.step = _run(
            self.xyz, self.kind, self.closest2, self.edge, self.first, self.shares, self.model, self.target,
            1 / self.sigma**2, self.step, moves,
        )  # fmt: skip
        return accepted / max(moves, 1)


def _table(problem: Problem, n_atoms: int, edge: float) -> tuple[NDArray[np.int64], Array]:
    """What a pair adds to g(r): the first grid point that it touches, and its shares there and after.

    A shell around the grid point x weighs distances r by exp(-(r - x)^2 / 2 b^2), and an ideal gas has
    N (N / V) / 2 times the integral of 4 pi r^2 over this shell of pairs in it: sqrt(2 pi) b 4 pi (x^2 + b^2).
    """
    x, b = problem.grid, problem.broadening
    spacing = float(x[1] - x[0])
    if not np.allclose(np.diff(x), spacing):
        raise ValueError("the grid is not evenly spaced")
    width = int(2 * REACH * b / spacing) + 2
    r = (np.arange(int((x[-1] + REACH * b) / FINE) + 1) + 0.5) * FINE
    first = np.clip(np.ceil((r - REACH * b - x[0]) / spacing), 0, len(x) - width).astype(np.int64)
    points = x[first[:, None] + np.arange(width)]
    ideal = 0.5 * n_atoms**2 / edge**3 * np.sqrt(2 * np.pi) * b * 4 * np.pi * (points**2 + b**2)
    distance = r[:, None] - points
    shares = np.where(np.abs(distance) <= REACH * b, np.exp(-0.5 * (distance / b) ** 2) / ideal, 0.0)
    return first, shares


@numba.njit
def _seed(seed):  # numba keeps its own stream, apart from numpy's
    np.random.seed(seed)  # noqa: NPY002


@numba.njit(fastmath=True)
def _distances(near, xyz, x, y, z, edge):
    # Squared distances along each axis to the nearest image; positions are wrapped. Its loop runs in vector registers.
    for j in range(xyz.shape[1]):
        dx, dy, dz = abs(x - xyz[0, j]), abs(y - xyz[1, j]), abs(z - xyz[2, j])
        dx, dy, dz = min(dx, edge - dx), min(dy, edge - dy), min(dz, edge - dz)
        near[0, j], near[1, j], near[2, j] = dx, dy, dz
        near[3, j] = dx * dx + dy * dy + dz * dz


@numba.njit(fastmath=True)
def _add(model, sign, near, i, edge, first, shares):
    limit = len(first) * FINE
    inner = edge - limit
    for j in range(near.shape[1]):
        if j == i:
            continue
        if near[3, j] < limit * limit:
            _deposit(model, sign, near[3, j], first, shares)
        x, y, z = near[0, j], near[1, j], near[2, j]
        if x > inner or y > inner or z > inner:  # half the cell may be shorter than the limit, the cell never is
            x2, y2, z2 = x * x, y * y, z * z
            fx, fy, fz = (edge - x) ** 2, (edge - y) ** 2, (edge - z) ** 2
            for d2 in (fx + y2 + z2, x2 + fy + z2, x2 + y2 + fz, fx + fy + z2, fx + y2 + fz, x2 + fy + fz):
                if d2 < limit * limit:
                    _deposit(model, sign, d2, first, shares)
            if fx + fy + fz < limit * limit:
                _deposit(model, sign, fx + fy + fz, first, shares)


@numba.njit(inline="always")
def _deposit(model, sign, d2, first, shares):
    row = min(int(np.sqrt(d2) / FINE), len(first) - 1)
    start = first[row]
    for k in range(shares.shape[1]):
        model[start + k] += sign * shares[row, k]


@numba.njit
def _model(xyz, edge, first, shares, n_grid):
    model = np.zeros(n_grid)
    near = np.empty((4, xyz.shape[1]))
    for i in range(xyz.shape[1]):
        _distances(near, xyz, xyz[0, i], xyz[1, i], xyz[2, i], edge)
        _add(model, 0.5, near, i, edge, first, shares)
    return model


@numba.njit
def _run(xyz, kind, closest2, edge, first, shares, model, target, weight, step, moves):
    n = xyz.shape[1]
    trial = np.empty_like(model)
    old, new = np.empty((4, n)), np.empty((4, n))
    chi2 = weight * ((model - target) ** 2).sum()
    accepted = recent = 0
    for move in range(moves):
        if move and move % 1000 == 0:
            step = min(LONGEST_STEP, max(1e-3, step * (1.1 if recent > 1000 * ACCEPTANCE else 1 / 1.1)))
            recent = 0
        i = np.random.randint(n)  # noqa: NPY002
        x = (xyz[0, i] + step * np.random.uniform(-1.0, 1.0)) % edge  # noqa: NPY002
        y = (xyz[1, i] + step * np.random.uniform(-1.0, 1.0)) % edge  # noqa: NPY002
        z = (xyz[2, i] + step * np.random.uniform(-1.0, 1.0)) % edge  # noqa: NPY002
        _distances(new, xyz, x, y, z, edge)
        close = False
        for j in range(n):
            close |= j != i and new[3, j] < closest2[kind[i], kind[j]]
        if close:
            continue
        _distances(old, xyz, xyz[0, i], xyz[1, i], xyz[2, i], edge)
        trial[:] = model
        _add(trial, -1.0, old, i, edge, first, shares)
        _add(trial, 1.0, new, i, edge, first, shares)
        after = weight * ((trial - target) ** 2).sum()
        if after <= chi2 or np.random.random() < np.exp(0.5 * (chi2 - after)):  # noqa: NPY002
            xyz[0, i], xyz[1, i], xyz[2, i] = x, y, z
            model[:] = trial
            chi2 = after
            accepted += 1
            recent += 1
    return accepted, step
