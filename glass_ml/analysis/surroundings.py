"""The surroundings of atoms as points, so that two places in a glass have a distance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from glass_ml.analysis.order import spherical_harmonics
from glass_ml.structures.neighbours import neighbour_pairs
from glass_ml.structures.random import generator
from glass_ml.structures.state import Structures

CUTOFF = 5.0
"""Radius of the surroundings of an atom, Å: three shells and some 25 neighbours in a network glass."""

RADII = (1.2, 1.9, 2.6, 3.3, 4.0, 4.7)
"""Centres of the Gaussian radial functions, Å."""

WIDTH = 0.5
"""Their standard deviation, Å."""

DEGREE = 6
"""Highest degree of the spherical harmonics."""

NOISE = 0.1
"""Random displacement (standard deviation of a coordinate, Å) that is the unit of distance between surroundings."""

COMPONENTS = 80
"""Combinations of features that are kept: those in which surroundings differ most beyond that noise."""

SAMPLE = 4096
"""Surroundings that the unit of distance is found from."""

_BLOCK = 2048


def descriptors(structures: Structures, elements: Tensor | None = None, atoms: Tensor | None = None) -> Tensor:
    """Features of the surroundings of atoms, (A, D), float32: rotation, translation and order of atoms leave them.

    With c_enlm(i) = sum_j R_n(r_ij) Y_lm(r_ij) over the neighbours j of element e within CUTOFF, the features are the
    power spectra sum_m c_enlm (sum_e' c_e'n'lm), D = elements x 6 x 6 x 7. R_n is a Gaussian at RADII times
    (1 + cos(pi r / CUTOFF)) / 2. Cost and memory grow with the number of atoms alone.
    Source: A. P. Bartók, R. Kondor and G. Csányi, Phys. Rev. B 87, 184115 (2013), with the second element summed over
    so that D is linear in their number.

    Args:
        structures: any number of them.
        elements: atomic numbers that have features, ascending (default: those that occur).
        atoms: indices of the atoms to describe, ascending (default: all).
    """
    elements = structures.numbers.unique() if elements is None else elements
    return torch.cat(list(_blocks(structures, elements.cpu(), atoms)))


def _blocks(structures: Structures, elements: Tensor, atoms: Tensor | None) -> Iterator[Tensor]:
    """The descriptors of some atoms after others."""
    structures = structures.to("cpu", torch.float64)
    pairs = neighbour_pairs(structures, CUTOFF)
    vectors = pairs.vectors(structures).detach()
    kind = torch.searchsorted(elements, structures.numbers)[pairs.j]
    last = torch.bincount(pairs.i, minlength=structures.n_atoms).cumsum(0)
    first = torch.cat([last.new_zeros(1), last[:-1]])
    wanted = torch.arange(structures.n_atoms) if atoms is None else atoms
    for block in wanted.split(_BLOCK):
        count = last[block] - first[block]
        row = torch.repeat_interleave(torch.arange(len(block)), count)
        column = torch.arange(len(row)) - torch.repeat_interleave(count.cumsum(0) - count, count)
        chosen = torch.repeat_interleave(first[block], count) + column
        yield _power_spectra(vectors[chosen], kind[chosen], row, column, len(block), len(elements))


def _power_spectra(vectors: Tensor, kind: Tensor, row: Tensor, column: Tensor, n_atoms: int, n_elements: int) -> Tensor:
    """The features of `n_atoms` atoms from their neighbours, the neighbour `column` of atom `row` along `vectors`."""
    most, n = int(column.max()) + 1 if len(column) else 1, len(RADII)
    r = vectors.norm(dim=1, keepdim=True).clamp(min=1e-9)
    harmonics = np.concatenate(
        [spherical_harmonics(ell, (vectors / r).numpy()) for ell in range(DEGREE + 1)], axis=1, dtype=np.float32
    )
    radial = torch.exp(-0.5 * ((r - torch.tensor(RADII)) / WIDTH) ** 2) * (1 + torch.cos(np.pi * r / CUTOFF)) / 2
    left = torch.zeros(n_atoms, most, n_elements, n)
    left[row, column, kind] = radial.float()
    right = torch.zeros(n_atoms, most, (DEGREE + 1) ** 2)
    right[row, column] = torch.from_numpy(harmonics)
    c = (left.flatten(2).transpose(1, 2) @ right).view(n_atoms, n_elements, n, -1)
    total = c.sum(1).transpose(1, 2)
    parts = [slice(ell**2, (ell + 1) ** 2) for ell in range(DEGREE + 1)]
    return torch.cat([(c.flatten(1, 2)[..., m] @ total[:, m]).flatten(1) for m in parts], dim=1)


@dataclass(frozen=True)
class Places:
    """Surroundings as points: (A, K) coordinates and the element (A,) of the atom in the middle."""

    points: Tensor
    numbers: Tensor

    def __getitem__(self, rows: Tensor) -> Places:
        return Places(self.points[rows], self.numbers[rows])

    def nearest(self, others: Places, own: Tensor | None = None) -> Tensor:
        """Distance from each to the nearest of the others around the same element, (A,); inf where there is none.

        `own` (A,) says where each stands itself among the others, and does not count.
        """
        found = torch.full((len(self.numbers),), torch.inf)
        for z in self.numbers.unique():
            rows, columns = (self.numbers == z).nonzero()[:, 0], (others.numbers == z).nonzero()[:, 0]
            if not len(columns):
                continue
            points = others.points[columns]
            length = (points**2).sum(1)
            for block in rows.split(_BLOCK):
                d2 = torch.addmm(length[None], self.points[block], points.T, alpha=-2)
                if own is not None:
                    d2[columns[None] == own[block][:, None]] = torch.inf
                found[block] = (d2.amin(1) + (self.points[block] ** 2).sum(1)).clamp(min=0).sqrt()
        return found


def thinned(n: int, most: int) -> Tensor:
    """At most `most` of the indices 0 to n - 1, evenly."""
    return torch.arange(n) if n <= most else torch.linspace(0, n - 1, most).long()


@dataclass(frozen=True)
class Space:
    """Where surroundings are points: their distance is 1 where noise of NOISE has moved them.

    Features are whitened by what that noise does to them, and the components kept in which surroundings vary most
    (Fisher's linear discriminant): this tells a copy with noise from a coincidence far better than plain features do.
    """

    elements: Tensor
    centre: Tensor
    projection: Tensor

    @classmethod
    def of(cls, structures: Structures, elements: Tensor) -> Space:
        """The space that surroundings of these structures span."""
        stream = generator(0, "displacements")
        chosen = thinned(structures.n_systems, 32).tolist()
        clean, moved = [], []
        for s in chosen:
            one = structures[s].to("cpu", torch.float64)
            atoms = thinned(one.n_atoms, max(1, SAMPLE // len(chosen)))
            noise = torch.randn(one.positions.shape, generator=stream, dtype=torch.float64)
            clean.append(descriptors(one, elements, atoms))
            moved.append(descriptors(one.at(one.positions + NOISE * noise), elements, atoms))
        x = torch.cat(clean).double()
        change = torch.cat(moved).double() - x
        noise = change.T @ change / len(change)
        noise += 1e-3 * noise.trace().clamp(min=1e-12) / len(noise) * torch.eye(len(noise), dtype=noise.dtype)
        centre = x.mean(0)
        whiten = torch.linalg.inv(torch.linalg.cholesky(noise))
        spread = whiten @ (x - centre).T
        directions = torch.linalg.eigh(spread @ spread.T)[1][:, -COMPONENTS:]
        projection = whiten.T @ directions / directions.shape[1] ** 0.5
        return cls(elements, centre.float(), projection.float())

    def place(self, structure: Structures, atoms: Tensor | None = None) -> Places:
        """The surroundings of the atoms of one structure."""
        numbers = structure.numbers.cpu()
        blocks = _blocks(structure, self.elements, atoms)
        points = torch.cat([(block - self.centre) @ self.projection for block in blocks])
        return Places(points, numbers if atoms is None else numbers[atoms])
