"""What the sampler asks of a prior and of a likelihood; it knows neither networks nor instruments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from glass_ml.structures.state import Structures


class Denoiser(Protocol):
    """A prior over structures, seen through its denoiser; the score is (denoise(x) - x) / sigma^2.

    Attributes:
        shortest: rows (Z1, Z2, Å) of the shortest distance that each pair of elements has in its data.
    """

    @property
    def shortest(self) -> Sequence[Sequence[float]]:
        """See the class."""
        ...

    def denoise(self, structures: Structures, sigma: float) -> Tensor:
        """Expected clean positions (N, 3), Å, of structures with Gaussian noise `sigma` (Å) per coordinate."""
        ...

    def spread(self, sigma: float) -> float:
        """Standard deviation (Å) per coordinate of the clean positions around that expectation."""
        ...


class Likelihood(Protocol):
    """How well structures explain the fitted measurements."""

    def residuals(self, structures: Structures) -> Tensor:
        """Weighted residuals (R, n), each of unit variance under the measurement's uncertainty.

        R is the number of systems, or one where the mean over the systems is fitted. Differentiable in the
        positions.
        """
        ...

    def linearise(self, structures: Structures) -> tuple[Tensor, Tensor]:
        """Residuals (R, k), as few as carry the same information, and their derivatives (k, N, 3).

        The derivative in an atom is that of its own system's residuals. Their sum of squares may differ from that of
        `residuals` by a constant.
        """
        ...
