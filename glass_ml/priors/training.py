"""One training run: from prepared structures to a checkpoint folder, resumable at any moment."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import DDPStrategy

from glass_ml.priors.datamodule import DenoisingData
from glass_ml.priors.dataset import StructureFile
from glass_ml.priors.module import DenoisingModule, new_module
from glass_ml.settings.prior import NetworkConfig, NoiseConfig, TrainingConfig


def train_prior(
    data: StructureFile,
    folder: Path | str,
    state: Path | str,
    *,
    system: str,
    network: NetworkConfig,
    noise: NoiseConfig,
    training: TrainingConfig,
    loggers: Sequence[Logger] = (),
    trainer_options: dict[str, Any] | None = None,
    progress: bool = True,
) -> dict[str, float]:
    """Train (or finish training) a prior and write its checkpoint folder.

    Training state lives in `state`; where it exists, training goes on from there, and with as many processes the result
    equals that of a run that was never stopped. The caller removes it when it is no longer wanted.

    Args:
        data: the prepared structures.
        folder: where `model.safetensors` and `model.json` are written.
        state: where Lightning's checkpoints are kept on the way.
        system: name of the material, kept in the card.
        network: size of the network.
        noise: distribution of the training noise.
        training: optimiser, length and seed.
        loggers: Lightning loggers.
        trainer_options: `accelerator`, `devices` and `num_nodes` of `new_trainer` (default: one CPU process).
        progress: show a progress bar.

    Returns:
        The held-out losses of the prior that was kept, by name; nothing in the other processes of a training.
    """
    from glass_ml.priors.checkpoint import save_prior  # safetensors: benchmarks on a GPU machine do without

    state = Path(state)
    torch.set_flush_denormal(True)
    if training.threads:
        torch.set_num_threads(training.threads)
    checkpoints = ModelCheckpoint(
        dirpath=state, filename="best", monitor="val/loss", save_last=True, enable_version_counter=False
    )
    trainer = new_trainer(
        training, callbacks=[checkpoints], loggers=loggers, progress=progress, **trainer_options or {}
    )
    module = new_module(data, network, training)
    batches = DenoisingData(
        data,
        noise,
        seed=training.seed,
        batch=training.batch,
        epoch_items=training.epoch_steps * training.batch * trainer.world_size,
        validation_structures=training.validation_structures,
    )
    last = state / "last.ckpt"
    try:
        trainer.fit(module, batches, ckpt_path=str(last) if last.exists() else None)
    except SystemExit:  # Lightning's answer to Ctrl-C
        raise KeyboardInterrupt from None
    if not trainer.is_global_zero:
        return {}
    best = state / "best.ckpt"
    kept = new_module(data, network, training)
    stored = torch.load(best if best.exists() else last, map_location="cpu", weights_only=True)
    kept.load_state_dict(stored["state_dict"])
    losses = _held_out_losses(kept, batches)
    card = {
        "system": system,
        "sigma_min": noise.sigma_min,
        "sigma_max": noise.sigma_max,
        "data_md5": data.meta["source_md5"],
        "data_path": data.meta["source_path"],
        "density_range": data.meta["density_range"],
        "shortest": data.meta["shortest"],
        "training": asdict(training),
        "noise": asdict(noise),
        "held_out_loss": losses,
    }
    save_prior(folder, kept.averaged, card)
    return {**losses, "mean": math.fsum(losses.values()) / len(losses)}


class Compiling(Callback):
    """Has torch.compile make the training steps of the network; where that fails, they go on without."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compile, and try on the first batch, without a trace in gradients or random numbers."""
        module = cast(DenoisingModule, pl_module)
        network = module.prior.network
        loader: Any = trainer.train_dataloader
        batch = module.transfer_batch_to_device(next(iter(loader)), module.device, 0)
        try:
            network.compile(dynamic=True)
            with trainer.precision_plugin.forward_context():
                loss = module.loss(module.prior, batch)
            torch.autograd.grad(loss, [w for w in module.prior.parameters() if w.requires_grad])
        except Exception as error:  # a compiler that is missing or old fails in many ways
            network._compiled_call_impl = None
            why = str(error).strip().splitlines() or [type(error).__name__]
            warnings.warn(f"torch.compile failed, training goes on without it: {why[0]}", stacklevel=2)


def new_trainer(
    training: TrainingConfig,
    *,
    callbacks: Sequence[Callback] = (),
    loggers: Sequence[Logger] = (),
    progress: bool = True,
    accelerator: str = "cpu",
    devices: int = 1,
    num_nodes: int = 1,
) -> pl.Trainer:
    """The Lightning trainer of a training; with several devices they share the items of a step."""
    gpu_without = accelerator == "gpu" and not torch.cuda.is_bf16_supported(including_emulation=False)
    strategy: DDPStrategy | str = "auto"
    if devices * num_nodes > 1:
        # Every step uses every weight, and buffers are constants: nothing to look for, nothing to send but gradients.
        strategy = DDPStrategy(static_graph=True, gradient_as_bucket_view=True, broadcast_buffers=False)
    return pl.Trainer(
        max_steps=training.steps,
        gradient_clip_val=training.clip,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        callbacks=[*callbacks, *([Compiling()] if training.compile else [])],
        precision="32-true" if gpu_without else training.precision,
        logger=list(loggers) or False,
        enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
        enable_progress_bar=progress,
        enable_model_summary=False,
        log_every_n_steps=50,
        accelerator=accelerator,
        devices=devices,
        num_nodes=num_nodes,
        strategy=strategy,
    )


@torch.no_grad()
def _held_out_losses(module: DenoisingModule, batches: DenoisingData) -> dict[str, float]:
    prior = module.averaged.eval()
    by_level: dict[str, list[float]] = {}
    for batch in batches.val_dataloader():
        by_level.setdefault(f"{float(batch.sigma[0]):.2f}", []).append(float(module.loss(prior, batch)))
    return {level: math.fsum(values) / len(values) for level, values in sorted(by_level.items())}
