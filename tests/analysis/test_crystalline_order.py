"""Bond-orientational order against freud and against crystals."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from test_rings_counted import lonsdaleite
from test_shells_and_angles import noisy, skewed

from glass_ml.analysis.coordination import Bonds, find_bonds
from glass_ml.analysis.order import bond_order, close_packed_like, diamond_like, spherical_harmonics
from glass_ml.structures.io import from_atoms


def bonds_of(atoms: Atoms, cutoff: float) -> Bonds:
    symbol = atoms.get_chemical_symbols()[0]
    return find_bonds(from_atoms([atoms]), {f"{symbol}-{symbol}": cutoff})


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 4, 6])
def test_harmonics_are_orthonormal(degree):
    # Gauss-Legendre in cos(theta) and equal steps in phi integrate the products exactly
    z, weight = np.polynomial.legendre.leggauss(16)
    phi = 2 * np.pi * np.arange(32) / 32
    s = np.sqrt(1 - z**2)
    unit = np.stack([np.outer(s, np.cos(phi)), np.outer(s, np.sin(phi)), np.outer(z, np.ones(32))], axis=-1).reshape(
        -1, 3
    )
    y = spherical_harmonics(degree, unit)
    w = np.repeat(weight, 32) * 2 * np.pi / 32
    assert np.einsum("n,na,nb->ab", w, y, y) == pytest.approx(np.eye(2 * degree + 1), abs=1e-12)


def steinhardt(bonds, ell, *, averaged=False):
    """q_l of every atom, P. J. Steinhardt et al., Phys. Rev. B 28, 784 (1983), equation 1.3; averaged over it and its
    neighbours as in W. Lechner and C. Dellago, J. Chem. Phys. 129, 114707 (2008), equations 5 and 6."""
    q = bond_order(bonds, ell)
    if averaged:
        total = np.stack([np.bincount(bonds.i, c, minlength=len(q)) for c in q[bonds.j].T], axis=1)
        q = (q + total) / (bonds.degree + 1)[:, None]
    return np.sqrt(4 * np.pi / (2 * ell + 1) * (q**2).sum(1))


@pytest.mark.parametrize(
    ("atoms", "cutoff", "q4", "q6"),
    [
        (bulk("Cu"), 3.0, 0.1909, 0.5745),
        (bulk("Si"), 2.85, 0.5092, 0.6285),
        (bulk("Po", "sc", a=3.3), 3.5, 0.7638, 0.3536),
    ],
)
def test_known_values_of_crystals(atoms, cutoff, q4, q6):
    # W. Mickel et al., J. Chem. Phys. 138, 044501 (2013), table I; diamond by the addition theorem
    bonds = bonds_of(atoms, cutoff)
    assert steinhardt(bonds, 4) == pytest.approx(q4, abs=1e-4)
    assert steinhardt(bonds, 6) == pytest.approx(q6, abs=1e-4)


@pytest.mark.oracle
@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize("degree", [3, 4, 6])
def test_steinhardt_agrees_with_freud(degree, averaged):
    freud = pytest.importorskip("freud")
    atoms = noisy(bulk("Cu", cubic=True) * (4, 4, 4), 0.2)
    box = freud.box.Box.from_matrix(atoms.cell.array.T)
    query = freud.locality.AABBQuery(box, atoms.positions - atoms.cell.sum(0) / 2)
    neighbours = query.query(query.points, {"r_max": 3.1, "exclude_ii": True}).toNeighborList()
    theirs = freud.order.Steinhardt(l=degree, average=averaged).compute(query, neighbors=neighbours).particle_order
    ours = steinhardt(bonds_of(atoms, 3.1), degree, averaged=averaged)
    assert ours == pytest.approx(theirs, abs=1e-4)
    assert np.ptp(theirs) > 0.03


@pytest.mark.parametrize("atoms", [bulk("Si", cubic=True) * (3, 3, 3), skewed(bulk("Si", cubic=True))])
def test_diamond_is_crystalline_even_when_warm(atoms):
    assert diamond_like(bonds_of(atoms, 2.85)).all()
    assert diamond_like(bonds_of(noisy(atoms * (2, 2, 2), 0.06), 2.95)).mean() > 0.95


def test_hexagonal_diamond_counts_and_graphite_does_not():
    assert diamond_like(bonds_of(lonsdaleite() * (3, 3, 2), 1.85)).all()
    assert not diamond_like(bonds_of(bulk("Po", "sc", a=3.3), 3.5)).any()


def test_a_torn_crystal_loses_its_order():
    crystal = bulk("Si", cubic=True) * (3, 3, 3)
    torn = noisy(crystal, 0.45, seed=1)
    assert diamond_like(bonds_of(torn, 2.85)).mean() < 0.02


@pytest.mark.parametrize(
    ("atoms", "cutoff"),
    [(bulk("Cu", cubic=True) * (3, 3, 3), 3.1), (bulk("Mg") * (4, 4, 3), 3.9), (bulk("Fe") * (4, 4, 4), 3.3)],
)
def test_close_packed_crystals_are_told_from_their_random_packing(atoms, cutoff):
    assert close_packed_like(bonds_of(noisy(atoms, 0.08), cutoff)).mean() > 0.95
    assert close_packed_like(bonds_of(noisy(atoms, 0.8), cutoff)).mean() < 0.1
