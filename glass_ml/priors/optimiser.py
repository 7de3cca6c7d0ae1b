"""Orthogonalised steps for weight matrices: a network of small matrices learns more per minute than with Adam alone.

The momentum of every matrix is replaced by the nearest matrix with orthonormal rows or columns, so that all
directions of weight space move alike. Vectors and matrices of few rows or columns are left to Adam.
Sources: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; Liu et al. 2025, arXiv:2502.16982.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic Newton-Schulz iteration; steep at zero, so that five rounds take singular values to 0.7-1.2."""

ROUNDS = 5
SMALLEST_SIDE = 8  # a matrix with fewer rows or columns has too few directions to level


def orthogonalise(matrices: Tensor) -> Tensor:
    """Bring the singular values of matrices (..., m, n) near one, in the precision they come in."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / x.flatten(-2).norm(dim=-1).clamp(min=1e-7)[..., None, None]
    for _ in range(ROUNDS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class MatrixOptimiser(Optimizer):
    """Muon for matrices, Adam for everything else, as one optimiser.

    Args:
        parameters: the trained weights.
        matrix_rate: learning rate of the matrices: the size (root mean square over the longer side's directions) of
            a step, scaled by sqrt(rows / columns) for tall ones; 0 gives them to Adam.
        rate: learning rate of Adam.
        momentum: of the matrices, Nesterov's.
        betas: decay of Adam's moments.
        eps: added to Adam's denominator.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        matrix_rate: float,
        rate: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ):
        chosen: dict[bool, list[Tensor]] = {True: [], False: []}
        for p in parameters:
            chosen[matrix_rate > 0 and p.ndim == 2 and min(p.shape) >= SMALLEST_SIDE].append(p)
        groups: list[dict[str, Any]] = [
            {"params": chosen[True], "lr": matrix_rate, "matrices": True},
            {"params": chosen[False], "lr": rate, "matrices": False},
        ]
        super().__init__([g for g in groups if g["params"]], {"momentum": momentum, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step down the gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            trained = [p for p in group["params"] if p.grad is not None]
            (self._step_matrices if group["matrices"] else self._step_adam)(trained, group)
        return loss

    def _step_matrices(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        # Matrices of one shape go through one batched iteration.
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for p in matrices:
            by_shape.setdefault(p.shape, []).append(p)
        for (rows, columns), members in by_shape.items():
            looks = []
            for p in members:
                assert p.grad is not None
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                buffer = state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                looks.append(p.grad.lerp(buffer, group["momentum"]))
            step = group["lr"] * max(1.0, rows / columns) ** 0.5
            torch._foreach_add_(members, list(orthogonalise(torch.stack(looks))), alpha=-step)

    def _step_adam(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        for p in weights:
            assert p.grad is not None
            state = self.state[p]
            if not state:
                state["step"] = torch.zeros(())
                state["mean"], state["square"] = torch.zeros_like(p), torch.zeros_like(p)
            state["step"] += 1
            mean = state["mean"].lerp_(p.grad, 1 - beta1)
            square = state["square"].mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)
            n = float(state["step"])
            denominator = (square / (1 - beta2**n)).sqrt_().add_(group["eps"])
            p.addcdiv_(mean, denominator, value=-group["lr"] / (1 - beta1**n))
