"""What trainings of priors and surrogates have in common: optimiser, schedule, moving average, and how they go on."""

from __future__ import annotations

import math
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from glass_ml.priors.optimiser import MatrixOptimiser
from glass_ml.settings.prior import TrainingConfig
from glass_ml.settings.surrogate import SurrogateTraining


class AveragedModule(pl.LightningModule):
    """A network that is trained, and the moving average of its weights, which is what is kept.

    A subclass sets `training_config` and calls `start_average` once its network is there.
    """

    training_config: TrainingConfig | SurrogateTraining

    @property
    def learner(self) -> nn.Module:
        """The network that is trained."""
        raise NotImplementedError

    def start_average(self) -> None:
        """Begin the moving average with the weights of the moment."""
        self.average = AveragedModel(self.learner, avg_fn=self._ramped_average)
        self.average.requires_grad_(False)

    def _ramped_average(self, average: Tensor, current: Tensor, n: Tensor | int) -> Tensor:
        decay = min(self.training_config.ema, (1 + int(n)) / (10 + int(n)))
        return average.lerp(current, 1 - decay)

    def on_before_zero_grad(self, optimizer: torch.optim.Optimizer) -> None:
        """Follow the weights with their moving average after every step."""
        if self.trainer.global_step > int(self.average.n_averaged):
            self.average.update_parameters(self.learner)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Matrix steps and Adam, with warm-up and cosine decay to zero."""
        config = self.training_config
        optimizer = MatrixOptimiser(
            self.learner.parameters(), matrix_rate=config.matrix_rate, rate=config.learning_rate
        )

        def scale(step: int) -> float:
            warm = min(1.0, (step + 1) / max(1, config.warmup))
            return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / config.steps)))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, scale)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def prepare_torch(training: TrainingConfig | SurrogateTraining) -> None:
    """Threads as the training states them, and no slow arithmetic of denormal numbers."""
    torch.set_flush_denormal(True)
    if training.threads:
        torch.set_num_threads(training.threads)


def fit(trainer: pl.Trainer, module: AveragedModule, batches: pl.LightningDataModule, state: Path) -> None:
    """Train, or go on from the last checkpoint in `state`; Ctrl-C is a KeyboardInterrupt."""
    last = state / "last.ckpt"
    try:
        trainer.fit(module, batches, ckpt_path=str(last) if last.exists() else None, weights_only=True)
    except SystemExit:  # Lightning's answer to Ctrl-C
        raise KeyboardInterrupt from None
