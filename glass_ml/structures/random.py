"""Random streams, and the random starts drawn from them.

A number depends on the seed and on what it is for, never on who drew before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import torch
from ase.data import atomic_numbers
from torch import Generator

from glass_ml.errors import InputError
from glass_ml.structures.neighbours import neighbour_pairs
from glass_ml.structures.state import Structures


def generator(seed: int, *purpose: object) -> torch.Generator:
    """A CPU generator for one purpose, such as `generator(seed, "replica", 3)`.

    Streams of different purposes are independent, so that a result does not depend on how many replicas,
    processes or devices share the work.
    """
    key = hashlib.sha256(repr((int(seed), *purpose)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(key[:8], "little") & (2**63 - 1))


def atom_counts(composition: Mapping[str, float], n_atoms: int) -> dict[str, int]:
    """Whole numbers of atoms closest to a composition, by largest remainder.

    Raises:
        InputError: fewer atoms than elements, or an amount that is not positive.
    """
    total = sum(composition.values())
    if n_atoms < len(composition) or not all(amount > 0 for amount in composition.values()):
        raise InputError(f"cannot make {n_atoms} atoms of {dict(composition)}", "composition", "ask for more atoms")
    exact = {el: n_atoms * amount / total for el, amount in composition.items()}
    counts = {el: max(1, int(value)) for el, value in exact.items()}
    by_remainder = sorted(exact, key=lambda el: exact[el] - counts[el], reverse=True)
    for el in by_remainder[: max(0, n_atoms - sum(counts.values()))]:
        counts[el] += 1
    while sum(counts.values()) > n_atoms:  # elements of less than one atom were given one
        counts[max(counts, key=lambda el: counts[el])] -= 1
    return counts


def random_packing(
    composition: Mapping[str, float], density: float, n_atoms: int, streams: Sequence[Generator], rounds: int = 60
) -> Structures:
    """Random structures in cubic cells, one per random stream, relaxed away from overlaps.

    Args:
        composition: element symbol -> amount.
        density: number density, atoms/Å^3.
        n_atoms: atoms in each structure.
        streams: one generator per structure.
        rounds: sweeps that push pairs apart which are closer than 0.85 of the distance in a close packing.
    """
    counts = atom_counts(composition, n_atoms)
    numbers = torch.tensor([atomic_numbers[el] for el, count in counts.items() for _ in range(count)])
    edge = (n_atoms / density) ** (1 / 3)
    n_systems = len(streams)
    fractional = torch.cat([torch.rand(n_atoms, 3, generator=stream) for stream in streams])
    structures = Structures(
        fractional * edge,
        (torch.eye(3) * edge).expand(n_systems, 3, 3).clone(),
        numbers.repeat(n_systems),
        torch.arange(n_systems).repeat_interleave(n_atoms),
    )
    wanted = 0.85 * 2 ** (1 / 6) * density ** (-1 / 3)
    for _ in range(rounds):
        pairs = neighbour_pairs(structures, wanted)
        if len(pairs.i) == 0:
            break
        vectors = pairs.vectors(structures)
        distance = vectors.norm(dim=1, keepdim=True).clamp(min=1e-3)
        push = 0.4 * (distance - wanted) / distance * vectors
        structures = structures.at(structures.positions.index_add(0, pairs.i, push))
    return structures.wrapped()
