"""Bond-orientational order: how much of a structure is crystalline."""

from __future__ import annotations

from math import factorial

import numpy as np
from numpy.typing import NDArray

from glass_ml.analysis.coordination import Bonds, mean_by
from glass_ml.analysis.distribution import Array
from glass_ml.analysis.rings import is_network


def spherical_harmonics(ell: int, unit: Array) -> Array:
    """Real orthonormal spherical harmonics of degree ell on unit vectors (n, 3): (n, 2 ell + 1), m from -ell to ell."""
    x, y, z = unit.T
    azimuth = np.ones(len(unit), dtype=complex)
    columns: dict[int, Array] = {}
    for m in range(ell + 1):
        lower, legendre = np.zeros_like(z), np.full_like(z, float(np.prod(np.arange(2 * m - 1, 0, -2))))
        for k in range(m + 1, ell + 1):
            lower, legendre = legendre, ((2 * k - 1) * z * legendre - (k + m - 1) * lower) / (k - m)
        norm = np.sqrt((2 * ell + 1) / (4 * np.pi) * factorial(ell - m) / factorial(ell + m)) * (
            np.sqrt(2) if m else 1.0
        )
        columns[m] = norm * legendre * azimuth.real
        if m:
            columns[-m] = norm * legendre * azimuth.imag
        azimuth = azimuth * (x + 1j * y)
    return np.stack([columns[m] for m in range(-ell, ell + 1)], axis=1)


def bond_order(bonds: Bonds, ell: int) -> Array:
    """Mean spherical harmonics of each atom's bonds, q_lm, (N, 2 ell + 1); zero for an atom without bonds."""
    y = spherical_harmonics(ell, bonds.vector / bonds.length[:, None])
    total = np.stack([np.bincount(bonds.i, column, minlength=len(bonds.numbers)) for column in y.T], axis=1)
    return total / np.maximum(bonds.degree, 1)[:, None]


def alignment(bonds: Bonds, ell: int) -> Array:
    """Normalised product of the q_l vectors at both ends of every bond, (B,), in -1..1."""
    q = bond_order(bonds, ell)
    q /= np.maximum(np.linalg.norm(q, axis=1, keepdims=True), 1e-12)
    return np.einsum("bm,bm->b", q[bonds.i], q[bonds.j])


def diamond_like(bonds: Bonds) -> NDArray[np.bool_]:
    """Which atoms sit in cubic or hexagonal diamond, (N,).

    Four neighbours with four bonds each; all bonds staggered (q_3 product <= -0.8), or three staggered and one
    eclipsed (-0.35 to 0.25): the CHILL+ test of A. H. Nguyen and V. Molinero, J. Phys. Chem. B 119, 9369 (2015).
    """
    product = alignment(bonds, 3)
    fourfold = bonds.degree == 4
    sound = fourfold[bonds.i] & fourfold[bonds.j]
    staggered = np.bincount(bonds.i[sound & (product <= -0.8)], minlength=len(fourfold))
    eclipsed = np.bincount(bonds.i[sound & (np.abs(product + 0.05) <= 0.3)], minlength=len(fourfold))
    return (staggered == 4) | ((staggered == 3) & (eclipsed == 1))


def close_packed_like(bonds: Bonds) -> NDArray[np.bool_]:
    """Which atoms sit in an fcc, hcp or bcc crystal, (N,): at least seven bonds with a q_6 product above 0.7.

    P. R. ten Wolde, M. J. Ruiz-Montero and D. Frenkel, J. Chem. Phys. 104, 9932 (1996), with the stricter of the
    thresholds in use.
    """
    connected = np.bincount(bonds.i[alignment(bonds, 6) > 0.7], minlength=len(bonds.numbers))
    return connected >= 7


def describe_order(bonds: Bonds) -> dict[str, Array]:
    """`order.crystalline`: fraction of atoms in a crystalline surrounding, (S,).

    Diamond-like in a network of like atoms, close-packed otherwise; nothing for a network with bridges (silica),
    which neither test can judge.
    """
    if is_network(bonds):
        numbers = bonds.numbers
        fourfold = [z for z, mean in bonds.mean_degree().items() if 3.0 <= mean <= 5.0]
        if not np.any(np.isin(numbers[bonds.i], fourfold) & np.isin(numbers[bonds.j], fourfold)):
            return {}
        crystalline = diamond_like(bonds)
    elif len(bonds.i):
        crystalline = close_packed_like(bonds)
    else:
        return {}
    return {"order.crystalline": mean_by(bonds.system, crystalline.astype(float), bonds.n_systems)}
