"""A structure moved onto the data by L-BFGS, without a prior: the baseline to beat."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import torch

from glass_ml.measurements.likelihood import Likelihood
from glass_ml.structures.state import Structures

CONVERGED = 1000
"""Iterations after which a relaxation is taken for converged."""


def relaxed(start: Structures, likelihood: Likelihood, stops: Sequence[int]) -> Iterator[tuple[int, Structures, float]]:
    """Minimise chi^2 / 2 from `start` (one system); yields iterations, structure and CPU seconds at every stop.

    L-BFGS with a strong Wolfe line search (Nocedal and Wright, Numerical Optimization, 2nd ed., algorithm 7.5), one
    optimiser from the first to the last stop, so that the curvature that it has learned is kept.
    """
    positions = start.positions.double().clone().requires_grad_(True)
    start = start.to(dtype=torch.float64)
    optimiser = torch.optim.LBFGS([positions], line_search_fn="strong_wolfe", tolerance_change=1e-12)
    group = optimiser.param_groups[0]
    began = time.process_time()

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = 0.5 * likelihood.residuals(start.at(positions)).square().sum()
        loss.backward()
        return loss

    done = 0
    for stop in sorted(stops):
        if stop > done:
            group["max_iter"], group["max_eval"] = stop - done, 10 * (stop - done)
            optimiser.step(closure)
            done = stop
        yield stop, start.at(positions.detach().clone()).wrapped(), time.process_time() - began
