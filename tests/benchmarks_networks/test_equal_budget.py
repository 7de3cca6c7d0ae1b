"""The comparison itself: budgets, choices and records."""

from pathlib import Path

import networks.budget as budget
import pytest
import torch
from architectures import ratios, trained, with_best_rates
from networks.budget import LEVELS, train_for
from networks.candidates import Candidate, variant
from networks.mesh_graph import MeshGraphConfig
from networks.record import EXPERIMENT, record
from priors.tiny_training import NAMES, NETWORK, NOISE, quenches

from glass_ml.errors import InputError
from glass_ml.priors.dataset import StructureFile, write_structure_file
from glass_ml.settings.prior import TrainingConfig
from glass_ml.tracking.store import open_store

OURS = Candidate("ours", NETWORK, TrainingConfig(batch=2, warmup=2, validation_structures=1, seed=5), NOISE)
TINY_MESH = MeshGraphConfig(cutoff=3.0, features=8, steps=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> StructureFile:
    folder = tmp_path_factory.mktemp("prepared") / "a-Si"
    write_structure_file(folder, quenches(NAMES), validation_share=0.4, source_path="data/a-Si", source_md5="0")
    return StructureFile(folder)


class Clock:
    """Process time that a step takes `step` of and a held-out loss `look`, and nothing else."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: float, look: float):
        self.now, self.rates = 0.0, []
        solver_step, held_out = budget.MatrixOptimiser.step, budget.held_out_loss

        def timed_step(solver, closure=None):
            self.now += step
            self.rates.append([group["lr"] for group in solver.param_groups])
            return solver_step(solver, closure)

        def timed_look(*arguments):
            self.now += look
            return held_out(*arguments)

        monkeypatch.setattr(budget.time, "process_time", lambda: self.now)
        monkeypatch.setattr(budget.MatrixOptimiser, "step", timed_step)
        monkeypatch.setattr(budget, "held_out_loss", timed_look)


@pytest.mark.parametrize("step", [1.0, 10.0])
def test_rates_follow_the_share_of_the_budget_spent(data, monkeypatch, step):
    """Fast or slow, a network anneals fully, and looking at it is not charged."""
    clock = Clock(monkeypatch, step, look=1000.0)
    run = train_for(OURS.untrained(data), data, 20.0, noise=NOISE, training=OURS.training, looks=2)
    assert run.steps == 20 / step and run.seconds == 20.0
    assert [seconds for seconds, _, _ in run.curve] == [10.0, 20.0]
    share = torch.arange(run.steps) * step / 20
    warm = torch.maximum((torch.arange(run.steps) + 1) / OURS.training.warmup, share / 0.05).clamp(max=1)
    factor = warm * 0.5 * (1 + torch.cos(torch.pi * share))
    peaks = torch.tensor([OURS.training.matrix_rate, OURS.training.learning_rate])
    torch.testing.assert_close(torch.tensor(clock.rates), factor[:, None] * peaks)


def test_training_is_kept_and_the_better_rates_are_taken(data, monkeypatch, tmp_path):
    Clock(monkeypatch, 1.0, look=0.0)
    reference = Candidate("mesh", TINY_MESH, OURS.training, NOISE, rates=((0.0, 0.0), (2e-2, 0.0)))
    best, tried = with_best_rates(reference, data, 10.0, tmp_path)  # 60 steps each
    losses = [one["mean_loss"] for one in tried]
    assert losses[1] < 0.97 * losses[0] and best.training.learning_rate == 2e-2
    before = sorted(tmp_path.iterdir())
    row, model = trained(best, data, 1.0, tmp_path)
    assert row["mean_loss"] == losses[1] and row["steps"] == 60 and sorted(tmp_path.iterdir()) == before
    again = budget.held_out_loss(model, data, OURS.training.validation_structures)
    assert again == pytest.approx(row["loss"], rel=1e-5)


def test_variants_are_ours_with_other_settings(data):
    one = variant(OURS, "layers=3, learning_rate=0.003,core_share=0.5")
    assert (one.network.layers, one.training.learning_rate, one.noise.core_share) == (3, 0.003, 0.5)
    assert one.network.features == NETWORK.features and one.training.batch == 2
    assert len({OURS.key(data, 1.0), OURS.key(data, 2.0), one.key(data, 1.0)}) == 3
    for wrong in ("layer=3", "layers", "layers=many"):
        with pytest.raises(InputError, match="variant"):
            variant(OURS, wrong)


def test_a_comparison_is_recorded_once(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    rows = []
    for name, factor in (("ours", 1.0), ("published", 2.0)):
        curve = [(s, 10 * s, {level: factor * value for level in LEVELS}) for s, value in ((30.0, 0.4), (60.0, 0.2))]
        last = curve[-1][2]
        rows.append({
            "name": name, "key": name, "settings": {"training": {"batch": 2}}, "parameters": 7, "core_minutes": 1.0,
            "loss": last, "mean_loss": 0.2 * factor, "curve": curve, "samples": {"gr.rmse": 0.1},
        })  # fmt: skip
    assert ratios(rows) == {"published": {level: 2.0 for level in LEVELS}}
    record("a-Si", 1.0, rows, None)
    record("a-Si", 1.0, rows, None)
    client = open_store().client
    runs = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    by_name = {run.info.run_name: run for run in runs}
    assert len(runs) == 3 and all(run.info.status == "FINISHED" for run in runs)
    parent, child = by_name["a-Si, 1 core-minutes"], by_name["published"]
    assert parent.data.tags["best"] == "ours" and child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.params == {"training.batch": "2"} and child.data.metrics["samples/gr.rmse"] == 0.1
    history = client.get_metric_history(child.info.run_id, "val/loss_0.25")
    assert [(point.step, point.value) for point in history] == [(30, 0.8), (60, 0.4)]
