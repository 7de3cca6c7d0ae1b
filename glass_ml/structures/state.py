"""The batch of periodic structures that every room works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Structures:
    """A batch of S periodic configurations with N atoms in all, the atoms of a system contiguous.

    Attributes:
        positions: Cartesian positions, (N, 3), Å; not necessarily wrapped into the cell.
        cell: lattice vectors as rows, (S, 3, 3), Å.
        numbers: atomic numbers, (N,), int64.
        system: index of the system that each atom belongs to, (N,), int64, ascending.
    """

    positions: Tensor
    cell: Tensor
    numbers: Tensor
    system: Tensor

    @property
    def n_atoms(self) -> int:
        """Atoms in the whole batch."""
        return self.positions.shape[0]

    @property
    def n_systems(self) -> int:
        """Systems in the batch."""
        return self.cell.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        return self.positions.device

    @property
    def counts(self) -> Tensor:
        """Atoms of each system, (S,), int64."""
        return torch.bincount(self.system, minlength=self.n_systems)

    @property
    def volume(self) -> Tensor:
        """Cell volumes, (S,), Å^3."""
        return torch.linalg.det(self.cell).abs()

    @property
    def density(self) -> Tensor:
        """Number densities, (S,), atoms/Å^3."""
        return self.counts / self.volume

    @property
    def half_width(self) -> Tensor:
        """Half the smallest distance between opposite cell faces, (S,), Å: the inscribed sphere's radius."""
        return 0.5 / torch.linalg.inv(self.cell).norm(dim=-2).amax(dim=-1)

    def at(self, positions: Tensor) -> Structures:
        """The same atoms and cells at other positions (N, 3)."""
        return replace(self, positions=positions)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Structures:
        """Move to a device and/or change the floating-point type."""
        return Structures(
            self.positions.to(device, dtype),
            self.cell.to(device, dtype),
            self.numbers.to(device),
            self.system.to(device),
        )

    def wrapped(self) -> Structures:
        """The same structures with every atom inside its cell."""
        inverse = torch.linalg.inv(self.cell)
        shift = torch.einsum("ni,nij->nj", self.positions, inverse[self.system]).floor()
        return self.at(self.positions - torch.einsum("ni,nij->nj", shift, self.cell[self.system]))

    def __getitem__(self, index: int) -> Structures:
        """One system as a batch of one."""
        if not -self.n_systems <= index < self.n_systems:
            raise IndexError(f"system {index} of {self.n_systems}")
        mask = self.system == (index % self.n_systems)
        cell = self.cell[index % self.n_systems][None]
        return Structures(self.positions[mask], cell, self.numbers[mask], torch.zeros_like(self.system[mask]))

    def split(self) -> list[Structures]:
        """Every system as a batch of one."""
        sizes = self.counts.tolist()
        return [
            Structures(p, c[None], z, torch.zeros_like(z))
            for p, c, z in zip(self.positions.split(sizes), self.cell, self.numbers.split(sizes), strict=True)
        ]


def concatenate(batches: Sequence[Structures]) -> Structures:
    """One batch out of several, in their order."""
    offsets = torch.tensor([0] + [b.n_systems for b in batches[:-1]]).cumsum(0).tolist()
    return Structures(
        torch.cat([b.positions for b in batches]),
        torch.cat([b.cell for b in batches]),
        torch.cat([b.numbers for b in batches]),
        torch.cat([b.system + offset for b, offset in zip(batches, offsets, strict=True)]),
    )
