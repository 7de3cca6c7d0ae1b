"""How different the structures of an ensemble are, and whether they copy the structures that a prior was trained on.

Two glasses of one material have nearly the same averages, whether or not one is a copy of the other. What a copy
cannot hide is that *every* atom finds its own surroundings, out to several shells, again in the other structure. So
structures are compared atom by atom, each with the most similar surroundings of the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from glass_ml.analysis.distribution import Array
from glass_ml.analysis.surroundings import Places, Space, thinned
from glass_ml.errors import InputError
from glass_ml.structures.state import Structures, concatenate

QUERIES = 512
"""Atoms of a structure whose counterparts are looked for; more are thinned out evenly."""

SAME = 0.8
"""Structures nearer than this in units of `pairwise_distances` are one structure: frames of a quench at 300 K have 0.3
to 0.7, independent quenches 0.93 to 1.1."""

FALSE_ALARMS = 0.002
"""Share of the surroundings in independent structures that is taken for copies."""

RATIO = 0.75
"""Highest ratio of distances that makes a copy, whatever chance allows."""

_PROBES = 16


def _mutual(structures: Structures, space: Space) -> tuple[Array, float]:
    """Mean distance of surroundings from the nearest in another structure, both ways, (S, S); and in their own."""
    places = [space.place(one) for one in structures.split()]
    query = [thinned(len(p.numbers), QUERIES) for p in places]
    table = np.zeros((len(places), len(places)))
    for a, one in enumerate(places):
        for b, other in enumerate(places):
            if a != b:
                table[a, b] = float(one[query[a]].nearest(other).mean())
    return (table + table.T) / 2, float(np.median([_within(p, q) for p, q in zip(places, query, strict=True)]))


def _within(places: Places, rows: Tensor) -> float:
    """Mean distance of some surroundings from the nearest elsewhere in the same structure, not 0.

    In a perfect crystal no two places differ; what noise of NOISE does, 1, stands for it.
    """
    found = places[rows].nearest(places, own=rows)
    mean = float(found[found.isfinite()].mean())
    return mean if mean > 1e-3 else 1.0


def _elements(structures: Structures) -> Tensor:
    elements = structures.numbers.unique().cpu()
    if any(not torch.equal(one.numbers.unique().cpu(), elements) for one in structures.split()):
        mend = "compare structures of one material"
        raise InputError("the structures differ in their elements", "structures", mend)
    return elements


def pairwise_distances(structures: Structures) -> Array:
    """How different structures are from each other, (S, S): 0 for copies, about 1 for independent glasses of one kind.

    The mean distance from the surroundings of an atom to the most similar ones in the other structure, both ways, over
    that to the most similar ones at another place in its own. Rotation, translation, the order of atoms and
    the choice of the cell make no difference. Displacements of 0.05 Å give 0.3; different materials more than 1.

    Raises:
        InputError: the structures differ in their elements.
    """
    table, within = _mutual(structures, Space.of(structures, _elements(structures)))
    return table / within


def diversity(structures: Structures, reference: Structures | None = None) -> dict[str, float]:
    """The pairwise distances of two or more structures in short.

    Returns:
        `mean` and `min` of `pairwise_distances`, and with a reference `relative`: the mean distance between the
        structures over that between the reference structures (1: as varied as they are).

    Raises:
        InputError: fewer than two structures or reference structures, or they differ in their elements.
    """
    for batch, name in ((structures, "structures"), (reference, "reference")):
        if batch is not None and batch.n_systems < 2:
            raise InputError("one structure has no others to differ from", name, "give two or more")
    elements = _elements(structures if reference is None else concatenate([structures, reference]))
    space = Space.of(structures if reference is None else reference, elements)
    table, within = _mutual(structures, space)
    upper = table[np.triu_indices(len(table), 1)]
    result = {"mean": float(upper.mean()) / within, "min": float(upper.min()) / within}
    if reference is not None:
        expected = _mutual(reference, space)[0]
        result["relative"] = float(upper.mean() / expected[np.triu_indices(len(expected), 1)].mean())
    return result


@dataclass(frozen=True)
class Copies:
    """What of S structures stands in training structures.

    Attributes:
        fraction: share of the atoms of each structure whose surroundings are a copy, (S,); FALSE_ALARMS by chance.
        nearest: index of the training structure that each is most like, (S,).
        threshold: ratio of distances below which surroundings count as a copy.
        independent: number of independent training structures, frames of one quench counted once.
    """

    fraction: Array
    nearest: NDArray[np.int64]
    threshold: float
    independent: int


def copies(structures: Structures, training: Structures) -> Copies:
    """Find surroundings that are copied from training structures, also in parts of a structure, turned or with noise.

    Surroundings are a copy where the nearest ones in any training structure are much nearer than the nearest ones in
    all training structures that are independent of it; a coincidence has about the same distance from both. How much
    is learned from the training structures themselves, each held against the others: the ratio of the two distances
    that FALSE_ALARMS of their surroundings fall below, or RATIO if that is lower. Training structures that are the
    same but for displacements, such as frames of one quench, are found and count as one.

    Measured on a-Si and a-SiO2 (216 atoms, 54 and 38 quenches): with displacements of 0.05 Å 100 % are found, of 0.1 Å
    70-90 %, after thermal motion at 300 K 97 %; in half of a structure, 8 Å thick, 10-15 % (deep atoms only); in
    independent quenches, also of other potentials, less than 1 %.

    Args:
        structures: S structures.
        training: T structures; memory grows as 64 T^2 + 2048 S T bytes.

    Raises:
        InputError: fewer than three independent training structures.
    """
    space = Space.of(training, torch.cat([structures.numbers, training.numbers]).unique().cpu())
    asked = [space.place(one, thinned(one.n_atoms, QUERIES)) for one in structures.split()]
    probes = [space.place(one, thinned(one.n_atoms, _PROBES)) for one in training.split()]
    every = _join([*asked, *probes])
    table = torch.stack([every.nearest(p) for p in _stream(space, training)], dim=1)
    n_asked = sum(len(a.numbers) for a in asked)
    sizes = [len(p.numbers) for p in probes]
    own = torch.repeat_interleave(torch.arange(len(probes)), torch.tensor(sizes))
    group = _independent(table[n_asked:], own, space, training)
    n_groups = int(group.max()) + 1
    if n_groups < 3:
        mend = "give three or more, such as the training file of the prior"
        raise InputError(f"{n_groups} independent training structures", "training", mend)
    by_group = torch.full((len(table), n_groups), torch.inf)
    by_group.scatter_reduce_(1, group.expand(len(table), -1), table, "amin")
    by_group[n_asked:].scatter_(1, group[own][:, None], torch.inf)
    ratio = _ratio(by_group)
    threshold = min(RATIO, float(ratio[n_asked:].quantile(FALSE_ALARMS)))
    parts = torch.arange(n_asked).split([len(a.numbers) for a in asked])
    fraction = [float((ratio[rows] < threshold).double().mean()) for rows in parts]
    nearest = []
    for rows in parts:
        members = (group == by_group[rows].argmin(1).mode().values).nonzero()[:, 0]
        nearest.append(int(members[table[rows][:, members].argmin(1).mode().values]))
    return Copies(np.array(fraction), np.array(nearest), threshold, n_groups)


def _join(places: list[Places]) -> Places:
    return Places(torch.cat([p.points for p in places]), torch.cat([p.numbers for p in places]))


def _stream(space: Space, structures: Structures) -> Iterator[Places]:
    for one in structures.split():
        yield space.place(one)


def _ratio(distances: Tensor) -> Tensor:
    """Smallest over second smallest distance in every row; 1 where there are no two, or both are 0."""
    first, second = distances.topk(2, dim=1, largest=False).values.T
    return torch.where(second.isfinite() & (second > 0), first / second, 1.0)


def _independent(table: Tensor, own: Tensor, space: Space, training: Structures) -> Tensor:
    """The group of every training structure, (T,): structures are in one group where they are copies of each other."""
    within = torch.tensor([_within(one, thinned(len(one.numbers), _PROBES)) for one in _stream(space, training)])
    mean = torch.stack([table[own == t].mean(0) for t in range(training.n_systems)])
    same = (mean + mean.T) / (within[:, None] + within) < SAME
    return torch.from_numpy(connected_components(same.numpy(), directed=False)[1]).long()
