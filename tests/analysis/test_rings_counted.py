"""Ring counts against known lattices and against a plain enumeration of all cycles."""

import networkx
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene
from test_shells_and_angles import cristobalite, noisy, skewed

from glass_ml.analysis.coordination import Bonds, find_bonds
from glass_ml.analysis.ensemble import describe
from glass_ml.analysis.rings import count_rings, describe_rings
from glass_ml.structures.io import from_atoms


def lonsdaleite() -> Atoms:
    a, c = 2.51, 4.12
    fractions = [(1 / 3, 2 / 3, z) for z in (1 / 16, 7 / 16)] + [(2 / 3, 1 / 3, z) for z in (9 / 16, 15 / 16)]
    return Atoms("C4", scaled_positions=fractions, cell=[a, a, c, 90, 90, 120], pbc=True)


@pytest.mark.parametrize(
    ("atoms", "per_atom"),
    [
        (bulk("Si"), 2.0),  # twelve rings of six through every atom
        (bulk("Si", cubic=True), 2.0),
        (skewed(bulk("Si", cubic=True) * (2, 2, 2)), 2.0),
        (noisy(bulk("Si", cubic=True) * (3, 3, 3), 0.1), 2.0),
        (lonsdaleite() * (2, 2, 1), 2.0),
        (graphene(size=(4, 4, 1), vacuum=8), 0.5),
    ],
)
def test_six_rings_and_no_other_below_nine(atoms, per_atom):
    rings = describe_rings(find_bonds(from_atoms([atoms]), {"Si-Si": 2.85, "C-C": 1.85}))
    assert rings["rings.6"] == pytest.approx([per_atom])
    assert sum(values.sum() for name, values in rings.items() if name != "rings.6") == 0


def test_a_ring_of_twelve_atoms_in_cristobalite_counts_its_six_silicon():
    found = describe(from_atoms([cristobalite(), cristobalite()]))
    assert found["rings.6"] == pytest.approx([2.0, 2.0])
    assert sum(found[f"rings.{n}"].sum() for n in (3, 4, 5, 7, 8)) == 0


def test_square_and_cubic_lattices():
    # a simple cubic lattice: three squares per atom; primitive rings have no shortcut, so no others but the
    # four hexagons around the body diagonals of each cube
    rings = count_rings(find_bonds(from_atoms([bulk("Po", "sc", a=3.3)]), {"Po-Po": 3.5}))
    assert rings[0, 4] == pytest.approx(3.0)
    assert rings[0, 6] == pytest.approx(4.0)
    assert rings[0, 3] == rings[0, 5] == rings[0, 7] == 0


def brute_force(bonds: Bonds, longest: int) -> dict[int, int]:
    """Cycles of an isolated cluster without shortcuts, by listing every cycle."""
    graph = networkx.Graph(zip(bonds.i.tolist(), bonds.j.tolist(), strict=True))
    distance = dict(networkx.all_pairs_shortest_path_length(graph))
    found = dict.fromkeys(range(3, longest + 1), 0)
    for cycle in networkx.simple_cycles(graph, length_bound=longest):
        n = len(cycle)
        pairs = ((a, b) for a in range(n) for b in range(a))
        if all(distance[cycle[a]][cycle[b]] == min(a - b, n - a + b) for a, b in pairs):
            found[n] += 1
    return found


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(4))
def test_disordered_clusters_agree_with_listing_all_cycles(seed):
    # a ball cut out of a crystal that is torn into a disordered network, with vacuum around it
    crystal = noisy(bulk("Si", cubic=True) * (4, 4, 4), 0.45, seed)
    crystal.positions -= crystal.cell.sum(0) / 2
    ball = crystal[np.linalg.norm(crystal.positions, axis=1) < 7.5]
    ball.cell, ball.pbc = [40, 40, 40], True
    bonds = find_bonds(from_atoms([ball]), {"Si-Si": 3.1})
    expected = brute_force(bonds, 8)
    counted = count_rings(bonds)[0]
    assert {n: round(counted[n]) for n in expected} == expected
    assert all(expected.values())
    assert counted == pytest.approx(counted.round())


def test_a_path_around_the_cell_is_no_ring():
    # a straight chain of four atoms that closes on itself through the boundary
    chain = Atoms("S4", positions=[[0, 0, 2.0 * k] for k in range(4)], cell=[12, 12, 8], pbc=True)
    assert count_rings(find_bonds(from_atoms([chain]), {"S-S": 2.3})).sum() == 0
    ring = Atoms("S4", positions=[[0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0]], cell=[12, 12, 12], pbc=True)
    assert count_rings(find_bonds(from_atoms([ring]), {"S-S": 2.3}))[0, 4] == 1


def test_edge_sharing_tetrahedra_are_rings_of_two():
    # two silicon joined by two oxygen: a ring of four atoms with two network formers
    atoms = Atoms("Si2O6", cell=[14, 14, 14], pbc=True)
    atoms.positions = [
        [0, 0, 0],
        [2.3, 0, 0],
        [1.15, 1.1, 0],
        [1.15, -1.1, 0],
        [-0.9, 0, 1.3],
        [-0.9, 0, -1.3],
        [3.2, 0, 1.3],
        [3.2, 0, -1.3],
    ]
    counted = count_rings(find_bonds(from_atoms([atoms]), {"Si-O": 1.8}))[0]
    assert counted[2] == 1
    assert counted.sum() == 1


def test_large_and_repeated_cells_give_the_same_density_of_rings():
    # the quotient graph of the small cell has closed paths that the crystal has not
    atoms = noisy(bulk("Si", cubic=True) * (2, 2, 2), 0.35, seed=5)
    small = describe_rings(find_bonds(from_atoms([atoms]), {"Si-Si": 2.9}))
    large = describe_rings(find_bonds(from_atoms([atoms * (2, 2, 2)]), {"Si-Si": 2.9}))
    assert {n: v[0] for n, v in small.items()} == pytest.approx({n: v[0] for n, v in large.items()})
    assert sum(small[n].sum() for n in small if n != "rings.6") > 0
