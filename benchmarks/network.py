"""Time of one network call and of one guided step of each prior, on one core.

    python benchmarks/network.py

prints medians over 20 calls for 216 atoms in a random packing, where a noisy structure has most neighbours to visit.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from glass_ml.measurements.likelihood import build_likelihood
from glass_ml.measurements.target import load_target
from glass_ml.priors.checkpoint import load_prior
from glass_ml.sampling.config import make_guidance
from glass_ml.stages.params import system_config, system_names
from glass_ml.structures.packing import random_packing
from glass_ml.structures.random import generator

SIGMA = 0.3


def median_ms(action: Callable[[], object], calls: int = 20) -> float:
    times = []
    for _ in range(calls + 3):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times[3:])


def main() -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    print(f"{'prior':<10}{'call, ms':>12}{'guided step, ms':>18}")
    for system in system_names():
        prior = load_prior(Path("models") / system)
        target = load_target(Path("targets") / system / "target.yaml")
        start = random_packing(target.composition, target.density, 216, [generator(0, "benchmark")])
        guidance = make_guidance(system_config(system).sampling.guidance, prior, build_likelihood(target, start))
        with torch.no_grad():
            call = median_ms(lambda p=prior, s=start: p.denoise(s, SIGMA))
            step = median_ms(lambda g=guidance, s=start: g.estimate(s, SIGMA, torch.randn_like))
        print(f"{system:<10}{call:>12.1f}{step:>18.1f}")


if __name__ == "__main__":
    main()
