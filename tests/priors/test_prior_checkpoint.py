"""Checkpoints: what is saved is loaded, and no file, however made, does anything else than fail."""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from ase.build import bulk
from safetensors.torch import load_file, save_file
from small_project import write_small_prior

from glass_ml.errors import InputError
from glass_ml.priors.checkpoint import CARD, REQUIRED, WEIGHTS, load_prior, read_card, save_prior
from glass_ml.priors.prior import Prior
from glass_ml.settings.prior import NetworkConfig
from glass_ml.structures.io import from_atoms


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    return write_small_prior(tmp_path_factory.mktemp("priors") / "prior")


@pytest.fixture
def folder(original, tmp_path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "prior"))


def edit(folder: Path, **changes) -> None:
    card = json.loads((folder / CARD).read_text())
    card.update(changes)
    (folder / CARD).write_text(json.dumps({k: v for k, v in card.items() if v != "removed"}))


def test_round_trip(tmp_path):
    torch.manual_seed(7)
    prior = Prior((8, 14), NetworkConfig(cutoff=3.3, features=8, layers=2, channels=3, radial=5), {}, (), (0.04, 0.2))
    card = {
        "system": "x",
        "sigma_min": 0.02,
        "sigma_max": 1.8,
        "held_out_loss": {"0.06": 0.7, "1.00": 0.2},
        "shortest": [[8, 14, 1.5]],
        "density_range": [0.04, 0.2],
    }
    save_prior(tmp_path / "prior", prior, card)
    loaded = load_prior(tmp_path / "prior")
    assert loaded.elements == (8, 14) and loaded.config == prior.config
    assert loaded.losses == {0.06: 0.7, 1.0: 0.2} and [tuple(row) for row in loaded.shortest] == [(8, 14, 1.5)]
    assert not loaded.training and not any(w.requires_grad for w in loaded.parameters())
    quartz = from_atoms([bulk("SiO", "zincblende", a=4.6)], torch.float32)
    with torch.no_grad():
        assert torch.equal(loaded.denoise(quartz, 0.3), prior.denoise(quartz, 0.3))
    assert sorted(p.name for p in (tmp_path / "prior").iterdir()) == [CARD, WEIGHTS]


def test_a_prior_of_the_first_format_gives_what_it_gave():
    """A folder and its output, kept from the time of that format."""
    folder = Path(__file__).parent / "format-1"
    kept = json.loads((folder / "expected.json").read_text())
    crystal = bulk("SiO", "zincblende", a=4.6)
    crystal.positions = kept["positions"]
    denoised = load_prior(folder).denoise(from_atoms([crystal], torch.float32), kept["sigma"])
    torch.testing.assert_close(denoised, torch.tensor(kept["denoised"]), rtol=0, atol=1e-5)
    assert (denoised - torch.tensor(kept["positions"])).abs().max() > 1e-3


def test_the_same_prior_gives_the_same_bytes(original, tmp_path):
    again = write_small_prior(tmp_path / "again")
    for name in (CARD, WEIGHTS):
        assert (again / name).read_bytes() == (original / name).read_bytes()


def test_a_pickle_in_place_of_the_weights_is_not_executed(folder, tmp_path):
    trace = tmp_path / "executed"

    class Malicious:
        def __reduce__(self):
            return os.system, (f"touch {trace}",)

    pickle.loads(pickle.dumps(Malicious()))
    assert trace.exists()  # the trap works
    trace.unlink()
    for write in (lambda f: f.write(pickle.dumps(Malicious())), lambda f: torch.save(Malicious(), f)):
        with (folder / WEIGHTS).open("wb") as stream:
            write(stream)
        with pytest.raises(InputError, match=r"model\.safetensors: corrupted weights"):
            load_prior(folder)
    assert not trace.exists()


def test_truncated_weights(folder):
    content = (folder / WEIGHTS).read_bytes()
    for length in (0, 4, 100, len(content) - 1):
        (folder / WEIGHTS).write_bytes(content[:length])
        with pytest.raises(InputError, match="corrupted weights"):
            load_prior(folder)


def test_corrupted_header(folder):
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[3:40] = b"\xff" * 37
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(InputError, match="corrupted weights"):
        load_prior(folder)


def test_weights_that_are_no_numbers(folder):
    weights = load_file(folder / WEIGHTS)
    next(iter(weights.values())).view(-1)[0] = float("nan")
    save_file(weights, folder / WEIGHTS)
    with pytest.raises(InputError, match="not finite"):
        load_prior(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.pop("network.element.weight"),
        lambda w: w.update(extra=torch.zeros(3)),
        lambda w: w.update({"network.element.weight": torch.zeros(2, 3)}),
    ],
    ids=["missing", "extra", "shape"],
)
def test_weights_of_another_network(folder, change):
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS)
    with pytest.raises(InputError, match="do not fit the architecture"):
        load_prior(folder)


def test_card_of_another_network(folder):
    edit(folder, network={"cutoff": 3.0, "features": 16, "layers": 1, "channels": 2, "radial": 8})
    with pytest.raises(InputError, match="do not fit the architecture"):
        load_prior(folder)
    edit(folder, elements=[8, 14], network={"cutoff": 3.0, "features": 8, "layers": 1, "channels": 2, "radial": 8})
    with pytest.raises(InputError, match="do not fit the architecture"):
        load_prior(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 3}, r"format version 3 .*update glass_ml"),
        ({"format_version": 0}, r"format version 0 .*update glass_ml"),
        ({"format_version": "2"}, r"format version 2 .*update glass_ml"),
        ({"architecture": "mesh"}, "unknown architecture 'mesh'"),
        ({"elements": []}, "'elements'"),
        ({"elements": [14, 140]}, "'elements'"),
        ({"elements": ["Si"]}, "'elements'"),
        ({"elements": 14}, "'elements'"),
        ({"network": {"cutoff": 3.0, "width": 8}}, r"model\.json: network: unknown key 'width'"),
        ({"network": {"features": "8"}}, r"network\.features"),
        ({"network": {"features": -8}}, r"network\.features"),
        ({"network": {"layers": 0}}, r"network\.layers"),
        ({"network": {"radial": 1}}, r"network\.radial"),
        ({"network": {"cutoff": 0}}, r"network\.cutoff"),
        ({"network": []}, "network"),
        ({"held_out_loss": [1, 2]}, "malformed"),
        ({"held_out_loss": {"low": 0.5}}, "malformed"),
        ({"held_out_loss": {"0.1": None}}, "malformed"),
        ({"held_out_loss": {"0.1": -0.5}}, "malformed"),
        ({"held_out_loss": {"0": 0.5}}, "malformed"),
        ({"shortest": [[14, 14]]}, "malformed"),
        ({"shortest": 2.0}, "malformed"),
        ({"density_range": [0.05]}, "malformed"),
        ({"density_range": [-0.05, 0.1]}, "malformed"),
        *[({key: "removed"}, f"'{key}' is missing") for key in REQUIRED],
    ],
    ids=str,
)
def test_cards_that_describe_no_prior(folder, changes, message):
    edit(folder, **changes)
    with pytest.raises(InputError, match=message):
        load_prior(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"text"', b"\x80\x04\x95", b"null"])
def test_cards_that_are_no_json_mapping(folder, content):
    (folder / CARD).write_bytes(content)
    with pytest.raises(InputError, match=r"model\.json: not a prior"):
        read_card(folder)


@pytest.mark.parametrize("name", [CARD, WEIGHTS])
def test_missing_files_are_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"{name} is missing"):
        load_prior(folder)
    with pytest.raises(InputError, match="no prior here"):
        load_prior(folder / "nowhere")
