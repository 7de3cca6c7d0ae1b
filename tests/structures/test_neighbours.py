"""Neighbour pairs against a brute-force search, in cells where a minimum-image convention fails."""

import itertools

import numpy as np
import pytest
import torch

from glass_ml.structures import neighbours
from glass_ml.structures.neighbours import SkinList, neighbour_pairs
from glass_ml.structures.state import Structures, concatenate

SHEARED = np.array([[5.0, 0.0, 0.0], [4.2, 3.1, 0.0], [-1.5, 2.4, 4.0]])
THIN = np.array([[9.0, 0.5, 0.0], [0.0, 2.2, 0.3], [1.0, 0.0, 7.0]])


def random_structure(cell: np.ndarray, n: int, seed: int, spill: float = 1.0) -> Structures:
    """Atoms anywhere, `spill` cells beyond the cell included."""
    fractional = np.random.default_rng(seed).uniform(-spill, 1 + spill, (n, 3))
    return Structures(
        torch.from_numpy(fractional @ cell),
        torch.from_numpy(cell)[None],
        torch.full((n,), 14),
        torch.zeros(n, dtype=torch.long),
    )


def brute_force(structure: Structures, cutoff: float) -> set[tuple[int, int, tuple[int, ...]]]:
    """All directed pairs (i, j, shift) by going through every image within reach."""
    cell = structure.cell[0].numpy()
    fractional = structure.positions.numpy() @ np.linalg.inv(cell)
    reach = np.ceil(cutoff * np.linalg.norm(np.linalg.inv(cell), axis=0) + np.ptp(fractional, axis=0)).astype(int)
    found = set()
    for shift in itertools.product(*(range(-k, k + 1) for k in reach)):
        vectors = structure.positions[None, :, :].numpy() - structure.positions[:, None, :].numpy() + shift @ cell
        close = np.linalg.norm(vectors, axis=-1) < cutoff
        if shift == (0, 0, 0):
            np.fill_diagonal(close, False)
        found |= {(int(i), int(j), shift) for i, j in np.argwhere(close)}
    return found


def as_set(pairs) -> list[tuple[int, int, tuple[int, ...]]]:
    shifts = pairs.shift.round().long().tolist()
    return [(i, j, tuple(s)) for i, j, s in zip(pairs.i.tolist(), pairs.j.tolist(), shifts, strict=True)]


@pytest.mark.parametrize("cell", [SHEARED, THIN], ids=["sheared", "thin"])
@pytest.mark.parametrize("cutoff", [1.0, 4.7])
def test_full_list_equals_brute_force_also_beyond_half_the_cell(cell, cutoff):
    structure = random_structure(cell, 25, seed=1)
    assert cutoff < structure.half_width or cutoff > 2 * structure.half_width  # the long one sees several images
    pairs = neighbour_pairs(structure, cutoff)
    found = as_set(pairs)
    assert len(found) == len(set(found))
    assert set(found) == brute_force(structure, cutoff)
    assert len(found) >= 12 and (pairs.i.diff() >= 0).all()
    distance = pairs.vectors(structure).norm(dim=1)
    assert distance.max() < cutoff


def test_half_list_holds_every_pair_once():
    structure = random_structure(THIN, 6, seed=2)
    half = as_set(neighbour_pairs(structure, 4.7, full=False))
    there_and_back = {*half, *((j, i, tuple(-k for k in s)) for i, j, s in half)}
    assert len(there_and_back) == 2 * len(half)  # no pair stands in both directions
    assert there_and_back == brute_force(structure, 4.7)
    assert any(i == j for i, j, _ in half)  # an atom and its own image


def test_lone_atom_sees_its_lattice():
    a = 3.0
    structure = Structures(
        torch.tensor([[10.0, -7.0, 0.1]]), torch.eye(3)[None] * a, torch.tensor([14]), torch.tensor([0])
    )
    for cutoff, expected in ((1.01 * a, 6), (1.5 * a, 18), (1.75 * a, 26)):
        assert len(neighbour_pairs(structure, cutoff).i) == expected
        assert len(neighbour_pairs(structure, cutoff, full=False).i) == expected // 2


@pytest.mark.parametrize("full", [True, False])
def test_batch_is_every_system_alone(full):
    singles = [random_structure(SHEARED, 5, 3), random_structure(THIN, 1, 4), random_structure(2 * THIN, 9, 5)]
    batch = concatenate(singles)
    pairs = neighbour_pairs(batch, 4.0, full=full)
    offset, expected = 0, []
    for single in singles:
        expected += [(i + offset, j + offset, s) for i, j, s in as_set(neighbour_pairs(single, 4.0, full=full))]
        offset += single.n_atoms
    assert as_set(pairs) == expected
    alone = torch.cat([neighbour_pairs(s, 4.0, full=full).vectors(s) for s in singles])
    torch.testing.assert_close(pairs.vectors(batch), alone, rtol=0, atol=1e-12)


def test_vectors_carry_gradients_of_both_ends():
    structure = random_structure(SHEARED, 4, 6)
    pairs = neighbour_pairs(structure, 3.0)
    positions = structure.positions.requires_grad_(True)
    pull = torch.randn(len(pairs.i), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad((pull * pairs.vectors(structure.at(positions))).sum(), positions)
    expected = torch.zeros(4, 3, dtype=torch.float64)
    for k, (i, j) in enumerate(zip(pairs.i.tolist(), pairs.j.tolist(), strict=True)):
        expected[j] += pull[k]
        expected[i] -= pull[k]
    torch.testing.assert_close(gradient, expected)


def test_no_pairs_within_a_short_cutoff():
    structure = random_structure(10 * np.eye(3), 2, 0)
    pairs = neighbour_pairs(structure, 0.05)
    assert pairs.vectors(structure).shape == (0, 3)


def walk(structures: Structures, steps: int, seed: int = 0):
    """The atoms after every step of a random walk in which each of them leaps now and then by a lattice vector."""
    rng = np.random.default_rng(seed)
    for step in range(steps):
        positions = structures.positions + 0.05 * torch.from_numpy(rng.normal(size=structures.positions.shape))
        if step == steps // 2:
            positions[0] += structures.cell[0, 1]
        structures = structures.at(positions)
        yield structures


def within(pairs, structures: Structures, cutoff: float) -> list[tuple[int, int, tuple[int, ...]]]:
    """The pairs that are closer than a cutoff, each in one direction, as a sorted list."""
    close = pairs.vectors(structures).norm(dim=1) < cutoff
    chosen = [(i, j, s) for (i, j, s), near in zip(as_set(pairs), close.tolist(), strict=True) if near]
    return sorted(min((i, j, s), (j, i, tuple(-k for k in s))) for i, j, s in chosen)


@pytest.fixture
def searches(monkeypatch):
    """Number of systems in every search that was made."""
    made = []
    search = neighbours.neighbour_pairs

    def counted(structures, *args, **options):
        made.append(structures.n_systems)
        return search(structures, *args, **options)

    monkeypatch.setattr(neighbours, "neighbour_pairs", counted)
    return made


@pytest.mark.parametrize("cell", [SHEARED, THIN], ids=["sheared", "thin"])
@pytest.mark.parametrize("full", [True, False])
def test_a_skin_list_is_complete_all_along_a_walk(cell, full, searches):
    """Also in cells that are smaller than the cutoff."""
    cutoff, steps = 4.7, 40
    skin = SkinList(cutoff, 0.5, full=full)
    for moved in walk(random_structure(cell, 8, seed=7), steps):
        fresh = neighbour_pairs(moved, cutoff, full=full)
        assert within(skin.pairs(moved), moved, cutoff) == within(fresh, moved, cutoff)
    assert 5 <= len(searches) <= steps // 2


def test_a_skin_list_of_a_batch_is_that_of_every_system(searches):
    singles = [random_structure(SHEARED, 5, 3), random_structure(THIN, 4, 4), random_structure(2 * THIN, 9, 5)]
    walks = list(zip(*(walk(single, 30, seed) for seed, single in enumerate(singles)), strict=True))
    together, alone = SkinList(4.0, 1.0), [SkinList(4.0, 1.0) for _ in singles]
    batches = [together.pairs(concatenate(moved)) for moved in walks]
    assert searches[0] == 3 and {1, 2} & set(searches[1:])  # then single systems, not all each time
    for moved, batch in zip(walks, batches, strict=True):
        first = 0
        expected = []
        for one, skin in zip(moved, alone, strict=True):
            pairs = skin.pairs(one)
            expected.append(torch.column_stack([pairs.i + first, pairs.j + first, pairs.shift]))
            first += one.n_atoms
        assert torch.equal(torch.column_stack([batch.i, batch.j, batch.shift]), torch.cat(expected))


def test_a_skin_list_starts_afresh_with_other_cells_or_atoms():
    structure = random_structure(SHEARED, 6, seed=1)
    skin = SkinList(4.0, 1.0)
    pairs = skin.pairs(structure)
    assert skin.pairs(structure.at(structure.positions + 0.1)) is pairs
    wider = Structures(structure.positions, 1.1 * structure.cell, structure.numbers, structure.system)
    for other in (wider, random_structure(SHEARED, 7, seed=1), concatenate([structure, structure])):
        assert within(skin.pairs(other), other, 4.0) == within(neighbour_pairs(other, 4.0, full=False), other, 4.0)
