"""A sweep of training settings: pruned on the held-out loss, gone on with after a kill, its winner used by training."""

import json
from pathlib import Path

import numpy as np
import optuna
import pytest
from ase.build import bulk
from ase.io import write
from optuna.distributions import FloatDistribution
from optuna.pruners import MedianPruner
from optuna.trial import TrialState

from glass_ml.cli.main import main
from glass_ml.priors.module import DenoisingModule
from glass_ml.settings.prior import NetworkConfig, NoiseConfig, TrainingConfig
from glass_ml.settings.recipe import system_config
from glass_ml.stages.prepare import prepare
from glass_ml.tracking.store import open_store
from glass_ml.tuning.prior import PriorObjective, PriorSettings

RECIPE = """\
systems:
  a-Si:
    target: {reference: hidden.extxyz}
    prepare: {validation_share: 0.3}
    network: {cutoff: 3.0, features: 8, layers: 1, channels: 2, radial: 8}
    noise: {sigma_min: 0.05, sigma_max: 0.5, core_min: 0.1, core_max: 0.4}
    training: {steps: 500, batch: 2, epoch_steps: 4, validation_structures: 1, warmup: 2, learning_rate: 0.01}
    tuning:
      winner: tuned/a-Si.yaml
      space: {}
      targets: {}
      prior:
        winner: tuned/a-Si-prior.yaml
        space:
          training.learning_rate: {low: 0.00001, high: 0.05, log: true}
          network.features: {low: 4, high: 8, step: 4}
        fixed: {training.steps: 16}
        trials: 4
        startup: 2
        warmup: 4
"""


@pytest.fixture
def training_project(project: Path) -> Path:
    frames = []
    for k in range(12):
        atoms = bulk("Si", "diamond", 5.43 + 0.02 * (k // 2), cubic=True)
        atoms.positions += np.random.default_rng(k).normal(scale=0.05, size=atoms.positions.shape)
        atoms.info |= {"quench": f"quench-{k // 2}", "state": "thermal"}
        frames.append(atoms)
    (project / "data" / "a-Si").mkdir(parents=True)
    write(project / "data" / "a-Si" / "train.extxyz", frames)
    (project / "params.yaml").write_text(RECIPE)
    return project


@pytest.mark.slow
def test_the_winner_of_trainings_is_used_by_training(training_project: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["tune", "a-Si", "--prior", "--workers", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["counts"]["complete"] + result["counts"]["pruned"] == 4
    rows = {row["number"]: row for row in result["trials"]}
    losses = [row["values"]["held_out_loss"] for row in rows.values() if "values" in row]
    assert rows[result["winner"]]["values"]["held_out_loss"] == min(losses)
    assert (training_project / "sweeps" / "a-Si-prior" / "pareto.png").is_file()
    assert not list((training_project / "sweeps" / "a-Si-prior").glob("training-*"))

    config = system_config("a-Si")
    chosen = rows[result["winner"]]["settings"]
    assert config.training.learning_rate == pytest.approx(chosen["training.learning_rate"])
    assert config.training.steps == 500  # what was fixed for the sweep alone is not
    store = open_store()
    runs = store.client.search_runs([store.experiments["tuning"]])
    children = [r.data for r in runs if "mlflow.parentRunId" in r.data.tags]
    assert len(runs) == 5 and len(children) == 4
    assert all(c.params["training.steps"] == "16" and "training.learning_rate" in c.params for c in children)
    assert all("val/loss" in c.metrics for c in children)


@pytest.fixture
def objective(training_project: Path) -> PriorObjective:
    training = TrainingConfig(steps=24, epoch_steps=4, validation_structures=1, warmup=2, learning_rate=0.01)
    network = NetworkConfig(cutoff=3.0, features=8, layers=1, channels=2, radial=8)
    base = PriorSettings(network, NoiseConfig(0.05, 0.5, 0.1, 0.4), training)
    return PriorObjective("a-Si", prepare("a-Si"), base, training_project / "sweep")


def study_of(*rates: float) -> tuple[optuna.Study, list[optuna.Trial]]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(pruner=MedianPruner(n_startup_trials=2, n_warmup_steps=4))
    for rate in rates:
        study.enqueue_trial({"training.learning_rate": rate})
    return study, [study.ask({"training.learning_rate": FloatDistribution(1e-7, 0.05, log=True)}) for _ in rates]


def test_a_training_that_learns_nothing_is_stopped(objective: PriorObjective) -> None:
    base = objective.base.training
    still = PriorSettings(
        objective.base.network, objective.base.noise, TrainingConfig(**{**vars(base), "matrix_rate": 0})
    )
    objective = PriorObjective(objective.system, objective.data, still, objective.folder)
    study, trials = study_of(0.02, 0.01, 1e-7)
    for trial in trials[:2]:
        study.tell(trial, objective(study, trial))
    with pytest.raises(optuna.TrialPruned, match="held-out loss"):
        objective(study, trials[2])
    steps = [sorted(t.intermediate_values) for t in study.get_trials()]
    assert len(steps[0]) == len(steps[1]) == 6 and len(steps[2]) < 6
    assert not list(objective.folder.glob("training-*"))


def test_a_killed_training_is_gone_on_with(objective: PriorObjective, monkeypatch: pytest.MonkeyPatch) -> None:
    study, (whole, killed, again) = study_of(0.01, 0.01, 0.01)
    expected = objective(study, whole)
    seen: list[int] = []
    original = DenoisingModule.training_step

    def training_step(self, batch, batch_idx):
        seen.append(self.trainer.global_step)
        if len(seen) == 10:
            raise KeyboardInterrupt
        return original(self, batch, batch_idx)

    monkeypatch.setattr(DenoisingModule, "training_step", training_step)
    with pytest.raises(KeyboardInterrupt):
        objective(study, killed)
    study.tell(killed, state=TrialState.FAIL)
    again.set_user_attr("retry_of", killed.number)
    seen.append(-1)  # no more interruptions
    assert objective(study, again) == pytest.approx(expected)
    assert min(seen[11:]) == 8  # from the last validation on
