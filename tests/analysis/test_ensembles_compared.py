"""Descriptors of ensembles, and distances from a reference with values known beforehand."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene
from test_shells_and_angles import cristobalite, noisy

from glass_ml.analysis.comparison import compare, floor
from glass_ml.analysis.ensemble import describe, summary
from glass_ml.errors import InputError
from glass_ml.structures.io import from_atoms
from glass_ml.structures.state import concatenate

SILICON = bulk("Si", cubic=True) * (3, 3, 3)


def ensemble(n: int, sigma: float = 0.1, start: int = 0):
    return from_atoms([noisy(SILICON, sigma, seed) for seed in range(start, start + n)])


def test_a_structure_is_described_alike_alone_and_in_company():
    cutoffs = {"Si-Si": 2.9}
    together = describe(ensemble(3), cutoffs)
    for k in range(3):
        alone = describe(ensemble(1, start=k), cutoffs)
        for name, values in alone.items():
            assert together[name][k] == pytest.approx(values[0]), name
    assert set(together) - set(alone) == {"diversity.gr", "diversity.angle"}


def test_copies_have_no_diversity_and_more_noise_gives_more():
    copies = describe(from_atoms([SILICON, SILICON]), rings=False)
    assert copies["diversity.gr"] == pytest.approx([0, 0], abs=1e-12)
    assert copies["diversity.angle"] == pytest.approx([0, 0], abs=1e-12)
    calm, wild = (describe(ensemble(3, s), {"Si-Si": 2.9}, rings=False) for s in (0.05, 0.25))
    assert wild["diversity.angle"].mean() > 1.3 * calm["diversity.angle"].mean() > 0


def test_structures_of_different_composition_share_a_batch():
    found = describe(from_atoms([cristobalite(), bulk("Si", a=5.43, cubic=True)]), {"Si-Si": 2.9, "Si-O": 2.0})
    assert np.isnan(found["coordination.O"][1])
    assert found["coordination.Si"] == pytest.approx([4, 4])
    assert summary(found)["coordination.O"] == {"mean": pytest.approx(2.0), "std": 0.0}


def test_the_summary_is_that_of_a_sample():
    table = summary({"a": np.array([1.0, 2.0, 3.0]), "b": np.array([np.nan, np.nan])})
    assert table == {"a": {"mean": 2.0, "std": 1.0}}


def test_a_crystal_and_its_supercell_are_the_same():
    distances = compare(from_atoms([SILICON * (2, 1, 1)]), from_atoms([SILICON]))
    assert set(distances) == {
        "gr.rmse",
        "gr.rmse.Si-Si",
        "angle.rmse",
        "angle.rmse.Si-Si-Si",
        "coordination.emd",
        "coordination.emd.Si",
        "rings.emd",
    }
    for name, values in distances.items():
        assert values == pytest.approx([0.0], abs=1e-9), name


def test_two_sharp_angles_differ_by_the_norm_of_two_gaussians():
    layer, diamond = graphene(size=(4, 4, 1), vacuum=5), bulk("C", "diamond", a=3.57, cubic=True) * (2, 2, 2)
    found = compare(from_atoms([layer]), from_atoms([diamond]), {"C-C": 1.8}, rings=False)["angle.rmse"]
    # each distribution is 100 % under a Gaussian of 2 degrees, whose square integrates to 1 / (2 sqrt(pi) 2)
    expected = np.sqrt(2 * 100**2 / (2 * np.sqrt(np.pi) * 2) / 180)
    assert found == pytest.approx([expected], rel=0.02)


def test_the_earth_mover_carries_the_neighbours_of_a_vacancy():
    broken = SILICON.copy()
    del broken[0]
    distances = compare(from_atoms([broken]), from_atoms([SILICON]), {"Si-Si": 2.9})
    assert distances["coordination.emd.Si"] == pytest.approx([4 / len(broken)])
    # the twelve rings through the missing atom leave; no new primitive ring below nine appears
    assert distances["rings.emd"] == pytest.approx([0.0], abs=1e-12)


def test_a_ring_size_counts_by_its_distance():
    square = Atoms("S4", positions=[[0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0]], cell=[12, 12, 12], pbc=True)
    t = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    octagon = Atoms("S8", positions=2.6 * np.c_[np.cos(t), np.sin(t), 0 * t], cell=[14, 14, 14], pbc=True)
    assert compare(from_atoms([octagon]), from_atoms([square]), {"S-S": 2.3})["rings.emd"] == pytest.approx([4.0])


def test_the_floor_leaves_each_reference_out_in_turn():
    reference, cutoffs = ensemble(3, 0.15), {"Si-Si": 2.9}
    frames = reference.split()
    by_hand = compare(frames[1], concatenate([frames[0], frames[2]]), cutoffs)
    chance = floor(reference, cutoffs)
    for name, values in by_hand.items():
        assert chance[name][1] == pytest.approx(values[0]), name
    assert chance["gr.rmse"].min() > 0


def test_farther_structures_are_farther():
    reference = ensemble(3, 0.1, start=10)
    near, far = (compare(ensemble(2, s), reference, {"Si-Si": 2.9}) for s in (0.1, 0.3))
    for name in ("gr.rmse", "angle.rmse", "coordination.emd", "rings.emd"):
        assert far[name].min() > near[name].max(), name


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(InputError, match="elements"):
        compare(ensemble(1), from_atoms([cristobalite()]))
    with pytest.raises(InputError, match="two or more"):
        floor(ensemble(1))
