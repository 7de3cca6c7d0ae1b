"""Real spherical harmonics and sums over neighbours: what every network over neighbourhoods is made of."""

from __future__ import annotations

import math

import torch
from torch import Tensor

DEGREES = 4  # l = 0, 1, 2, 3
HARMONICS = DEGREES**2


def spherical_harmonics(unit: Tensor) -> Tensor:
    """Real spherical harmonics up to l = 3 of unit vectors (E, 3), as (E, 16), ordered by l.

    Normalised so that sum_m Y_lm(u) Y_lm(v) = P_l(u.v) (Legendre polynomials).
    """
    x, y, z = unit.unbind(-1)
    x2, y2, z2 = x * x, y * y, z * z
    s3, s15, s10, s6 = math.sqrt(3), math.sqrt(15), math.sqrt(10), math.sqrt(6)
    return torch.stack(
        [
            torch.ones_like(x),
            x,
            y,
            z,
            s3 * x * y,
            s3 * y * z,
            0.5 * (3 * z2 - 1),
            s3 * x * z,
            0.5 * s3 * (x2 - y2),
            0.25 * s10 * y * (3 * x2 - y2),
            s15 * x * y * z,
            0.25 * s6 * y * (5 * z2 - 1),
            0.5 * z * (5 * z2 - 3),
            0.25 * s6 * x * (5 * z2 - 1),
            0.5 * s15 * z * (x2 - y2),
            0.25 * s10 * x * (x2 - 3 * y2),
        ],
        dim=-1,
    )


def gather_sum(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Sum rows of `values` (E, ...) that share an index into (size, ...)."""
    return values.new_zeros(size, *values.shape[1:]).index_add_(0, index, values)
