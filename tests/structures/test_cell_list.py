"""The cell list in torch finds exactly the pairs of vesin and of a search through all images."""

import numpy as np
import pytest
import torch
import vesin

from glass_ml.structures import neighbours
from glass_ml.structures.neighbours import cell_list, neighbour_pairs
from glass_ml.structures.state import Structures, concatenate

CELLS = {
    "cubic": np.eye(3) * 17.0,
    "sheared": np.array([[15.0, 0.0, 0.0], [12.6, 9.3, 0.0], [-4.5, 7.2, 12.0]]),
    "thin": np.array([[21.0, 0.5, 0.0], [0.0, 2.2, 0.3], [1.0, 0.0, 11.0]]),
    "left-handed": np.array([[0.0, 9.0, 1.0], [8.0, 0.5, 0.0], [0.3, 0.0, 14.0]]),
    "mostly empty": np.eye(3) * 400.0,
}


def atoms_in(cell: np.ndarray, n: int) -> torch.Tensor:
    """Random positions, up to a cell beyond the cell; some on its faces."""
    fractional = np.random.default_rng(n).uniform(-1, 2, (n, 3))
    fractional[: n // 8, 0] = 1.0
    fractional[: n // 16, 1] = 0.0
    return torch.from_numpy(fractional @ cell)


def listed(i, j, shift) -> set[tuple[int, ...]]:
    rows = np.column_stack([np.asarray(i), np.asarray(j), np.asarray(shift)]).astype(int)
    found = {tuple(row) for row in rows.tolist()}
    assert len(found) == len(rows)
    return found


@pytest.mark.parametrize("cutoff", [3.1, 6.0])
@pytest.mark.parametrize("name", CELLS)
def test_same_pairs_as_vesin(name, cutoff):
    cell = CELLS[name]
    positions = atoms_in(cell, 120) * (0.012 if name == "mostly empty" else 1.0)
    theirs = vesin.NeighborList(cutoff=cutoff, full_list=True, n_threads=1)
    i, j, shift = cell_list(positions, torch.from_numpy(cell), cutoff)
    assert listed(i, j, shift) == listed(*theirs.compute(positions.numpy(), cell, True, "ijS"))
    assert len(i) > 100 and (i.diff() >= 0).all()


@pytest.mark.parametrize("n, cutoff", [(1, 14.0), (7, 9.0)])
def test_a_cell_far_smaller_than_the_cutoff(n, cutoff):
    """One atom pairs with its own images alone: their number is that of lattice points in a sphere, but one."""
    cell = np.array([[3.0, 0.2, 0.0], [0.5, 2.5, 0.0], [0.0, 0.7, 4.0]])
    theirs = vesin.NeighborList(cutoff=cutoff, full_list=True, n_threads=1)
    positions = atoms_in(cell, n)
    ours = listed(*cell_list(positions, torch.from_numpy(cell), cutoff))
    assert ours == listed(*theirs.compute(positions.numpy(), cell, True, "ijS"))
    if n == 1:
        points = np.stack(np.meshgrid(*[np.arange(-9, 10)] * 3), -1).reshape(-1, 3)
        assert len(ours) == (np.linalg.norm(points @ cell, axis=1) < cutoff).sum() - 1


@pytest.mark.parametrize("name", ["sheared", "thin"])
def test_half_a_list_has_every_pair_once(name):
    cell, positions = torch.from_numpy(CELLS[name]), atoms_in(CELLS[name], 60)
    i, j, shift = cell_list(positions, cell, 5.0, full=False)
    forth = listed(i, j, shift)
    back = listed(j, i, -shift)
    assert not forth & back and forth | back == listed(*cell_list(positions, cell, 5.0))


def test_what_is_in_memory_at_a_time_changes_nothing(monkeypatch):
    cell, positions = torch.from_numpy(CELLS["sheared"]), atoms_in(CELLS["sheared"], 100)
    whole = cell_list(positions, cell, 4.0)
    monkeypatch.setattr(neighbours, "AT_ONCE", 1)
    assert listed(*cell_list(positions, cell, 4.0)) == listed(*whole)


@pytest.mark.parametrize("full", [True, False])
def test_a_batch_without_vesin(monkeypatch, full):
    batch = concatenate(
        [
            Structures(
                atoms_in(CELLS[name], n).float(),
                torch.from_numpy(CELLS[name]).float()[None],
                torch.full((n,), 14),
                torch.zeros(n, dtype=torch.long),
            )
            for name, n in (("cubic", 90), ("sheared", 40), ("thin", 30))
        ]
    )
    theirs = neighbour_pairs(batch, 4.5, full=full)
    monkeypatch.setattr(neighbours, "vesin", None)
    ours = neighbour_pairs(batch, 4.5, full=full)
    for a, b in ((ours.i, theirs.i), (ours.shift, theirs.shift)):
        assert a.dtype == b.dtype and a.shape == b.shape
    distances = [pairs.vectors(batch).norm(dim=1).sort().values for pairs in (ours, theirs)]
    torch.testing.assert_close(*distances, rtol=0, atol=1e-4)
    if full:
        assert listed(ours.i, ours.j, ours.shift) == listed(theirs.i, theirs.j, theirs.shift)
