"""Training for a given processor time: each network gets its whole annealing, however fast its steps are."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from networks.reference import random_rotation, rotated
from torch import nn
from torch.optim.swa_utils import AveragedModel

from glass_ml.priors.datamodule import VALIDATION_SIGMAS, TrainingItems, ValidationItems, collate
from glass_ml.priors.dataset import StructureFile
from glass_ml.priors.module import DenoisingModule
from glass_ml.priors.optimiser import MatrixOptimiser
from glass_ml.settings.prior import NoiseConfig, TrainingConfig
from glass_ml.structures.random import generator

WARMUP = 0.05  # of the budget at most: a slow network would spend most of it on the steps of a fast one's warm-up
LEVELS = tuple(f"{sigma:g}" for sigma in VALIDATION_SIGMAS)


@dataclass
class Trained:
    """A trained network.

    Attributes:
        denoiser: with averaged weights.
        curve: (core-seconds, steps, held-out loss by noise level) on the way; the last one is the result.
        steps: optimiser steps.
        seconds: core-seconds of training, evaluations apart.
    """

    denoiser: nn.Module
    curve: list[tuple[float, int, dict[str, float]]] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0


@torch.no_grad()
def held_out_loss(denoiser: nn.Module, data: StructureFile, structures: int) -> dict[str, float]:
    """Denoising loss by noise level on the same held-out structures with the same noise for every network."""
    items = ValidationItems(data, structures)
    found: dict[str, list[float]] = {level: [] for level in LEVELS}
    for k in range(len(items)):
        batch = collate([items[k]])
        sigma = min(VALIDATION_SIGMAS, key=lambda s: abs(s - float(batch.sigma[0])))
        found[f"{sigma:g}"].append(float(DenoisingModule.loss(denoiser, batch)))
    return {level: math.fsum(values) / len(values) for level, values in found.items()}


def train_for(
    denoiser: nn.Module,
    data: StructureFile,
    seconds: float,
    *,
    noise: NoiseConfig,
    training: TrainingConfig,
    rotate: bool = False,
    looks: int = 8,
    report: Callable[[str], None] = lambda line: None,
) -> Trained:
    """Train in place for `seconds` of this process's time.

    The learning rates rise over `training.warmup` steps or 5 % of the budget, whichever ends first, and fall to zero
    as a cosine of the share spent. Loss, optimiser, clipping and moving average are those of `DenoisingModule`.

    Args:
        denoiser: `denoise(structures, sigma)`; trained in place.
        data: prepared structures.
        seconds: budget, process time.
        noise: distribution of the training noise.
        training: batch, learning rates, warm-up, clip, moving average, seed and held-out structures; its `steps` are
            not used.
        rotate: turn every training structure at random.
        looks: evaluations on the way, evenly over the budget, the last at its end.
        report: called with a line of text at each.
    """

    def follow(average: torch.Tensor, current: torch.Tensor, n: torch.Tensor | int) -> torch.Tensor:
        return average.lerp(current, 1 - min(training.ema, (1 + int(n)) / (10 + int(n))))

    average = AveragedModel(denoiser, avg_fn=follow).requires_grad_(False)
    weights = [p for p in denoiser.parameters() if p.requires_grad]
    solver = MatrixOptimiser(weights, matrix_rate=training.matrix_rate, rate=training.learning_rate)
    peaks = [group["lr"] for group in solver.param_groups]
    items = TrainingItems(data, noise, training.seed, 0, 1 << 40)
    turns = generator(training.seed, "rotations")
    result = Trained(average.module)
    start, looking = time.process_time(), 0.0
    while True:
        result.seconds = time.process_time() - start - looking
        share = result.seconds / seconds
        if share * looks >= len(result.curve) + 1:
            before = time.process_time()
            losses = held_out_loss(average.module, data, training.validation_structures)
            looking += time.process_time() - before
            result.curve.append((result.seconds, result.steps, losses))
            mean = sum(losses.values()) / len(losses)
            report(f"{result.seconds / 60:6.2f} core-minutes, {result.steps:6d} steps, held-out loss {mean:.4f}")
            if not math.isfinite(mean) or share >= 1:
                return result
        warm = max((result.steps + 1) / max(1, training.warmup), share / WARMUP)
        factor = min(1.0, warm) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
        for group, peak in zip(solver.param_groups, peaks, strict=True):
            group["lr"] = factor * peak
        batch = [items[result.steps * training.batch + k] for k in range(training.batch)]
        if rotate:
            batch = [rotated(item, random_rotation(turns)) for item in batch]
        solver.zero_grad(set_to_none=True)
        DenoisingModule.loss(denoiser, collate(batch)).backward()
        nn.utils.clip_grad_norm_(weights, training.clip)
        solver.step()
        average.update_parameters(denoiser)
        result.steps += 1
