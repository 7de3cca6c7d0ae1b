"""Training learns, survives a kill to the last bit, and is the same on one process and on two."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_training
import torch
from tiny_training import NAMES, NETWORK, NOISE, quenches, train

from glass_ml.priors.checkpoint import CARD, WEIGHTS, load_prior, read_card
from glass_ml.priors.datamodule import Noisy, collate
from glass_ml.priors.dataset import StructureFile, write_structure_file
from glass_ml.priors.module import DenoisingModule, new_module
from glass_ml.priors.network import AngularNetwork
from glass_ml.settings.prior import TrainingConfig

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def denormals_as_before():
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("prepared") / "a-Si"
    write_structure_file(folder, quenches(NAMES), validation_share=0.2, source_path="data", source_md5="ab")
    return folder


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    train(data, folder / "prior", folder / "state", {})
    return folder / "prior"


def in_a_process(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, tiny_training.__file__, *arguments], capture_output=True, text=True, timeout=600
    )


def same_files(a: Path, b: Path) -> bool:
    return all((a / name).read_bytes() == (b / name).read_bytes() for name in (WEIGHTS, CARD))


def test_a_killed_training_resumes_to_the_same_bytes(data, uninterrupted, tmp_path):
    """kill -9 in the third epoch, in a process of its own; the rest here."""
    killed = in_a_process(str(data), str(tmp_path / "prior"), str(tmp_path / "state"), json.dumps({"kill_at": 10}))
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "state" / "last.ckpt").exists() and not (tmp_path / "prior").exists()
    train(data, tmp_path / "prior", tmp_path / "state", {})
    assert same_files(tmp_path / "prior", uninterrupted)


@pytest.mark.parametrize("steps", [(1,), (4,), (7, 8), (15, 16, 17, 23)], ids=str)
def test_training_stopped_anywhere_resumes_to_the_same_bytes(data, uninterrupted, tmp_path, monkeypatch, steps):
    """Before the first checkpoint, right behind one, in the middle and in the last epoch; several times."""
    original = DenoisingModule.training_step
    for step in steps:

        def stop(self, batch, batch_idx, step=step):
            if self.trainer.global_step == step:
                raise OSError("the machine is gone")
            return original(self, batch, batch_idx)

        monkeypatch.setattr(DenoisingModule, "training_step", stop)
        with pytest.raises(OSError, match="gone"):
            train(data, tmp_path / "prior", tmp_path / "state", {})
    monkeypatch.setattr(DenoisingModule, "training_step", original)
    train(data, tmp_path / "prior", tmp_path / "state", {})
    assert same_files(tmp_path / "prior", uninterrupted)


def test_a_kill_behind_the_last_step_loses_nothing(data, uninterrupted, tmp_path):
    train(data, tmp_path / "first", tmp_path / "state", {})
    losses = train(data, tmp_path / "second", tmp_path / "state", {})
    assert same_files(tmp_path / "second", uninterrupted)
    kept = read_card(uninterrupted)["held_out_loss"]
    assert losses == {**kept, "mean": pytest.approx(sum(kept.values()) / len(kept))}


def test_two_processes_train_as_one_with_twice_the_batch(data, tmp_path):
    """Gradients are averaged over processes, and items do not depend on which process draws them."""
    short = {"steps": 8, "batch": 1}
    options = {"devices": 2, "training": short}
    done = in_a_process(str(data), str(tmp_path / "two"), str(tmp_path / "state-two"), json.dumps(options))
    assert done.returncode == 0, done.stderr[-2000:]
    assert sorted(p.name for p in (tmp_path / "two").iterdir()) == [CARD, WEIGHTS]
    train(data, tmp_path / "one", tmp_path / "state-one", {"training": {**short, "batch": 2}})
    two, one = load_prior(tmp_path / "two").state_dict(), load_prior(tmp_path / "one").state_dict()
    start = new_module(StructureFile(data), NETWORK, TrainingConfig(seed=5)).prior.state_dict()
    moved = max(float((one[name] - start[name]).abs().max()) for name in one)
    apart = max(float((one[name] - two[name]).abs().max()) for name in one)
    assert apart < 1e-3 * moved
    losses = [list(read_card(tmp_path / name)["held_out_loss"].values()) for name in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_training_learns_a_crystal(data, tmp_path):
    """Held-out loss: 1 for a network that knows nothing, far below once the lattice is known."""
    options = {"steps": 250, "epoch_steps": 50, "learning_rate": 1e-2, "ema": 0.97, "batch": 4}
    untrained = train(data, tmp_path / "u", tmp_path / "su", {"training": {"steps": 1, "learning_rate": 0.0}})
    losses = train(data, tmp_path / "t", tmp_path / "st", {"training": options})
    assert 0.9 < untrained["0.12"] < 1.15
    assert losses["0.12"] < 0.4 and losses["0.25"] < 0.4
    card = read_card(tmp_path / "t")
    assert card["data_md5"] == "ab" and card["training"]["steps"] == 250 and card["sigma_max"] == NOISE.sigma_max
    prior = load_prior(tmp_path / "t")
    assert prior.spread(0.25) == pytest.approx(0.25 * losses["0.25"] ** 0.5, rel=1e-6)


def test_loss_of_the_identity_is_one(data):
    """With the displacement set to nothing the loss is the mean square of the noise."""
    items = StructureFile(data)
    clean = items.structure(0)
    module = new_module(items, NETWORK, TrainingConfig())
    torch.nn.init.zeros_(module.prior.network.readout[2].weight)
    torch.nn.init.zeros_(module.prior.network.readout[2].bias)
    noise = torch.randn(8, 3)
    batch = collate([Noisy(clean, torch.tensor([0.1]), noise), Noisy(clean, torch.tensor([0.7]), 2 * noise)])
    expected = 0.5 * (noise.square().mean() + 4 * noise.square().mean())
    torch.testing.assert_close(module.loss(module.prior, batch), expected, rtol=1e-3, atol=0)


def test_new_weights_depend_on_the_seed_alone(data):
    items = StructureFile(data)
    state = torch.random.get_rng_state()
    first, again, other = (new_module(items, NETWORK, TrainingConfig(seed=s)).prior.state_dict() for s in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_every_trained_weight_has_a_gradient(data):
    """DDP waits for the gradient of every weight that asks for one."""
    items = StructureFile(data)
    module = new_module(items, NETWORK, TrainingConfig())
    module.prior.denoise(items.structure(0), 0.3).square().sum().backward()
    silent = [n for n, w in module.prior.named_parameters() if w.requires_grad and w.grad is None]
    assert silent == []


def test_training_goes_on_where_compiling_fails(data, uninterrupted, tmp_path, monkeypatch):
    """One warning, and the same weights as of a training that was never to be compiled."""

    def compile(self, **options):
        def call(*arguments):
            raise RuntimeError("No working C++ compiler found\nand many lines more")

        self._compiled_call_impl = call

    monkeypatch.setattr(AngularNetwork, "compile", compile)
    with pytest.warns(UserWarning, match=r"goes on without it: No working C\+\+ compiler found$"):
        train(data, tmp_path / "prior", tmp_path / "state", {"training": {"compile": True}})
    weights = [load_prior(folder).state_dict() for folder in (tmp_path / "prior", uninterrupted)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_half_precision_learns_the_same(data, tmp_path):
    """Steps in bfloat16 leave float32 weights, close to those of float32 steps but not the same."""
    short = {"steps": 40, "batch": 4}
    losses, weights = [], []
    for precision in ("32-true", "bf16-mixed"):
        folder = tmp_path / precision
        losses.append(train(data, folder, tmp_path / f"s{precision}", {"training": {**short, "precision": precision}}))
        weights.append(load_prior(folder).state_dict())
    assert all(weight.dtype == torch.float32 for weight in weights[1].values())
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert losses[1]["mean"] == pytest.approx(losses[0]["mean"], rel=0.03)
