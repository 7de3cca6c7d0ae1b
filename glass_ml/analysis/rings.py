"""Primitive rings of the bond network, counted in O(N) without a loop over atoms.

A ring is primitive when no shortcut through the network joins two of its atoms: every pair of them is as far
apart along the ring as in the network (D. S. Franzblau, Phys. Rev. B 44, 4925 (1991); also called shortest-path
rings). Steps are followed through periodic images, so that a path around a small cell is never taken for a ring.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from glass_ml.analysis.angles import same_pairs
from glass_ml.analysis.coordination import Bonds, Ints
from glass_ml.analysis.distribution import Array

MAX_RING = 8
"""Largest ring counted, in network-forming atoms."""

MAX_DEGREE = 6.5
"""Above this mean coordination number the structure is packed, not a network, and rings say nothing."""

_SPAN = 64  # lattice translations from -32 to 31 fit into six bits of a key


@dataclass(frozen=True)
class _Paths:
    """Shortest paths out of many roots: nodes (n, d + 1) and their translations (n, d + 1, 3)."""

    node: Ints
    shift: NDArray[np.int32]

    def pick(self, rows: Ints) -> _Paths:
        return _Paths(self.node[rows], self.shift[rows])


class _Network:
    """The periodic bond network with the distances (in bonds) between all atoms up to `reach`."""

    def __init__(self, bonds: Bonds, reach: int):
        self.n = len(bonds.numbers)
        self.j, self.bond_shift = bonds.j, bonds.shift.astype(np.int32)
        self.degree = bonds.degree
        self.start = np.concatenate([[0], np.cumsum(self.degree)[:-1]])
        node = np.arange(self.n)
        shift = np.zeros((self.n, 3), dtype=np.int32)
        root = node
        previous, current = np.zeros(0, np.int64), self.key(root, node, shift)
        keys, steps = [current], [np.zeros(self.n, np.int8)]
        for d in range(1, reach + 1):
            rows, node, shift = self.expand(node, shift)
            root = root[rows]
            found, first = np.unique(self.key(root, node, shift), return_index=True)
            new = ~(_contains(current, found) | _contains(previous, found))
            previous, current, first = current, found[new], first[new]
            root, node, shift = root[first], node[first], shift[first]
            keys.append(current)
            steps.append(np.full(len(current), d, np.int8))
        order = np.argsort(np.concatenate(keys), kind="stable")
        self.keys, self.steps = np.concatenate(keys)[order], np.concatenate(steps)[order]

    def key(self, a: Ints, b: Ints, shift: NDArray[np.int32]) -> Ints:
        """One integer for atom a in the home cell and the image of atom b in the cell `shift`."""
        x, y, z = (shift.astype(np.int64) + _SPAN // 2).T
        return (((a * self.n + b) * _SPAN + x) * _SPAN + y) * _SPAN + z

    def expand(self, node: Ints, shift: NDArray[np.int32]) -> tuple[Ints, Ints, NDArray[np.int32]]:
        """Row, atom and translation of every neighbour of every given node."""
        degree = self.degree[node]
        rows = np.repeat(np.arange(len(node)), degree)
        first = np.cumsum(degree) - degree
        bond = np.arange(len(rows)) - first[rows] + self.start[node][rows]
        return rows, self.j[bond], shift[rows] + self.bond_shift[bond]

    def distance(self, a: Ints, b: Ints, shift: NDArray[np.int32]) -> NDArray[np.int8]:
        """Bonds between atom a and the image of b; 127 beyond `reach`."""
        wanted = self.key(a, b, shift)
        at = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where(self.keys[at] == wanted, self.steps[at], np.int8(127))

    def longer(self, paths: _Paths) -> _Paths:
        """All paths one bond longer that are still shortest and visit no atom before their root."""
        depth = paths.node.shape[1]
        rows, node, shift = self.expand(paths.node[:, -1], paths.shift[:, -1])
        root = paths.node[rows, 0]
        keep = node >= root
        rows, node, shift, root = rows[keep], node[keep], shift[keep], root[keep]
        keep = self.distance(root, node, shift) == depth
        rows, node, shift = rows[keep], node[keep], shift[keep]
        return _Paths(
            np.concatenate([paths.node[rows], node[:, None]], axis=1),
            np.concatenate([paths.shift[rows], shift[:, None]], axis=1),
        )


def _contains(ordered: Ints, values: Ints) -> NDArray[np.bool_]:
    if not len(ordered):
        return np.zeros(len(values), dtype=bool)
    return ordered[np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)] == values


def _opposite(network: _Network, a: _Paths, b: _Paths, steps: list[tuple[int, int]], want: int) -> Ints:
    """Rows of the path pairs in which node k of the first is `want` bonds from its partner in the second, for all."""
    rows = np.arange(len(a.node))
    for k, other in steps:
        apart = b.shift[rows, other] - a.shift[rows, k]
        rows = rows[network.distance(a.node[rows, k], b.node[rows, other], apart) == want]
    return rows


def _even(network: _Network, paths: _Paths) -> Ints:
    """Atoms of the primitive rings of 2 m, from pairs of paths of m bonds to a common end."""
    m = paths.node.shape[1] - 1
    key = network.key(paths.node[:, 0], paths.node[:, m], paths.shift[:, m])
    order = np.argsort(key, kind="stable")
    paths = paths.pick(order)
    p, q = same_pairs(key[order])
    a, b = paths.pick(p), paths.pick(q)
    rows = _opposite(network, a, b, [(k, m - k) for k in range(1, m)], m)
    return np.concatenate([a.node[rows], b.node[rows, 1:m]], axis=1)


def _odd(network: _Network, paths: _Paths) -> Ints:
    """Atoms of the primitive rings of 2 m + 1, from pairs of paths of m bonds to two bonded ends."""
    m = paths.node.shape[1] - 1
    key = network.key(paths.node[:, 0], paths.node[:, m], paths.shift[:, m])
    order = np.argsort(key, kind="stable")
    paths, key = paths.pick(order), key[order]
    rows, node, shift = network.expand(paths.node[:, m], paths.shift[:, m])
    wanted = network.key(paths.node[rows, 0], node, shift)
    low, high = np.searchsorted(key, wanted), np.searchsorted(key, wanted, side="right")
    number = high - low
    p = np.repeat(rows, number)
    q = np.arange(len(p)) - np.repeat(np.cumsum(number) - number, number) + np.repeat(low, number)
    p, q = p[p < q], q[p < q]
    a, b = paths.pick(p), paths.pick(q)
    across = [(k, m + 1 - k) for k in range(1, m + 1)] + [(k, m - k) for k in range(1, m)]
    rows = _opposite(network, a, b, across, m)
    return np.concatenate([a.node[rows], b.node[rows, 1:]], axis=1)


def network_formers(bonds: Bonds) -> list[int]:
    """Elements (atomic numbers) that rings are counted in: those of three or more bonds on average.

    All elements if there is none such: silicon in silica, germanium in GeSe2, sulphur in its chains.
    """
    degree = bonds.mean_degree()
    return [z for z, mean in degree.items() if mean >= 2.5] or list(degree)


def is_network(bonds: Bonds) -> bool:
    """Whether there are bonds, and few enough of them, for rings to mean something."""
    return 0 < len(bonds.i) <= MAX_DEGREE * len(bonds.numbers)


def count_rings(bonds: Bonds, max_size: int = MAX_RING) -> Array:
    """Number of primitive rings by size, (S, max_size + 1).

    The size of a ring is its number of network-forming atoms: the ring of six SiO4 tetrahedra in cristobalite,
    with its twelve atoms, has size 6.
    """
    former = np.isin(bonds.numbers, network_formers(bonds))
    bridged = not np.any(former[bonds.i] & former[bonds.j])
    members = 2 * max_size if bridged else max_size
    counts = np.zeros((bonds.n_systems, max_size + 1))
    # Systems are done one after another: the memory is that of the largest.
    for s in range(bonds.n_systems):
        mine = np.flatnonzero(bonds.system == s)
        for nodes in _rings(_part(bonds, s, mine), members):
            size = former[mine][nodes].sum(1)
            # A ring that visits several images of its first atom is found from each of them.
            weight = 1.0 / (nodes == nodes[:, :1]).sum(1)
            counts[s] += np.bincount(size, weight, minlength=members + 1)[: max_size + 1]
    return counts


def _part(bonds: Bonds, system: int, atoms: Ints) -> Bonds:
    mine = bonds.system[bonds.i] == system
    first = atoms[0] if len(atoms) else 0
    return replace(
        bonds,
        i=bonds.i[mine] - first,
        j=bonds.j[mine] - first,
        shift=bonds.shift[mine],
        vector=bonds.vector[mine],
        length=bonds.length[mine],
        numbers=bonds.numbers[atoms],
        system=np.zeros(len(atoms), dtype=np.int64),
    )


def _rings(bonds: Bonds, members: int) -> list[Ints]:
    """Atoms of all primitive rings of 3 to `members`, an array per size, (n, size); the smallest index first."""
    reach = members // 2
    network = _Network(bonds, reach)
    n = len(bonds.numbers)
    paths = _Paths(np.arange(n)[:, None], np.zeros((n, 1, 3), dtype=np.int32))
    rings = []
    for m in range(1, reach + 1):
        paths = network.longer(paths)
        if m > 1:
            rings.append(_even(network, paths))
        if 2 * m + 1 <= members:
            rings.append(_odd(network, paths))
    return rings


def describe_rings(bonds: Bonds, counts: Array | None = None) -> dict[str, Array]:
    """`rings.3` to `rings.8`: primitive rings per network-forming atom, each (S,); empty for packed structures.

    `counts` are those of `count_rings` where they are known.
    """
    if not is_network(bonds):
        return {}
    former = np.isin(bonds.numbers, network_formers(bonds))
    atoms = np.bincount(bonds.system[former], minlength=bonds.n_systems)
    counts = count_rings(bonds) if counts is None else counts
    return {
        f"rings.{n}": np.divide(counts[:, n], atoms, out=np.full(len(atoms), np.nan), where=atoms > 0)
        for n in range(3, counts.shape[1])
    }
