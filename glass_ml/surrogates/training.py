"""One training of a surrogate: held-out folds, their errors and the calibration of the doubt, then all the data."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import Logger
from torch import Tensor

from glass_ml.errors import InputError
from glass_ml.observables.environments import Environments, describe, fingerprint
from glass_ml.observables.surrogate import Scales, Surrogate
from glass_ml.observables.surrogate_files import save_surrogate
from glass_ml.settings.surrogate import SurrogateConfig, SurrogateTraining
from glass_ml.surrogates.dataset import SpectraData
from glass_ml.surrogates.errors import Predicted, calibration, fold_errors, pooled_errors
from glass_ml.surrogates.module import Cells, SpectraBatches, SurrogateModule

RARE = 1e-3
"""Share of the training environments that count as lying at the edge of the data."""
SMALLEST_SCALE = 0.02
"""Densities that hardly occur are not blown up beyond this share of the largest."""


def train_surrogate(
    data: SpectraData,
    folder: Path | str,
    state: Path | str,
    *,
    name: str,
    config: SurrogateConfig,
    training: SurrogateTraining,
    source: Mapping[str, str],
    edge: str = "K",
    loggers: Callable[[str], Sequence[Logger]] = lambda part: (),
    progress: bool = True,
) -> dict[str, Any]:
    """Train (or finish training) a surrogate and write its folder; returns the held-out errors by fold.

    Training state lives in `state`: where a part of the work is there, it goes on behind it, and the result equals that
    of a training that was never stopped. The caller removes it when it is no longer wanted.

    Args:
        data: structures and spectra.
        folder: where `model.safetensors` and `model.json` are written.
        state: where checkpoints are kept on the way.
        name: of the surrogate, kept in the card.
        config: size.
        training: optimiser, length, folds and seed.
        source: `data_path` and `data_md5`, for the card.
        edge: name of the absorption edge, for the card.
        loggers: Lightning loggers of a part of the work, by its name.
        progress: show a progress bar.

    Raises:
        InputError: the data have one fold only: nothing to measure errors on.
    """
    folds = data.folds(training.hold_out)
    predicted = held_out(data, folds, config, training, Path(state), loggers=loggers, progress=progress)
    errors = {**{fold: fold_errors(p) for fold, p in predicted.items()}, "all": pooled_errors(predicted.values())}
    factors = calibration(predicted.values())
    whole = list(range(len(data.items)))
    surrogate = fit_surrogate(
        data, whole, config, training, Path(state) / "all", loggers=loggers("all"), progress=progress
    )
    surrogate.calibration = factors
    card = {
        "system": name,
        "data_path": source["data_path"],
        "data_md5": source["data_md5"],
        "structures": len(data.items),
        "atoms": sum(len(item.spectra) for item in data.items),
        "density_range": [min(i.density for i in data.items), max(i.density for i in data.items)],
        "edge": edge,
        "axis": data.axis,
        "training": asdict(training),
        "held_out": errors,
    }
    save_surrogate(folder, surrogate, card)
    return errors


def held_out(
    data: SpectraData,
    folds: Mapping[str, Sequence[int]],
    config: SurrogateConfig,
    training: SurrogateTraining,
    state: Path,
    *,
    loggers: Callable[[str], Sequence[Logger]] = lambda part: (),
    progress: bool = True,
) -> dict[str, list[Predicted]]:
    """Predictions of every fold by a surrogate that was trained on all items outside it.

    Args:
        data: structures and spectra.
        folds: name -> indices of the items that are held out together.
        config: size.
        training: optimiser, length and seed.
        state: checkpoints of each fold lie below it.
        loggers: Lightning loggers of a fold.
        progress: show a progress bar.

    Raises:
        InputError: a fold leaves nothing to train on.
    """
    result = {}
    for fold, out in folds.items():
        rest = [k for k in range(len(data.items)) if k not in set(out)]
        if not rest:
            raise InputError(
                f"all structures belong to '{fold}'", "hold_out", "give data of two densities or labels at least"
            )
        # A fold is known by what it leaves out: its name may hold anything.
        key = hashlib.sha256(repr(sorted(data.items[k].name for k in out)).encode()).hexdigest()[:12]
        surrogate = fit_surrogate(data, rest, config, training, state / key, loggers=loggers(fold), progress=progress)
        result[fold] = [predict(surrogate, data, k) for k in out]
    return result


@torch.no_grad()
def predict(surrogate: Surrogate, data: SpectraData, index: int) -> Predicted:
    """What a surrogate says of one item, beside the truth."""
    item = data.items[index]
    structure = item.structure.to(dtype=torch.float32)
    around = surrogate.environments(structure)
    mask = surrogate.absorbers(structure)
    spectra = surrogate.spectra(surrogate.components(around)[:, mask])
    return Predicted(item.name, spectra.double(), item.spectra, surrogate.distance(around)[mask].double())


def fit_surrogate(
    data: SpectraData,
    chosen: Sequence[int],
    config: SurrogateConfig,
    training: SurrogateTraining,
    state: Path,
    *,
    loggers: Sequence[Logger] = (),
    progress: bool = True,
) -> Surrogate:
    """A surrogate trained on the chosen items, in evaluation mode, not calibrated; resumable from `state`."""
    torch.set_flush_denormal(True)
    if training.threads:
        torch.set_num_threads(training.threads)
    items = [data.items[k] for k in chosen]
    structures = [item.structure.to(dtype=torch.float32) for item in items]
    around = [describe(s, data.elements, config.environment) for s in structures]
    absorbers = [s.numbers == data.absorber for s in structures]
    spectra = torch.cat([item.spectra for item in items])
    scales, axes = _scales(around, absorbers, spectra, config)
    cells = [
        Cells(a, m, ((item.spectra - spectra.mean(0)) @ axes).float())
        for a, m, item in zip(around, absorbers, items, strict=True)
    ]
    surrogate = Surrogate(data.absorber, data.elements, config, data.energies, scales)
    for member in range(config.members):
        module = SurrogateModule(len(data.elements), config, training, scales, member)
        _train_member(module, SpectraBatches(cells, training, member), state / f"member-{member}", loggers, progress)
        surrogate.members[member].load_state_dict(module.averaged.state_dict())
    return surrogate.eval().requires_grad_(False)


def _scales(
    around: Sequence[Environments], absorbers: Sequence[Tensor], spectra: Tensor, config: SurrogateConfig
) -> tuple[Scales, Tensor]:
    """The fixed numbers of a training set; and the map from spectra, less their mean, to components, (n, K)."""
    count = config.components
    if count > min(spectra.shape):
        what = f"{count} components of {spectra.shape[0]} spectra of {spectra.shape[1]} energies"
        raise InputError(what, "surrogate.components", "ask for fewer")
    mean = spectra.mean(0)
    _, singular, axes = torch.linalg.svd(spectra - mean, full_matrices=False)
    # A sign that does not depend on the linear algebra library.
    axes = axes[:count] * axes[:count].gather(1, axes[:count].abs().argmax(1, keepdim=True)).sign()
    spread = (singular[:count] / len(spectra) ** 0.5).clamp(min=1e-6)
    typical = torch.stack(
        [
            torch.cat([a.densities[degree] for a in around]).square().sum(1).mean(0).sqrt()
            for degree in range(len(around[0].densities))
        ]
    )
    prints = torch.cat([fingerprint(a, config.environment)[m] for a, m in zip(around, absorbers, strict=True)]).double()
    centre = prints.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(prints.T))
    # Directions in which the data hardly vary are not blown up without bound.
    whitening = (vectors / values.clamp(min=1e-3 * float(values.mean())).sqrt()) @ vectors.T
    reach = ((prints - centre) @ whitening).square().sum(1).sqrt().quantile(1 - RARE)
    scales = Scales(
        typical.clamp(min=SMALLEST_SCALE * float(typical.max())),
        mean.float(),
        (axes * spread[:, None]).float(),
        centre.float(),
        whitening.float(),
        reach.float(),
    )
    return scales, (axes / spread[:, None]).T


def _train_member(
    module: SurrogateModule, batches: SpectraBatches, state: Path, loggers: Sequence[Logger], progress: bool
) -> None:
    training = module.training_config
    checkpoints = ModelCheckpoint(dirpath=state, save_last=True, save_top_k=0, enable_version_counter=False)
    trainer = pl.Trainer(
        max_steps=training.steps,
        gradient_clip_val=training.clip,
        reload_dataloaders_every_n_epochs=1,
        callbacks=[checkpoints],
        logger=list(loggers) or False,
        enable_progress_bar=progress,
        enable_model_summary=False,
        log_every_n_steps=50,
        accelerator="cpu",
        devices=1,
    )
    last = state / "last.ckpt"
    try:
        trainer.fit(module, batches, ckpt_path=str(last) if last.exists() else None, weights_only=True)
    except SystemExit:  # Lightning's answer to Ctrl-C
        raise KeyboardInterrupt from None
    if trainer.global_step < training.steps:
        raise KeyboardInterrupt
