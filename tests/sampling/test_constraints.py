"""Minimum distances: overlaps are removed, along their line, and nothing else moves."""

import pytest
import torch

from glass_ml.sampling.constraints import MinimumDistance, too_close
from glass_ml.structures.random import generator, random_packing
from glass_ml.structures.state import Structures, concatenate

LIMITS = {(14, 14): 2.2, (8, 14): 1.5, (8, 8): 2.3}


def in_a_box(positions: list[list[float]], numbers: list[int], edge: float = 12.0) -> Structures:
    n = len(numbers)
    cell = torch.eye(3, dtype=torch.float64)[None] * edge
    return Structures(
        torch.tensor(positions, dtype=torch.float64), cell, torch.tensor(numbers), torch.zeros(n, dtype=torch.long)
    )


def test_a_close_pair_parts_along_its_line_and_others_stay():
    structures = in_a_box([[1.0, 1, 1], [2.2, 2.6, 1], [8, 8, 8], [8, 8, 9.6]], [14, 14, 14, 8])
    moved = MinimumDistance(LIMITS)(structures)
    assert torch.equal(moved.positions[2:], structures.positions[2:])
    before, after = (s.positions[1] - s.positions[0] for s in (structures, moved))
    assert 2.2 <= float(after.norm()) < 2.22
    torch.testing.assert_close(after / after.norm(), before / before.norm())
    torch.testing.assert_close(moved.positions[:2].mean(0), structures.positions[:2].mean(0))


def test_pairs_are_found_through_the_cell_boundary():
    structures = in_a_box([[0.2, 3, 3], [11.4, 3, 3]], [8, 14])
    moved = MinimumDistance(LIMITS)(structures)
    distance = moved.positions[0, 0] + 12 - moved.positions[1, 0]
    assert 1.5 <= float(distance) < 1.52


def test_allowed_structures_are_returned_as_they_are():
    structures = in_a_box([[0, 0, 0], [0, 0, 1.55], [0, 0, 3.9]], [14, 8, 8])
    assert torch.equal(MinimumDistance(LIMITS)(structures).positions, structures.positions)
    free = in_a_box([[0, 0, 0], [0, 0, 0.5]], [14, 8])
    assert torch.equal(MinimumDistance({})(free).positions, free.positions)


def test_elements_without_a_limit_are_free():
    structures = in_a_box([[0, 0, 0], [0, 0, 0.5], [5, 5, 5], [5, 5, 6]], [8, 32, 8, 8])
    constraint = MinimumDistance({(8, 8): 2.0})
    moved = constraint(structures)
    assert torch.equal(moved.positions[:2], structures.positions[:2])
    assert 2.0 <= float(moved.positions[3, 2] - moved.positions[2, 2]) < 2.02
    assert too_close(structures, constraint).tolist() == [1]


def test_too_close_counts_pairs_of_each_system():
    three = in_a_box([[0, 0, 0], [0, 0, 1.9], [0, 1.9, 0]], [14, 14, 14])
    good = in_a_box([[0, 0, 0], [0, 0, 2.195]], [14, 14])
    assert too_close(concatenate([three, good, three[0]]), MinimumDistance(LIMITS)).tolist() == [2, 0, 2]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_crowded_structure_is_cleared(seed):
    structures = random_packing({"Si": 1, "O": 2}, 0.0664, 120, [generator(seed)]).to(dtype=torch.float64)
    noise = torch.randn(structures.positions.shape, generator=generator(seed, "noise"), dtype=torch.float64)
    structures = structures.at(structures.positions + 0.25 * noise)
    constraint = MinimumDistance({(14, 14): 2.0, (8, 14): 1.4, (8, 8): 2.0})
    assert int(too_close(structures, constraint)) > 5
    moved = constraint(structures)
    assert int(too_close(moved, constraint)) == 0
    assert (moved.positions - structures.positions).norm(dim=1).max() < 1.5
