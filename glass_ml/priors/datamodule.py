"""Noisy batches for Lightning, each item drawn from its own random stream.

Item k of epoch e is the same whatever the number of processes, and after a resume: its structure, noise level
and noise come from `generator(seed, "train", e, k)`. Processes share the items of a step, so that two train as one
with twice the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from glass_ml.priors.dataset import StructureFile
from glass_ml.priors.prior import sample_sigma
from glass_ml.settings.prior import NoiseConfig
from glass_ml.structures.random import generator
from glass_ml.structures.state import Structures, concatenate

VALIDATION_SIGMAS = (0.06, 0.12, 0.25, 0.4, 0.6, 1.0)
"""Noise levels (Å) at which the held-out loss is reported."""


class Noisy(NamedTuple):
    """Clean structures, the noise levels (S,), Å, and the noise (N, 3) in units of them."""

    clean: Structures
    sigma: Tensor
    noise: Tensor


def collate(items: Sequence[Noisy]) -> Noisy:
    """Join items into a batch."""
    return Noisy(
        concatenate([item.clean for item in items]),
        torch.cat([item.sigma for item in items]),
        torch.cat([item.noise for item in items]),
    )


class TrainingItems(Dataset):
    """The `length` items of one epoch."""

    def __init__(self, data: StructureFile, noise: NoiseConfig, seed: int, epoch: int, length: int):
        self.data, self.noise, self.seed, self.epoch, self.length = data, noise, seed, epoch, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, k: int) -> Noisy:
        stream = generator(self.seed, "train", self.epoch, k)
        index = torch.randint(len(self.data.training), (1,), generator=stream).item()
        clean = self.data.structure(int(self.data.training[int(index)]))
        sigma = sample_sigma(1, self.noise, stream)
        return Noisy(clean, sigma, torch.randn(clean.positions.shape, generator=stream))


class ValidationItems(Dataset):
    """Held-out structures at every noise level of VALIDATION_SIGMAS, always with the same noise."""

    def __init__(self, data: StructureFile, most: int):
        step = max(1, len(data.validation) // most)
        self.data, self.structures = data, data.validation[::step][:most]

    def __len__(self) -> int:
        return len(self.structures) * len(VALIDATION_SIGMAS)

    def __getitem__(self, k: int) -> Noisy:
        which, level = divmod(k, len(VALIDATION_SIGMAS))
        clean = self.data.structure(int(self.structures[which]))
        noise = torch.randn(clean.positions.shape, generator=generator(0, "validation", k))
        return Noisy(clean, torch.tensor([VALIDATION_SIGMAS[level]]), noise)


class DenoisingData(pl.LightningDataModule):
    """Batches for training and validation.

    Args:
        data: the prepared structures.
        noise: distribution of the training noise.
        seed: of all random choices.
        batch: structures per optimiser step and process.
        epoch_items: structures per epoch, over all processes.
        validation_structures: held-out structures used at most.
    """

    def __init__(
        self,
        data: StructureFile,
        noise: NoiseConfig,
        *,
        seed: int,
        batch: int,
        epoch_items: int,
        validation_structures: int = 16,
    ):
        super().__init__()
        self.data, self.noise, self.seed = data, noise, seed
        self.batch, self.epoch_items, self.validation_structures = batch, epoch_items, validation_structures

    def train_dataloader(self) -> DataLoader:
        """The items of the trainer's present epoch."""
        trainer = self.trainer
        epoch = trainer.current_epoch if trainer else 0
        items = TrainingItems(self.data, self.noise, self.seed, epoch, self.epoch_items)
        sampler: DistributedSampler | None = None
        if trainer and trainer.world_size > 1:  # not Lightning's own, which would shuffle
            sampler = DistributedSampler(items, trainer.world_size, trainer.global_rank, shuffle=False)
        return DataLoader(items, batch_size=self.batch, collate_fn=collate, shuffle=False, sampler=sampler)

    def val_dataloader(self) -> DataLoader:
        """Every held-out item once."""
        items = ValidationItems(self.data, self.validation_structures)
        return DataLoader(items, batch_size=1, collate_fn=collate)
