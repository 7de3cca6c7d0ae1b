"""Training of the prior with Lightning: denoising loss, optimiser, moving average, validation per noise level."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from glass_ml.priors.datamodule import VALIDATION_SIGMAS, Noisy
from glass_ml.priors.dataset import StructureFile
from glass_ml.priors.optimiser import MatrixOptimiser
from glass_ml.priors.prior import Prior
from glass_ml.settings.prior import NetworkConfig, TrainingConfig


class DenoisingModule(pl.LightningModule):
    """The prior, its moving average and its loss.

    The loss is the mean of |D(x + sigma n; sigma) - x|^2 / (3 sigma^2) over atoms: weight 1/sigma^2, and 1 for a
    network that has learned nothing.

    Args:
        elements: atomic numbers the prior knows.
        network: fields of `NetworkConfig`.
        training: fields of `TrainingConfig`.
        density_range: smallest and largest number density of the data, atoms/Å^3.
    """

    def __init__(
        self, elements: list[int], network: dict[str, Any], training: dict[str, Any], density_range: list[float]
    ):
        super().__init__()
        self.save_hyperparameters()
        self.training_config = TrainingConfig(**training)
        self.prior = Prior(tuple(elements), NetworkConfig(**network), density_range=density_range)
        self.average = AveragedModel(self.prior, avg_fn=self._ramped_average)
        self.average.requires_grad_(False)

    def _ramped_average(self, average: Tensor, current: Tensor, n: Tensor | int) -> Tensor:
        decay = min(self.training_config.ema, (1 + int(n)) / (10 + int(n)))
        return average.lerp(current, 1 - decay)

    @property
    def averaged(self) -> Prior:
        """The prior with averaged weights."""
        return cast(Prior, self.average.module)

    def transfer_batch_to_device(self, batch: Noisy, device: torch.device, dataloader_idx: int) -> Noisy:
        """Move a batch; Lightning's own walk does not enter frozen dataclasses."""
        return Noisy(batch.clean.to(device), batch.sigma.to(device), batch.noise.to(device))

    @staticmethod
    def loss(prior: Prior, batch: Noisy) -> Tensor:
        """Weighted denoising loss of a batch; see the class."""
        level = batch.sigma[batch.clean.system][:, None]
        noisy = batch.clean.at(batch.clean.positions + level * batch.noise)
        error = (prior.denoise(noisy, batch.sigma) - batch.clean.positions) / level
        return error.square().mean()

    def training_step(self, batch: Noisy, batch_idx: int) -> Tensor:
        """One optimiser step's loss."""
        loss = self.loss(self.prior, batch)
        self.log("train/loss", loss, prog_bar=True, on_step=False, on_epoch=True, batch_size=len(batch.sigma))
        return loss

    def on_before_zero_grad(self, optimizer: torch.optim.Optimizer) -> None:
        """Follow the weights with their moving average after every step."""
        if self.trainer.global_step > int(self.average.n_averaged):
            self.average.update_parameters(self.prior)

    def validation_step(self, batch: Noisy, batch_idx: int) -> None:
        """Held-out loss of the averaged weights, per noise level."""
        with torch.autocast(self.device.type, enabled=False):
            loss = self.loss(self.averaged, batch)
        level = min(VALIDATION_SIGMAS, key=lambda s: abs(s - float(batch.sigma[0])))
        options: dict[str, Any] = {"batch_size": 1, "sync_dist": True, "on_epoch": True}
        self.log(f"val/loss_{level:g}", loss, **options)
        self.log("val/loss", loss, prog_bar=True, **options)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Matrix steps and Adam, with warm-up and cosine decay to zero."""
        config = self.training_config
        optimizer = MatrixOptimiser(self.prior.parameters(), matrix_rate=config.matrix_rate, rate=config.learning_rate)

        def scale(step: int) -> float:
            warm = min(1.0, (step + 1) / max(1, config.warmup))
            return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / config.steps)))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, scale)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def new_module(data: StructureFile, network: NetworkConfig, training: TrainingConfig) -> DenoisingModule:
    """A module for a data set, with weights drawn from the training seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        return DenoisingModule(list(data.elements), asdict(network), asdict(training), list(data.meta["density_range"]))
