"""The batch: geometry of its cells, wrapping, joining and splitting."""

import itertools

import numpy as np
import pytest
import torch

from glass_ml.structures.neighbours import neighbour_pairs
from glass_ml.structures.state import Structures, concatenate

CELL = torch.tensor([[6.0, 0.0, 0.0], [5.0, 4.0, 0.0], [-2.0, 3.0, 5.0]], dtype=torch.float64)


def batch_of(sizes=(3, 1, 5), seed: int = 0) -> Structures:
    generator = torch.Generator().manual_seed(seed)
    n = sum(sizes)
    return Structures(
        30 * torch.randn(n, 3, dtype=torch.float64, generator=generator),
        torch.stack([CELL * (1 + 0.1 * k) for k in range(len(sizes))]),
        torch.randint(1, 90, (n,), generator=generator),
        torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)),
    )


def same(a: Structures, b: Structures) -> bool:
    return all(torch.equal(getattr(a, f), getattr(b, f)) for f in ("positions", "cell", "numbers", "system"))


def test_counts_volume_density():
    batch = batch_of()
    assert batch.counts.tolist() == [3, 1, 5]
    expected = [6 * 4 * 5 * (1 + 0.1 * k) ** 3 for k in range(3)]
    torch.testing.assert_close(batch.volume, torch.tensor(expected, dtype=torch.float64))
    left_handed = Structures(batch.positions, batch.cell[:, [1, 0, 2]], batch.numbers, batch.system)
    torch.testing.assert_close(left_handed.density, batch.counts / batch.volume)


def test_half_width_is_half_the_distance_of_the_closest_faces():
    a, b, c = CELL.numpy()
    volume = abs(np.dot(a, np.cross(b, c)))
    widths = [volume / np.linalg.norm(np.cross(u, v)) for u, v in ((a, b), (b, c), (c, a))]
    assert batch_of().half_width[0].item() == pytest.approx(min(widths) / 2, rel=1e-12)
    # The sphere of that radius is the largest around an atom that no image's sphere overlaps, in a cell that is
    # not too skewed for its faces to touch the sphere.
    cube = Structures(torch.zeros(1, 3), torch.eye(3)[None] * 4, torch.tensor([14]), torch.tensor([0]))
    assert cube.half_width.item() == pytest.approx(2.0)
    assert len(neighbour_pairs(cube, 2 * 1.999).i) == 0 and len(neighbour_pairs(cube, 2 * 2.001).i) == 6


def test_wrapped_atoms_are_inside_and_moved_by_lattice_vectors():
    batch = batch_of(sizes=(20, 15))
    wrapped = batch.wrapped()
    for before, after in zip(batch.split(), wrapped.split(), strict=True):
        inverse = torch.linalg.inv(before.cell[0])
        fractional = after.positions @ inverse
        assert fractional.min() > -1e-12 and fractional.max() < 1 + 1e-12
        moved = (before.positions - after.positions) @ inverse
        torch.testing.assert_close(moved, moved.round(), rtol=0, atol=1e-10)
        assert moved.abs().max() > 1


def test_concatenate_undoes_split_and_indexing():
    batch = batch_of()
    assert same(concatenate(batch.split()), batch)
    assert all(same(batch[k], single) for k, single in enumerate(batch.split()))
    assert same(batch[-1], batch[2])
    nested = concatenate([batch, batch[1], batch])
    assert nested.system.tolist() == [0, 0, 0, 1, 2, 2, 2, 2, 2, 3, 4, 4, 4, 5, 6, 6, 6, 6, 6]
    assert same(concatenate(nested.split()[4:]), batch)


def test_iteration_ends_and_an_index_outside_is_an_error():
    batch = batch_of()
    assert len(list(itertools.islice(iter(batch), 10))) == 3
    with pytest.raises(IndexError):
        batch[3]


def test_to_changes_the_floats_only():
    single = batch_of().to(dtype=torch.float32)
    assert single.positions.dtype == single.cell.dtype == torch.float32
    assert single.numbers.dtype == single.system.dtype == torch.int64
