"""What a trial of a training sweep does: one training on one device, stopped early where others were better."""

from __future__ import annotations

import logging
import shutil
import warnings
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna import Study, Trial, TrialPruned
from pytorch_lightning.loggers import Logger

from glass_ml.errors import InputError
from glass_ml.priors.dataset import StructureFile
from glass_ml.priors.training import train_prior
from glass_ml.settings.overrides import with_settings
from glass_ml.settings.prior import NetworkConfig, NoiseConfig, TrainingConfig
from glass_ml.tuning.trials import RETRY, is_default

PRIOR_OBJECTIVES = ("held_out_loss",)


@dataclass(frozen=True)
class PriorSettings:
    """The settings that a sweep of trainings may change; see the classes of the fields."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


class Watch(Logger):
    """Hears the held-out loss at every validation, and ends the training where the pruner says so.

    Args:
        study: of the sweep.
        trial: that this training is.
        protected: whether it never ends early.
    """

    def __init__(self, study: Study, trial: Trial, protected: bool):
        super().__init__()
        self.study, self.trial, self.protected = study, trial, protected

    @property
    def name(self) -> str:
        """Of the sweep."""
        return self.study.study_name

    @property
    def version(self) -> int:
        """Number of the trial."""
        return self.trial.number

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: the trial knows them."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Report the held-out loss.

        Raises:
            TrialPruned: the loss is above the median of earlier trials at this step.
        """
        if "val/loss" not in metrics:
            return
        self.trial.report(metrics["val/loss"], int(step or 0))
        if not self.protected and self.trial.should_prune():
            raise TrialPruned(f"held-out loss {metrics['val/loss']:.4f} after {step} steps")


@dataclass(frozen=True)
class PriorObjective:
    """A trial of training settings; picklable.

    Attributes:
        system: the material.
        data: folder of the prepared structures.
        base: settings of the system, with those that are the same in every trial.
        folder: of the states of unfinished trainings.
    """

    system: str
    data: Path
    base: PriorSettings
    folder: Path

    def __call__(self, study: Study, trial: Trial) -> Sequence[float]:
        """The mean held-out loss of the weights that were kept. A training whose process has died is gone on with.

        Raises:
            TrialPruned: other trainings were better by then, or the settings cannot be used.
        """
        try:
            settings = with_settings(self.base, trial.params, "trial")
        except InputError as error:
            raise TrialPruned(f"impossible settings: {error}") from None
        state = self.folder / f"training-{study.study_name}-{first_try(study, trial)}"
        logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        try:
            losses = train_prior(
                StructureFile(self.data),
                state / "model",
                state,
                system=self.system,
                network=settings.network,
                noise=settings.noise,
                training=settings.training,
                loggers=[Watch(study, trial, is_default(trial))],
                progress=False,
            )
        except TrialPruned:
            shutil.rmtree(state, ignore_errors=True)
            raise
        for level, loss in losses.items():
            trial.set_user_attr(f"loss {level}", loss)
        shutil.rmtree(state, ignore_errors=True)
        return (losses["mean"],)


def first_try(study: Study, trial: Trial) -> int:
    """Number of the trial that these settings were tried in first."""
    number, known = trial.number, study.get_trials(deepcopy=False)
    while (before := known[number].user_attrs.get(RETRY)) is not None:
        number = before
    return number
