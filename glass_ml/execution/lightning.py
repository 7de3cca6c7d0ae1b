"""Replicas on several GPUs, cores or nodes: the same batches as the local pool computes, through Lightning."""

from __future__ import annotations

import logging
import os
import threading
import warnings
from datetime import timedelta
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy
from torch.utils.data import DataLoader, Dataset

from glass_ml.execution.devices import Devices, launched
from glass_ml.execution.processes import end_with_parent
from glass_ml.execution.replicas import Bar, Replicas

WAIT = timedelta(days=30)
"""How long a process that is done waits for the others: an inversion may take as long."""


class ReplicaSampler(pl.LightningModule):
    """Computes the batches of an inversion that are missing, a share in every process.

    A batch draws from the random streams of its own replicas and is kept in its own file, so that neither the number
    of processes nor their kind enters a result.
    """

    def __init__(self, replicas: Replicas, *, progress: bool = True):
        super().__init__()
        self.replicas, self.progress = replicas, progress
        self.denoiser = replicas.job["denoiser"]  # Lightning moves it to the device
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer batches than processes

    def predict_dataloader(self) -> DataLoader:
        """This process's share of the batches that the first process finds missing."""
        missing = self.trainer.strategy.broadcast(self.replicas.missing())
        self.mine = missing[self.global_rank :: self.trainer.world_size]
        return DataLoader(cast(Dataset, self.mine), batch_size=None)

    def on_predict_start(self) -> None:
        """Arithmetic as in the workers of the local pool; on a GPU, sums in a fixed order."""
        threading.Thread(target=end_with_parent, daemon=True).start()
        torch.set_flush_denormal(True)
        if self.device.type == "cuda":
            torch.use_deterministic_algorithms(True, warn_only=True)
        else:
            self.threads = torch.get_num_threads()
            torch.set_num_threads(1)
        self.bar = Bar(self.replicas, len(self.mine), show=self.progress and self.global_rank == 0)

    def predict_step(self, batch: list[int], batch_idx: int) -> int:
        """Compute a batch and keep it; returns its first replica."""
        self.replicas.compute(batch, lambda *message: self.bar(batch[0], *message), self.device)
        return batch[0]

    def on_predict_end(self) -> None:
        """Leave torch as it was."""
        self.bar.close()
        if self.device.type == "cuda":
            torch.use_deterministic_algorithms(False)
        else:
            torch.set_num_threads(self.threads)


def compute_replicas(replicas: Replicas, devices: Devices, *, progress: bool = True) -> None:
    """Have every batch of an inversion computed; returns when all are, in whichever process.

    Under srun or torchrun the processes are there already; otherwise this one starts the others.

    Raises:
        InputError: there are no such devices.
    """
    options = devices.trainer_options()
    if options["devices"] * options["num_nodes"] > 1:
        how: Any = "popen" if launched() else "spawn"
        options["strategy"] = DDPStrategy(start_method=how, timeout=WAIT)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS sums in any order
    replicas.scratch.mkdir(parents=True, exist_ok=True)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        warnings.filterwarnings("ignore", message=".*deterministic implementation")  # sums of integers need none
        trainer = pl.Trainer(
            **options,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            inference_mode=False,  # guidance differentiates the forward models
        )
        try:
            trainer.predict(ReplicaSampler(replicas, progress=progress), return_predictions=False)
        except SystemExit:  # Lightning's answer to Ctrl-C
            raise KeyboardInterrupt from None
    trainer.strategy.barrier("replicas")
