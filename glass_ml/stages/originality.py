"""Whether the structures of an inversion differ from each other and from what their prior was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from glass_ml.analysis.diversity import copies, diversity
from glass_ml.analysis.surroundings import thinned
from glass_ml.errors import InputError
from glass_ml.priors.dataset import StructureFile
from glass_ml.provenance.data import content_md5
from glass_ml.provenance.lineage import Lineage
from glass_ml.provenance.project import worktree
from glass_ml.structures.io import from_atoms, iterate_frames
from glass_ml.structures.state import Structures, concatenate

MOST_SEARCHED = 1000
"""Training structures that are searched for copies; of more, these are taken evenly."""


def originality(structures: Structures, lineage: Lineage, reference: Structures | None = None) -> dict[str, Any]:
    """The `diversity` and `copies` of metrics.json.

    `diversity`, of two or more structures: see `analysis.diversity.diversity`. `copies`: `fraction` of the surroundings
    of each structure that are copied from a training structure, their `mean` and `max`, the number of the `nearest`
    structure in `training`, and how many of those are `independent`; or `not_checked`, the reason, where the training
    data are not at hand.

    Args:
        structures: of one inversion.
        lineage: its lineage, which names the data.
        reference: independent structures that the diversity is compared with; fewer than two are not.
    """
    result: dict[str, Any] = {}
    if structures.n_systems > 1:
        several = reference if reference is not None and reference.n_systems > 1 else None
        result["diversity"] = diversity(structures, several)
    try:
        name, index, training = training_structures(lineage)
        found = copies(structures, training)
    except InputError as error:
        result["copies"] = {"not_checked": error.what}
        return result
    result["copies"] = {
        "fraction": found.fraction.tolist(),
        "mean": float(found.fraction.mean()),
        "max": float(found.fraction.max()),
        "nearest": [index[k] for k in found.nearest],
        "independent": found.independent,
        "training": name,
    }
    return result


def training_structures(lineage: Lineage, root: Path | str | None = None) -> tuple[str, list[int], Structures]:
    """What a prior was trained on, from the project around the current folder.

    The prepared data set of the recorded data is taken where there is one, else `train.extxyz` in the recorded data;
    never another version of them.

    Returns:
        Folder or file, relative to the project; the number of each structure in it; the structures.

    Raises:
        InputError: they are not here.
    """
    root = worktree(root)
    if not lineage.data_md5:
        raise InputError("the prior does not say what it was trained on")
    for meta in sorted(root.glob("prepared/*/meta.json")):
        try:
            prepared = StructureFile(meta.parent)
        except InputError:
            continue
        if prepared.meta.get("source_md5") == lineage.data_md5:
            index = [int(prepared.training[k]) for k in thinned(len(prepared.training), MOST_SEARCHED)]
            structures = concatenate([prepared.structure(k) for k in index])
            return meta.parent.relative_to(root).as_posix(), index, structures.to(dtype=torch.float64)
    source = root / lineage.data_path
    file = source if source.is_file() else source / "train.extxyz"
    if not file.is_file():
        raise InputError(f"the training data ({lineage.data_path}) are not here")
    if content_md5(source, root) != lineage.data_md5:
        raise InputError(f"{lineage.data_path} is not the version that the prior was trained on")
    return file.relative_to(root).as_posix(), *read_thinned(file)


def read_thinned(file: Path | str) -> tuple[list[int], Structures]:
    """At most MOST_SEARCHED structures of a file, evenly taken: their numbers in it, and the structures.

    Raises:
        InputError: as `structures.io.iterate_frames`.
    """
    count = sum(1 for _ in iterate_frames(file))
    index = thinned(count, MOST_SEARCHED).tolist()
    chosen = set(index)
    return index, from_atoms([atoms for k, atoms in enumerate(iterate_frames(file)) if k in chosen])
