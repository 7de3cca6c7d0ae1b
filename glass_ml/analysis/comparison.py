"""How far an ensemble is from reference structures, in what was fitted and in what was not."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ase.data import chemical_symbols

from glass_ml.analysis.coordination import coordination_fractions
from glass_ml.analysis.distribution import Array
from glass_ml.analysis.ensemble import GR_RANGE, GR_SMEARING, Anatomy
from glass_ml.errors import InputError
from glass_ml.structures.state import Structures


def compare(
    structures: Structures | Anatomy,
    reference: Structures | Anatomy,
    cutoffs: Mapping[str, float] | None = None,
    *,
    rings: bool = True,
) -> dict[str, Array]:
    """Distance of every structure from the mean of the reference structures: name -> (S,) values.

    - `gr.rmse`, `gr.rmse.Si-O`: root-mean-square difference of the total and the partial g(r), 1 to 8 Å, smeared
      by 0.1 Å;
    - `angle.rmse.O-Si-O`: that of the bond-angle distributions, % per degree over 0 to 180 degrees;
    - `coordination.emd.Si`: earth mover's distance of the distributions of coordination numbers, in neighbours;
    - `rings.emd`: earth mover's distance of the distributions of ring sizes, in ring members (networks only; a
      structure without rings counts as if all of its rings were one larger than the largest counted);
    - `angle.rmse` and `coordination.emd`: the means of theirs over triplets and over elements.

    One set of cutoffs serves both sides: those found in the reference unless given. Either side may be an anatomy.

    Raises:
        InputError: the two have different elements, or a cutoff is not usable.
    """
    expected = Anatomy.of(reference, cutoffs)
    batch = structures.structures if isinstance(structures, Anatomy) else structures
    if set(batch.numbers.tolist()) != set(expected.bonds.numbers.tolist()):
        raise InputError(
            f"elements {_elements(batch)} differ from those of the reference, {_elements(expected.structures)}",
            "reference",
            "give reference structures of the same elements",
        )
    wanted = _features(expected, rings=rings)
    found = _features(Anatomy.of(structures, expected.bonds.cutoffs), rings="rings.emd" in wanted)
    distances = {}
    for name in sorted(found.keys() | wanted.keys()):
        a, b = _align(found.get(name), wanted.get(name), batch.n_systems, expected.bonds.n_systems)
        distances[name] = _distance(name, a, np.nanmean(b, axis=0))
    return _with_means(distances)


def floor(
    reference: Structures | Anatomy, cutoffs: Mapping[str, float] | None = None, *, rings: bool = True
) -> dict[str, Array]:
    """`compare` of each reference structure with the mean of the others: what chance alone leaves, (S,) values.

    Raises:
        InputError: there is only one reference structure, or a cutoff is not usable.
    """
    anatomy = Anatomy.of(reference, cutoffs)
    n = anatomy.bonds.n_systems
    if n < 2:
        raise InputError("one structure has no others to compare with", "reference", "give two or more")
    features = _features(anatomy, rings=rings)
    return _with_means(
        {name: _distance(name, table, (table.sum(0) - table) / (n - 1)) for name, table in features.items()}
    )


def _elements(structures: Structures) -> str:
    return ", ".join(chemical_symbols[z] for z in structures.numbers.unique().tolist())


def _features(anatomy: Anatomy, *, rings: bool) -> dict[str, Array]:
    """What is compared, by the name of its distance, (S, n) each."""
    features: dict[str, Array] = {}
    r, partials = anatomy.smeared_gr()
    start = int(np.searchsorted(anatomy.distribution.r, GR_RANGE[0]))
    features["gr.rmse"] = anatomy.distribution.total(GR_SMEARING)[:, start : start + len(r)]
    for p, name in enumerate(anatomy.distribution.names):
        features[f"gr.rmse.{name}"] = partials[:, p]
    for name in anatomy.angles.names:
        features[f"angle.rmse.{name}"] = anatomy.angles.distribution(name)
    for z, table in coordination_fractions(anatomy.bonds).items():
        features[f"coordination.emd.{chemical_symbols[z]}"] = table
    if rings and (counts := anatomy.ring_counts) is not None:
        features["rings.emd"] = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return features


def _align(a: Array | None, b: Array | None, rows_a: int, rows_b: int) -> tuple[Array, Array]:
    """Both tables with the same number of columns; what one side lacks is zero."""
    a = np.zeros((rows_a, 0)) if a is None else a
    b = np.zeros((rows_b, 0)) if b is None else b
    width = max(a.shape[1], b.shape[1])
    left, right = (np.pad(x, ((0, 0), (0, width - x.shape[1]))) for x in (a, b))
    return left, right


def _distance(name: str, a: Array, b: Array) -> Array:
    if ".emd" in name:
        return np.abs(np.cumsum(a - b, axis=-1)).sum(-1)
    return np.sqrt(((a - b) ** 2).mean(-1))


def _with_means(distances: dict[str, Array]) -> dict[str, Array]:
    for family in ("angle.rmse", "coordination.emd"):
        members = [values for name, values in distances.items() if name.startswith(family + ".")]
        if members:
            distances[family] = np.mean(members, axis=0)
    return dict(sorted(distances.items()))
