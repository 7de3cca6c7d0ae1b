"""Neighbours in windows of distance, on lattices where they can be counted."""

import pytest
import torch
from ase.build import bulk

from glass_ml.errors import InputError
from glass_ml.observables.pair_count import PairCount, WindowDepth
from glass_ml.structures.io import from_atoms


@pytest.mark.parametrize("repeat", [1, 2])
def test_shells_of_lattices(repeat):
    silicon = from_atoms([bulk("Si", "diamond", 5.431).repeat(repeat)])
    counts = PairCount([(0.0, 3.0), (3.0, 4.2), (0.0, 4.2), (2.5, 3.7)], "Si-Si").forward(silicon)
    torch.testing.assert_close(counts, torch.tensor([[4.0, 12.0, 16.0, 0.0]], dtype=torch.float64), atol=1e-6, rtol=0)


def test_the_centre_comes_first():
    salt = bulk("NaCl", "rocksalt", 5.64, cubic=True)
    del salt[[1]]  # one Cl less: 4 Na and 3 Cl
    structures = from_atoms([salt])
    around_na = PairCount([(0.0, 3.2)], "Na-Cl").forward(structures)
    around_cl = PairCount([(0.0, 3.2)], "Cl-Na").forward(structures)
    assert float(around_na) * 4 == pytest.approx(float(around_cl) * 3)
    assert float(around_cl) == pytest.approx(6, abs=1e-6)
    assert float(PairCount([(0.0, 3.2)], "Na-Br").forward(structures)) == 0


def test_depth_of_a_window_is_the_way_out():
    silicon = from_atoms([bulk("Si", "diamond", 5.431, cubic=True)])
    bond = 5.431 * 3**0.5 / 4
    depths = WindowDepth([(0.0, 2.8), (2.3, 3.0), (2.5, 3.5)], "Si-Si").forward(silicon)[0]
    expected = torch.tensor([4 * (2.8 - bond), 4 * (bond - 2.3), 0.0], dtype=torch.float64)
    torch.testing.assert_close(depths, expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("window", [(2.0, 1.0), (-1.0, 2.0), (1.0, 1.0)])
def test_windows_that_are_none(window):
    with pytest.raises(InputError, match="does not ascend"):
        PairCount([window], "Si-Si")
