"""Training data stay on disk, whole quenches are held out, and every item is fixed by its number."""

import json
import math
import pickle
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import NOISE, quenches

from glass_ml.errors import InputError
from glass_ml.priors.datamodule import VALIDATION_SIGMAS, DenoisingData, TrainingItems, ValidationItems, collate
from glass_ml.priors.dataset import StructureFile, write_structure_file
from glass_ml.priors.rows import RowFile, RowWriter
from glass_ml.settings.prior import NoiseConfig

NAMES = [f"quench-{k}" for k in range(10)]


def prepared(folder: Path, names: list[str] = NAMES, share: float = 0.2) -> StructureFile:
    write_structure_file(folder, quenches(names), validation_share=share, source_path="data", source_md5="ab")
    return StructureFile(folder)


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_structures_come_back_as_they_were(tmp_path):
    data, frames = prepared(tmp_path / "data"), quenches(NAMES)
    assert data.elements == (14,) and len(data.training) + len(data.validation) == len(frames)
    for k in (0, 7, 19):
        single = data.structure(k)
        np.testing.assert_allclose(single.positions, frames[k].positions, atol=1e-6)
        np.testing.assert_allclose(single.cell[0], frames[k].cell.array, atol=1e-6)
        assert single.numbers.tolist() == [14] * 8 and single.positions.dtype == torch.float32
    assert (
        data.meta["source_md5"] == "ab" and data.meta["density_range"][0] < 8 / 5.43**3 < data.meta["density_range"][1]
    )


def test_neither_opening_nor_reading_keeps_what_was_read(tmp_path):
    """Two gigabytes of positions, of which a tenth is read; mapped pages would count as resident."""
    prepared(tmp_path / "data")
    rows = 170_000_000
    large = np.lib.format.open_memmap(
        tmp_path / "data" / "positions.npy", mode="w+", dtype=np.float32, shape=(rows, 3)
    )  # sparse: takes no space
    del large
    before = resident()
    again = StructureFile(tmp_path / "data")
    again.structure(3)
    for first in range(0, rows, rows // 100):
        assert again.positions.rows(first, first + rows // 1000).shape == (rows // 1000, 3)
    assert len(again.positions) == rows and resident() - before < 5e7


def test_rows_are_those_of_numpy(tmp_path):
    """Rows of any type and shape, as numpy wrote them, and as numpy reads what was written row by row."""
    rng = np.random.default_rng(0)
    for k, (dtype, shape) in enumerate(((np.float32, (3, 3)), (np.uint8, ()), (np.int64, (2,)), (np.bool_, ()))):
        array = (100 * rng.random((50, *shape))).astype(dtype)
        np.save(tmp_path / f"{k}.npy", array)
        read = RowFile(tmp_path / f"{k}.npy")
        np.testing.assert_array_equal(read.rows(7, 31), array[7:31])
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(read)).rows(49, 50), array[49:])
        for outside in ((-1, 3), (3, 51), (5, 4)):
            with pytest.raises(IndexError, match="of 50"):
                read.rows(*outside)
        writer = RowWriter(tmp_path / f"new-{k}.npy", dtype, shape)
        for part in (array[:1], array[1:30], array[30:]):
            writer.append(part)
        writer.close()
        np.testing.assert_array_equal(np.load(tmp_path / f"new-{k}.npy"), array)


def test_writing_holds_one_structure_at_a_time(tmp_path):
    """Frames that are counted while they live: a list of them would keep them all."""
    alive = most = 0

    def died():
        nonlocal alive
        alive -= 1

    def frames():
        nonlocal alive, most
        for name in NAMES:
            for atoms in quenches([name]):
                weakref.finalize(atoms, died)
                alive += 1
                most = max(most, alive)
                yield atoms

    write_structure_file(tmp_path / "data", frames(), validation_share=0.2, source_path="data", source_md5="ab")
    assert most <= 4 and StructureFile(tmp_path / "data").meta["structures"] == 20


def test_frames_of_a_quench_are_on_one_side(tmp_path):
    data, frames = prepared(tmp_path / "data"), quenches(NAMES)
    held_out, trained = ({frames[k].info["quench"] for k in side} for side in (data.validation, data.training))
    assert held_out and trained and held_out | trained == set(NAMES) and not held_out & trained


def test_an_added_quench_moves_no_other(tmp_path):
    def held_out(names):
        data, frames = prepared(tmp_path / "data", names), quenches(names)
        return {frames[k].info["quench"] for k in data.validation}

    before = held_out(NAMES)
    assert held_out(NAMES[::-1]) == before
    for k in range(8):
        new = f"new-{k}"
        assert held_out([new, *NAMES]) - {new} == before


def test_shortest_distances_of_each_pair(tmp_path):
    frames = quenches(NAMES)
    frames[1].numbers[:4] = 8
    write_structure_file(tmp_path / "data", frames, validation_share=0.2, source_path="", source_md5="")
    rows = {(a, b): r for a, b, r in StructureFile(tmp_path / "data").meta["shortest"]}
    assert set(rows) == {(8, 8), (8, 14), (14, 14)}
    everything = np.concatenate([f.get_all_distances(mic=True)[~np.eye(8, dtype=bool)] for f in frames])
    assert min(rows.values()) == pytest.approx(everything.min(), abs=1e-4)


def test_nothing_left_to_train_on(tmp_path):
    with pytest.raises(InputError, match="of 1 quenches held out"):
        prepared(tmp_path / "data", ["only"])
    with pytest.raises(InputError, match="10 quenches"):
        prepared(tmp_path / "data", share=1.0)
    assert list(tmp_path.iterdir()) == []


def test_replacing_a_data_set_leaves_no_trace_of_the_old(tmp_path):
    prepared(tmp_path / "data")
    (tmp_path / "data" / "stray").write_text("")
    again = prepared(tmp_path / "data", NAMES[:4])
    assert len(again.training) + len(again.validation) == 8
    assert not (tmp_path / "data" / "stray").exists() and [p.name for p in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("damage", ["missing", "no folder", "truncated", "pickled", "no json"])
def test_folders_that_are_no_data_set(tmp_path, damage):
    folder = tmp_path / "data"
    prepared(folder)
    if damage == "missing":
        (folder / "offsets.npy").unlink()
    elif damage == "no folder":
        folder = tmp_path / "elsewhere"
    elif damage == "truncated":
        (folder / "positions.npy").write_bytes((folder / "positions.npy").read_bytes()[:200])
    elif damage == "pickled":
        np.save(folder / "cell.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    else:
        (folder / "meta.json").write_text("{")
    with pytest.raises(InputError, match="not a prepared data set"):
        StructureFile(folder)


def same(a, b) -> bool:
    return torch.equal(a.clean.positions, b.clean.positions) and a.sigma == b.sigma and torch.equal(a.noise, b.noise)


def test_items_are_fixed_by_seed_epoch_and_number(tmp_path):
    data = prepared(tmp_path / "data")
    items = TrainingItems(data, NOISE, 3, epoch=2, length=12)
    forwards = [items[k] for k in range(12)]
    torch.manual_seed(123)
    backwards = [TrainingItems(data, NOISE, 3, epoch=2, length=99)[k] for k in reversed(range(12))][::-1]
    assert all(same(a, b) for a, b in zip(forwards, backwards, strict=True))
    others = [TrainingItems(data, NOISE, seed, epoch, 12)[0] for seed, epoch in ((3, 1), (4, 2))]
    assert not any(same(forwards[0], other) for other in [*others, *forwards[1:]])


def test_training_never_sees_a_held_out_structure_and_sees_all_others(tmp_path):
    data = prepared(tmp_path / "data", NAMES[:5])
    items = TrainingItems(data, NOISE, 0, epoch=0, length=120)
    seen = {items[k].clean.positions.numpy().tobytes() for k in range(120)}
    assert seen == {data.structure(int(k)).positions.numpy().tobytes() for k in data.training}


def test_noise_of_items_is_standard_normal_and_levels_are_the_stated_ones(tmp_path):
    data = prepared(tmp_path / "data", NAMES[:3])
    items = [TrainingItems(data, NoiseConfig(), 0, 0, 300)[k] for k in range(300)]
    noise = torch.cat([item.noise for item in items]).flatten()
    assert noise.mean() == pytest.approx(0, abs=5 / math.sqrt(len(noise)))
    assert noise.var() == pytest.approx(1, abs=5 * math.sqrt(2 / len(noise)))
    assert all(0.02 <= float(item.sigma) <= 1.8 for item in items)


def test_validation_goes_through_all_levels_with_constant_noise(tmp_path):
    data = prepared(tmp_path / "data")
    items = ValidationItems(data, most=3)
    assert len(items) == 3 * len(VALIDATION_SIGMAS)
    levels = sorted(float(items[k].sigma) for k in range(len(items)))
    assert levels == pytest.approx(sorted(VALIDATION_SIGMAS * 3))
    assert all(same(items[k], ValidationItems(data, most=3)[k]) for k in range(len(items)))
    held_out = {data.structure(int(k)).positions.numpy().tobytes() for k in data.validation}
    assert {items[k].clean.positions.numpy().tobytes() for k in range(len(items))} <= held_out


def test_a_batch_is_its_items_joined(tmp_path):
    data = prepared(tmp_path / "data")
    items = TrainingItems(data, NOISE, 0, 0, 6)
    module = DenoisingData(data, NOISE, seed=0, batch=3, epoch_items=6)
    first, second = list(module.train_dataloader())
    joined = collate([items[3], items[4], items[5]])
    assert torch.equal(second.noise, joined.noise) and torch.equal(second.clean.positions, joined.clean.positions)
    assert first.clean.n_systems == 3 and first.clean.system.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert (
        json.loads((tmp_path / "data" / "meta.json").read_text())["held_out_quenches"]
        == len(module.data.validation) / 2
    )
