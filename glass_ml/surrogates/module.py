"""Training of one member of a surrogate: batches of whole structures, loss, optimiser, moving average."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset

from glass_ml.observables.environments import Environments, join
from glass_ml.observables.surrogate import Scales, SurrogateNetwork
from glass_ml.priors.optimiser import MatrixOptimiser
from glass_ml.settings.surrogate import SurrogateConfig, SurrogateTraining
from glass_ml.structures.random import generator


class Cells(NamedTuple):
    """Structures made ready: environments, which atoms are absorbers (N,), and the target components (A, K)."""

    around: Environments
    absorbers: Tensor
    components: Tensor


def join_cells(parts: Sequence[Cells]) -> Cells:
    """One batch out of several structures."""
    return Cells(
        join([p.around for p in parts]),
        torch.cat([p.absorbers for p in parts]),
        torch.cat([p.components for p in parts]),
    )


class Batches(Dataset):
    """The batches of one epoch: structures drawn without replacement, from a random stream of every step's own."""

    def __init__(self, cells: Sequence[Cells], training: SurrogateTraining, member: int, epoch: int):
        self.cells, self.training, self.member, self.epoch = cells, training, member, epoch

    def __len__(self) -> int:
        done = self.epoch * self.training.epoch_steps
        return max(0, min(self.training.epoch_steps, self.training.steps - done))

    def __getitem__(self, k: int) -> Cells:
        if k >= len(self):
            raise IndexError(k)
        stream = generator(self.training.seed, "surrogate", self.member, self.epoch, k)
        chosen = torch.randperm(len(self.cells), generator=stream)[: self.training.batch]
        return join_cells([self.cells[int(c)] for c in chosen])


class SpectraBatches(pl.LightningDataModule):
    """Batches for the training of one member."""

    def __init__(self, cells: Sequence[Cells], training: SurrogateTraining, member: int):
        super().__init__()
        self.cells, self.training, self.member = cells, training, member

    def train_dataloader(self) -> DataLoader:
        """The batches of the trainer's present epoch."""
        epoch = self.trainer.current_epoch if self.trainer else 0
        return DataLoader(Batches(self.cells, self.training, self.member, epoch), batch_size=None, shuffle=False)


class SurrogateModule(pl.LightningModule):
    """One member, its moving average and its loss.

    The loss is the mean square error per energy, in units of the spread of the training spectra, of single atoms and,
    times the size of the set, of means over random sets of atoms.

    Args:
        elements: how many elements are told apart.
        config: size of the member.
        training: see `SurrogateTraining`.
        scales: of the training data.
        member: which of the ensemble; with the seed it decides all random choices.
    """

    density_scale: Tensor
    weights: Tensor

    def __init__(
        self, elements: int, config: SurrogateConfig, training: SurrogateTraining, scales: Scales, member: int
    ):
        super().__init__()
        self.training_config, self.which = training, member
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_number(training.seed, "weights", member))
            self.network = SurrogateNetwork(elements, config, dropout=training.dropout, blind=config.is_blind(member))
        self.average = AveragedModel(self.network, avg_fn=self._ramped_average)
        self.average.requires_grad_(False)
        self.register_buffer("density_scale", scales.densities)
        # The principal axes are orthogonal: errors of components, weighed by these, are errors of spectra.
        spread = scales.basis.square().sum(1)
        self.register_buffer("weights", spread / spread.sum())

    def _ramped_average(self, average: Tensor, current: Tensor, n: Tensor | int) -> Tensor:
        decay = min(self.training_config.ema, (1 + int(n)) / (10 + int(n)))
        return average.lerp(current, 1 - decay)

    @property
    def averaged(self) -> SurrogateNetwork:
        """The member with averaged weights."""
        return cast(SurrogateNetwork, self.average.module)

    def loss(self, batch: Cells, order: Tensor) -> Tensor:
        """Loss of a batch; `order` is a permutation of its absorbers, whose consecutive runs are averaged."""
        error = self.network(batch.around, self.density_scale)[batch.absorbers] - batch.components
        single = (error.square() * self.weights).sum(1).mean()
        size = min(self.training_config.average_size, len(order))
        runs = error[order[: len(order) // size * size]].view(-1, size, error.shape[1]).mean(1)
        return single + self.training_config.averages * size * (runs.square() * self.weights).sum(1).mean()

    def training_step(self, batch: Cells, batch_idx: int) -> Tensor:
        """One optimiser step's loss; its dropout comes from a stream of the step's own."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_number(self.training_config.seed, "step", self.which, self.trainer.global_step))
            order = torch.randperm(len(batch.components)).to(batch.components.device)
            loss = self.loss(batch, order)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=1)
        return loss

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        """A step of the optimiser, and the decay of the matrices."""
        optimizer.step(closure=optimizer_closure)
        with torch.no_grad():
            for group in optimizer.param_groups:
                for weight in group["params"]:
                    if weight.ndim > 1:
                        weight.mul_(1 - self.training_config.decay * group["lr"])

    def on_before_zero_grad(self, optimizer: torch.optim.Optimizer) -> None:
        """Follow the weights with their moving average after every step."""
        if self.trainer.global_step > int(self.average.n_averaged):
            self.average.update_parameters(self.network)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Matrix steps and Adam, with warm-up and cosine decay to zero."""
        config = self.training_config
        optimizer = MatrixOptimiser(
            self.network.parameters(), matrix_rate=config.matrix_rate, rate=config.learning_rate
        )

        def scale(step: int) -> float:
            warm = min(1.0, (step + 1) / max(1, config.warmup))
            return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / config.steps)))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, scale)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def _number(seed: int, *purpose: object) -> int:
    return generator(seed, "surrogate", *purpose).initial_seed()
