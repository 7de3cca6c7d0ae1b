"""Training learns a known dependence, is the same for the same seed, and survives being stopped to the last bit."""

from dataclasses import replace

import pytest
import torch
from small_surrogate import CONFIG, batch, carbon, write_toy

from glass_ml.errors import InputError
from glass_ml.observables.surrogate_files import CARD, WEIGHTS, read_surrogate_card
from glass_ml.observables.xanes import Xanes
from glass_ml.settings.surrogate import SurrogateTraining
from glass_ml.surrogates.dataset import read_spectra
from glass_ml.surrogates.errors import Predicted, calibration, fold_errors, pooled_errors, rank_correlation
from glass_ml.surrogates.module import SurrogateModule
from glass_ml.surrogates.training import fit_surrogate, predict, train_surrogate

pytestmark = pytest.mark.filterwarnings("ignore")
TRAINING = SurrogateTraining(steps=12, epoch_steps=4, warmup=2, average_size=4, hold_out="label", seed=3)
SMALL = replace(CONFIG, members=2)


@pytest.fixture(autouse=True)
def denormals_as_before():
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return read_spectra(write_toy(tmp_path_factory.mktemp("data") / "toy"), "C")


def train(data, folder, training=TRAINING, config=SMALL):
    source = {"data_path": "toy", "data_md5": "ab.dir"}
    return train_surrogate(
        data,
        folder / "s",
        folder / "state",
        name="toy",
        config=config,
        training=training,
        source=source,
        progress=False,
    )


def files(folder):
    return [(folder / "s" / name).read_bytes() for name in (WEIGHTS, CARD)]


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    train(data, folder)
    return folder


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(data, uninterrupted, tmp_path):
    train(data, tmp_path / "a")
    assert files(tmp_path / "a") == files(uninterrupted)
    train(data, tmp_path / "b", replace(TRAINING, seed=4))
    assert files(tmp_path / "b")[0] != files(uninterrupted)[0]


@pytest.mark.parametrize("stops", [(0,), (4, 7), (29, 30, 20)], ids=str)
def test_training_stopped_anywhere_resumes_to_the_same_bytes(data, uninterrupted, tmp_path, monkeypatch, stops):
    """Before the first checkpoint, behind one and inside an epoch, in later members and folds; several times."""
    original = SurrogateModule.training_step
    for stop in stops:
        calls = 0

        def stopping(self, batch, batch_idx, stop=stop):
            nonlocal calls
            calls += 1
            if calls > stop:
                raise OSError("the machine is gone")
            return original(self, batch, batch_idx)

        monkeypatch.setattr(SurrogateModule, "training_step", stopping)
        with pytest.raises(OSError, match="gone"):
            train(data, tmp_path)
    monkeypatch.setattr(SurrogateModule, "training_step", original)
    train(data, tmp_path)
    assert files(tmp_path) == files(uninterrupted)


@pytest.mark.slow
def test_it_learns_what_the_environment_decides_and_doubts_what_it_has_not_seen(tmp_path):
    """The toy's lines stand where bond lengths put them: structures that were held out get them right."""
    data = read_spectra(write_toy(tmp_path / "toy", each=7), "C")
    training = replace(TRAINING, steps=200, epoch_steps=200, warmup=10, dropout=0.0, decay=0.0)
    rest = [k for k in range(len(data.items)) if k % 7]
    untrained = fit_surrogate(data, rest, SMALL, replace(training, steps=1), tmp_path / "one", progress=False)
    surrogate = fit_surrogate(data, rest, SMALL, training, tmp_path / "state", progress=False)
    before, after = (fold_errors([predict(s, data, k) for k in (0, 7, 14)]) for s in (untrained, surrogate))
    assert before["atom_rmse"] > 0.7 * before["atom_spread"]
    assert after["atom_rmse"] < 0.6 * before["atom_rmse"] and after["cell_rmse"] < 0.6 * before["cell_rmse"]
    xanes = Xanes(surrogate)
    known = batch(*(carbon(seed=99, a=a) for a in (3.4, 3.57, 3.7)))
    strange = batch(*(carbon(seed=99, a=a) for a in (2.7, 4.6)))
    assert xanes.uncertainty(strange).square().mean() > 4 * xanes.uncertainty(known).square().mean()
    assert xanes.outside(strange).min() > 1 > xanes.outside(known).median()


def test_the_card_says_what_it_is(uninterrupted, data):
    card = read_surrogate_card(uninterrupted / "s")
    assert (card["system"], card["edge"], card["axis"]) == ("toy", "K", "eV")
    assert (card["absorber"], card["elements"], card["structures"], card["atoms"]) == (6, [6], 6, 48)
    assert card["data_path"] == "toy" and card["data_md5"] == "ab.dir" and card["training"]["seed"] == 3
    assert set(card["held_out"]) == {"a3.4", "a3.57", "a3.7", "all"}
    assert card["density_range"][0] == pytest.approx(min(item.density for item in data.items))


def test_one_group_alone_cannot_be_held_out(data, tmp_path):
    alone = replace(data, items=data.items[:2])
    with pytest.raises(InputError, match=r"all structures belong to 'a3.4'"):
        train(alone, tmp_path)
    with pytest.raises(InputError, match="50 components of"):
        train(data, tmp_path, config=replace(SMALL, components=50))


def test_errors_are_those_of_a_known_case():
    """Every member off by a constant of its own: errors, spreads and calibration follow by hand."""
    truth = torch.randn(500, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    offsets = torch.tensor([0.1, 0.3], dtype=torch.float64)
    one = Predicted("x", truth + offsets[:, None, None], truth, torch.linspace(0, 2, 500, dtype=torch.float64))
    errors = fold_errors([one])
    assert errors["atom_rmse"] == pytest.approx(0.2) and errors["cell_rmse"] == pytest.approx(0.2)
    assert errors["atom_spread"] == pytest.approx(1.0, rel=0.03) and errors["outside"] == 0.5
    spread = 0.2 / 2**0.5
    assert calibration([[one]]) == pytest.approx((0.2 / spread, 0.2 / spread))
    shifted = replace(one, truth=truth + 1, members=one.members + 1)
    assert pooled_errors([[one], [shifted]])["cell_spread"] == pytest.approx(0.5)


def test_rank_correlation_sees_order_alone():
    x = torch.tensor([0.1, 5.0, 2.0, 9.0])
    assert rank_correlation(x, x**3) == pytest.approx(1.0) and rank_correlation(x, -x) == pytest.approx(-1.0)
