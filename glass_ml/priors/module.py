"""Training of the prior with Lightning: denoising loss, and validation per noise level."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, cast

import torch
from torch import Tensor

from glass_ml.priors.averaged import AveragedModule
from glass_ml.priors.datamodule import VALIDATION_SIGMAS, Noisy
from glass_ml.priors.dataset import StructureFile
from glass_ml.priors.prior import Prior
from glass_ml.settings.prior import NetworkConfig, TrainingConfig


class DenoisingModule(AveragedModule):
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
        self.start_average()

    @property
    def learner(self) -> Prior:
        """The prior that is trained."""
        return self.prior

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

    def validation_step(self, batch: Noisy, batch_idx: int) -> None:
        """Held-out loss of the averaged weights, per noise level."""
        with torch.autocast(self.device.type, enabled=False):
            loss = self.loss(self.averaged, batch)
        level = min(VALIDATION_SIGMAS, key=lambda s: abs(s - float(batch.sigma[0])))
        options: dict[str, Any] = {"batch_size": 1, "sync_dist": True, "on_epoch": True}
        self.log(f"val/loss_{level:g}", loss, **options)
        self.log("val/loss", loss, prog_bar=True, **options)


def new_module(data: StructureFile, network: NetworkConfig, training: TrainingConfig) -> DenoisingModule:
    """A module for a data set, with weights drawn from the training seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        return DenoisingModule(list(data.elements), asdict(network), asdict(training), list(data.meta["density_range"]))
