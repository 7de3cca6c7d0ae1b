"""A surrogate's folder: what is written is what is read, and nothing that was tampered with passes."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_surrogate import batch, carbon, random_surrogate

from glass_ml.errors import InputError
from glass_ml.observables.surrogate_files import (
    CARD,
    WEIGHTS,
    is_surrogate,
    load_surrogate,
    read_surrogate_card,
    save_surrogate,
)
from glass_ml.observables.xanes import Xanes
from glass_ml.priors.checkpoint import load_prior


@pytest.fixture
def folder(tmp_path):
    save_surrogate(tmp_path / "s", random_surrogate(), {"system": "toy", "axis": "eV", "edge": "K"})
    return tmp_path / "s"


def tamper(folder, **changes):
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps({**card, **changes}))


def test_what_was_saved_is_loaded(folder):
    structures, before, after = batch(carbon(0)), Xanes(random_surrogate()), Xanes(folder)
    assert is_surrogate(folder) and read_surrogate_card(folder)["system"] == "toy"
    for ask in ("forward", "uncertainty", "outside", "jacobian"):
        torch.testing.assert_close(getattr(after, ask)(structures), getattr(before, ask)(structures), rtol=0, atol=0)
    assert not any(p.requires_grad for p in after.surrogate.parameters())


def test_a_surrogate_of_the_first_format_gives_what_it_gave():
    """A folder and its spectrum, kept from the time of that format."""
    folder = Path(__file__).parent / "surrogate-format-1"
    assert read_surrogate_card(folder)["format_version"] == 1
    kept = torch.tensor(json.loads((folder / "expected.json").read_text())["spectrum"], dtype=torch.float64)
    spectrum = Xanes(folder).forward(batch(carbon(0)))[0]
    torch.testing.assert_close(spectrum, kept.to(spectrum), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 99}, "format version 99 is above"),
        ({"architecture": "angular"}, "not a surrogate but a prior"),
        ({"elements": []}, "not a list of atomic numbers"),
        ({"elements": [14, 6]}, "do not ascend"),
        ({"elements": [14]}, "lack the 'absorber'"),
        ({"energies": [1.0, 1.0]}, "'energies' or 'calibration' is malformed"),
        ({"energies": [1.0, 2.0]}, "do not fit the architecture"),
        ({"calibration": {"atom": 1.0, "cell": float("nan")}}, "'energies' or 'calibration' is malformed"),
        ({"calibration": {"atom": 1.0}}, "'energies' or 'calibration' is malformed"),
        ({"surrogate": {"channels": 5}}, "do not fit the architecture"),
        ({"surrogate": {"chanels": 4}}, "did you mean 'channels'"),
        ({"surrogate": {"members": 1}}, "1 is below 2"),
    ],
)
def test_a_tampered_card_is_refused(folder, changes, message):
    tamper(folder, **changes)
    with pytest.raises(InputError, match=message) as caught:
        load_surrogate(folder)
    assert "\n" not in str(caught.value)


def test_missing_and_corrupted_files_are_refused(folder):
    weights = load_file(folder / WEIGHTS)
    save_file({**weights, "mean": torch.full_like(weights["mean"], float("nan"))}, folder / WEIGHTS)
    with pytest.raises(InputError, match="not finite"):
        load_surrogate(folder)
    (folder / WEIGHTS).write_bytes(b"\x80\x04 a pickle")
    with pytest.raises(InputError, match="corrupted weights"):
        load_surrogate(folder)
    (folder / WEIGHTS).unlink()
    with pytest.raises(InputError, match=f"{WEIGHTS} is missing"):
        load_surrogate(folder)
    (folder / CARD).write_text("{")
    with pytest.raises(InputError, match="unreadable JSON"):
        load_surrogate(folder)
    (folder / CARD).unlink()
    with pytest.raises(InputError, match="run 'dvc pull' or 'glass-ml train NAME --observable xanes'"):
        load_surrogate(folder)
    assert not is_surrogate(folder)


def test_a_prior_and_a_surrogate_are_not_taken_for_each_other(folder):
    with pytest.raises(InputError, match="not a prior"):
        load_prior(folder)
