"""A material is judged against its own structures: mixed coordination and sharp angles are no faults."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read

from glass_ml.analysis.angles import describe_sharp
from glass_ml.analysis.ensemble import Anatomy, describe, summary
from glass_ml.analysis.names import label
from glass_ml.analysis.references import GAP, VERSION, References, reference_record
from glass_ml.analysis.verdict import Verdict, verdict
from glass_ml.errors import InputError
from glass_ml.structures.io import from_atoms, read_frames

DATA = Path("data")
CARBON = sorted(Path("../shared/data/aC-xanes-llnl/structures").glob("d0.0_*.vasp"))


def judge(frames: list[Atoms], record: dict | None) -> Verdict:
    """The verdict on frames as metrics.json would hold them; the record goes through JSON."""
    metrics = {"n_structures": len(frames), "structure": summary(describe(from_atoms(frames)))}
    return verdict(json.loads(json.dumps({**metrics, "references": record})))


def like(frames: list[Atoms], record: dict | None) -> str:
    return judge(frames, record).levels["realism"]


def thermal(file: str) -> list[Atoms]:
    """The first thermal frame of every quench."""
    if not (DATA / file).is_file():
        pytest.skip("no data/ here ('dvc pull')")
    frames = [a for a in read_frames(DATA / file) if a.info["state"] == "thermal"]
    return list({a.info["quench"]: a for a in reversed(frames)}.values())[::-1]


def holed(seed: int, removed: float = 0.16, noise: float = 0.08) -> Atoms:
    """Diamond of 216 sites with holes: 3- and 4-fold atoms side by side, some twofold."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Si", cubic=True) * (3, 3, 3)
    atoms = atoms[np.sort(rng.permutation(len(atoms))[round(removed * len(atoms)) :])]
    atoms.positions += rng.normal(scale=noise, size=atoms.positions.shape)
    return atoms


def tetrahedra(seed: int, bond: float = 2.35, noise: float = 0.05) -> Atoms:
    """Molecules of four atoms on a lattice, turned at random, as in white phosphorus: every angle is 60 degrees."""
    rng = np.random.default_rng(seed)
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * bond / 8**0.5
    places = 6.6 * np.stack(np.meshgrid(*[np.arange(3)] * 3), axis=-1).reshape(-1, 3)
    turned = [place + corners @ np.linalg.qr(rng.normal(size=(3, 3)))[0] for place in places]
    positions = np.concatenate(turned) + rng.normal(scale=noise, size=(4 * len(places), 3))
    return Atoms("Si" * len(positions), positions, cell=[19.8] * 3, pbc=True)


@pytest.mark.parametrize("make", [holed, tetrahedra])
def test_a_kind_of_its_own_is_good_by_its_own_references_and_no_other(make):
    record = reference_record({"own": [make(seed) for seed in range(6)]})
    frames = [make(seed) for seed in range(10, 14)]
    assert like(frames, record) == "good"
    network = reference_record({"network": [holed(seed, removed=0.0, noise=0.12) for seed in range(4)]})
    other = judge(frames, network)
    assert other.levels["realism"] == "poor"
    assert any("Coordination of Si is unlike the reference structures" in s.text for s in other.about("realism"))
    assert like([holed(9, removed=0.0, noise=0.12)], record) == "poor"


def test_sharp_angles_are_a_fault_only_where_the_references_have_none():
    molecules = tetrahedra(1)
    own = judge([molecules], reference_record({"own": [tetrahedra(s) for s in range(3)]}))
    said = next(s for s in own.about("realism") if s.text.startswith("Sharp angles"))
    assert (said.level, "100.0% (100.0%) below 75°" in said.text) == ("good", True)


def test_two_or_one_reference_structures_condemn_no_others_of_their_kind():
    for number in (1, 2):
        record = reference_record({"few": [holed(seed) for seed in range(number)]})
        assert like([holed(seed) for seed in range(20, 24)], record) == "good"


def test_frames_of_one_quench_are_one_structure():
    frames = [holed(seed) for seed in (0, 0, 1)]
    for atoms, quench in zip(frames, ("a", "a", "b"), strict=True):
        atoms.info |= {"quench": quench, "state": "thermal", "potential": "springs"}
    cold = holed(2, noise=0.0)
    cold.info |= {"quench": "b", "state": "minimised"}
    record = reference_record({"one.extxyz": [*frames, cold]})
    (group,) = record["groups"]
    assert (group["structures"], group["frames"], group["atoms"]) == (2, 3, 3 * len(frames[0]))
    assert (group["file"], group["potential"], record["version"]) == ("one.extxyz", "springs", VERSION)
    each = describe(from_atoms([frames[0], frames[2]]), {"Si-Si": group["descriptors"]["cutoff.Si-Si"]["mean"]})
    for name in ("nfold.Si.4", "angle.Si-Si-Si.spread", "rings.6", "shortest.Si-Si"):
        expected = {"mean": each[name].mean(), "std": each[name].std(ddof=1)}
        assert group["descriptors"][name] == pytest.approx(expected), name


def test_structures_are_judged_by_the_references_of_their_density():
    dense, thin = [holed(s, 0.0, 0.12) for s in range(3)], [holed(s, 0.25) for s in range(3)]
    record = reference_record({"both.extxyz": [*thin, *dense]})
    assert [g["structures"] for g in record["groups"]] == [3, 3]
    assert record["groups"][0]["density"][1] * (1 + GAP) < record["groups"][1]["density"][0]
    assert like([holed(8, 0.25)], record) == like([holed(8, 0.0, 0.12)], record) == "good"
    between = judge([holed(8, 0.14)], record)
    assert any("that of these structures" in s.text for s in between.about("realism"))


def test_what_stands_for_references_is_called_by_its_name():
    record = reference_record({"train.extxyz": [holed(s) for s in range(3)]}, held_out=True)
    judged = judge([holed(7)], record)
    assert judged.headline == "Nothing was fitted, but the structures are like the held-out training structures."
    assert "held-out training structures, 3 structures of train.extxyz" in judged.text()


def test_other_elements_are_another_material():
    carbon = [bulk("C", cubic=True) * (2, 2, 2)]
    judged = judge(carbon, reference_record({"si": [holed(0)]}))
    assert judged.levels["realism"] == "poor"
    assert "structures of C, the reference structures of Si" in judged.text()


def test_a_mixture_of_two_kinds_counts_as_chemistry():
    """An ordered and a random alloy have the same sites: who is whose neighbour differs."""

    def alloy(seed: int, ordered: bool) -> Atoms:
        atoms = bulk("NiAl", "cesiumchloride", a=2.9) * (4, 4, 4)
        rng = np.random.default_rng(seed)
        atoms.positions += rng.normal(scale=0.08, size=atoms.positions.shape)
        if not ordered:
            atoms.numbers = rng.permutation(atoms.numbers)
        return atoms

    record = reference_record({"b2": [alloy(s, True) for s in range(3)]})
    assert like([alloy(5, True)], record) == "good"
    judged = judge([alloy(5, False)], record)
    said = next(s for s in judged.about("realism") if s.text.startswith("Neighbours of Ni"))
    assert (said.level, "Al 51% (57%), Ni 49% (43%)" in said.text) == ("fair", True)
    assert any(s.text.startswith("Coordination of Ni is as in") for s in judged.about("realism"))


def test_a_record_of_a_later_version_or_without_its_parts_is_refused():
    record = reference_record({"own": [holed(0)]})
    assert References.read(None) is None and References.read(record) is not None
    for broken, words in (
        ({**record, "version": VERSION + 1}, f"version {VERSION + 1}"),
        ({**record, "groups": []}, "lack a part"),
        ({**record, "groups": [{**record["groups"][0], "descriptors": {"density": {"mean": 1.0}}}]}, "lack a part"),
        ({**record, "groups": 3}, "not of the type"),
    ):
        with pytest.raises(InputError, match=words):
            References.read(broken)
    with pytest.raises(InputError, match="2 sets of elements"):
        reference_record({"one": [holed(0)], "two": [bulk("C", cubic=True)]})
    with pytest.raises(InputError, match="no reference structures"):
        reference_record({"none": []})


def test_true_silicon_is_good_and_the_low_fidelity_is_not():
    references = thermal("a-Si/reference-modified-sw.extxyz")
    record = reference_record(sorted(DATA.glob("a-Si/reference-*.extxyz")))
    assert len(record["files"]) == 5 and all(len(sha) == 64 for sha in record["files"].values())
    assert like(references, record) == "good"
    assert all(like([atoms], record) == "good" for atoms in references)
    for left_out in references:  # none of them has judged itself
        others = [atoms for atoms in references if atoms is not left_out]
        assert like([left_out], reference_record({"others": others})) == "good"
    assert like(thermal("a-Si/train.extxyz")[::8], record) == "poor"


def test_true_silica_is_good_and_the_low_fidelity_is_not():
    references = thermal("a-SiO2/reference-bks.extxyz")
    record = reference_record([DATA / "a-SiO2/reference-bks.extxyz"])
    assert like(references, record) == "good"
    for left_out in references:
        others = [atoms for atoms in references if atoms is not left_out]
        assert like([left_out], reference_record({"others": others})) == "good"
    assert like(thermal("a-SiO2/train.extxyz")[::8], record) == "fair"


@pytest.mark.skipif(not CARBON, reason="no ../shared/data/aC-xanes-llnl here")
def test_a_carbon_of_two_hybridisations_is_good_by_its_own_kind_and_unlike_silicon():
    cells = [read(file) for file in CARBON]
    record = reference_record({"a-C": cells})
    own = [atoms for atoms in cells if abs(len(atoms) / atoms.get_volume() - 0.150) < 0.005]
    judged = judge(own, record)
    assert judged.levels["realism"] == "good"
    assert "Coordination of C is as in the reference structures: 3-fold 34.3% (34.3%), 4-fold 65.7%" in judged.text()
    stretched = own[0].copy()
    stretched.numbers[:] = 14
    stretched.set_cell(stretched.cell * 2.35 / 1.524, scale_atoms=True)
    silicon = reference_record({"a-Si": thermal("a-Si/reference-modified-sw.extxyz")})
    assert like([stretched], silicon) == "poor"


def test_sharp_angles_are_told_apart_by_triplet():
    """In a lattice of NaCl with like bonds counted, angles of unlike bonds are 90 degrees and of like ones also 60."""
    anatomy = Anatomy.of(from_atoms([bulk("NaCl", "rocksalt", a=5.64, cubic=True) * 2]), {"Na-Cl": 3.0, "Na-Na": 4.2})
    found = describe_sharp(anatomy.angles)
    assert found["angle.Cl-Na-Cl.below75"] == pytest.approx([0.0])
    assert found["angle.Na-Na-Na.below75"] == pytest.approx([24 / 66])
    assert "angle.below75" in describe(anatomy) and not set(found) & set(describe(anatomy))
    assert label("angle.Cl-Na-Cl.below75").text == "Cl-Na-Cl angles below 75°"
    assert describe_sharp(Anatomy.of(from_atoms([holed(0)])).angles) == {}
