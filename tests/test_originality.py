"""Copies are looked for in the data that the prior names, and in no other."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from glass_ml.errors import InputError
from glass_ml.priors.dataset import write_structure_file
from glass_ml.provenance.data import content_md5
from glass_ml.provenance.lineage import Lineage
from glass_ml.stages.originality import originality, training_structures
from glass_ml.structures.io import from_atoms, to_atoms, write_frames
from glass_ml.structures.random import generator, random_packing
from glass_ml.tracking.evaluations import evidence


def lineage(**known: str) -> Lineage:
    values = {f.name: "" for f in fields(Lineage)} | {"git_dirty": False, "seed": 0}
    return Lineage(**{**values, "data_path": "data/a-Si", **known})


def packings(first: int, n: int = 4) -> list:
    streams = [generator(seed, "test") for seed in range(first, first + n)]
    return to_atoms(random_packing({"Si": 1}, 0.05, 64, streams))


@pytest.fixture()
def data(project: Path) -> Path:
    """data/a-Si/train.extxyz of eight structures, named as quenches, and prepared/a-Si made of them."""
    frames = packings(0, 8)
    for k, atoms in enumerate(frames):
        atoms.info["quench"] = f"quench {k}"
    write_frames("data/a-Si/train.extxyz", frames)
    identity = {"source_path": "data/a-Si", "source_md5": content_md5(Path("data/a-Si"))}
    write_structure_file("prepared/a-Si", frames, validation_share=0.3, **identity)
    return project


def test_copies_are_found_in_the_recorded_data_alone(data: Path) -> None:
    known = lineage(data_md5=content_md5(Path("data/a-Si")))
    place, index, training = training_structures(known)
    assert place == "prepared/a-Si" and training.n_systems == len(index) < 8
    asked = [*packings(50, 3), packings(index[2], 1)[0]]
    asked[3].positions += np.random.default_rng(0).normal(0, 0.03, asked[3].positions.shape)
    found = originality(from_atoms(asked), known)
    assert found["copies"]["nearest"][3] == index[2] and found["copies"]["training"] == "prepared/a-Si"
    assert found["copies"]["fraction"][3] > 0.9 and max(found["copies"]["fraction"][:3]) < 0.05
    assert found["diversity"]["mean"] == pytest.approx(1, abs=0.1) and "relative" not in found["diversity"]
    numbers = evidence({"measurements": {}, **found})
    assert numbers["copies.max"] == found["copies"]["max"] and numbers["diversity.min"] == found["diversity"]["min"]


def test_without_a_prepared_data_set_the_data_themselves_are_read(data: Path) -> None:
    md5 = content_md5(Path("data/a-Si"))
    Path("prepared/a-Si/meta.json").unlink()
    place, index, training = training_structures(lineage(data_md5=md5))
    assert (place, index, training.n_systems) == ("data/a-Si/train.extxyz", list(range(8)), 8)


def test_what_is_not_at_hand_is_said(data: Path) -> None:
    other = lineage(data_md5="0" * 32 + ".dir")
    with pytest.raises(InputError, match="not the version that the prior was trained on"):
        training_structures(other)
    with pytest.raises(InputError, match=r"training data \(data/b\) are not here"):
        training_structures(lineage(data_md5="0", data_path="data/b"))
    with pytest.raises(InputError, match="does not say"):
        training_structures(lineage())
    one = originality(from_atoms(packings(0, 1)), other)
    assert one == {"copies": {"not_checked": "data/a-Si is not the version that the prior was trained on"}}
    with_reference = originality(from_atoms(packings(20, 2)), other, from_atoms(packings(30, 2)))
    assert with_reference["diversity"]["relative"] == pytest.approx(1, abs=0.1)
