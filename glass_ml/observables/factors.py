"""Scattering factors of the elements: X-ray f0(Q) and neutron coherent scattering lengths."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from ase.data import chemical_symbols
from torch import Tensor

from glass_ml.errors import InputError

BARN = 0.01
"""Barn in fm^2 is 100: a product of two lengths in fm times this is in barn."""


def xray_f0(elements: Sequence[int], q: Tensor) -> Tensor:
    """Elastic X-ray scattering factors of neutral atoms, (E, n), electrons, float64, at Q (n,), 1/Å.

    Source: Waasmaier and Kirfel, Acta Cryst. A51, 416 (1995), as tabulated in xraydb.
    """
    import xraydb

    s = q.detach().cpu().double().numpy() / (4 * np.pi)
    return torch.stack([torch.from_numpy(np.atleast_1d(xraydb.f0(int(z), s))) for z in elements])


@lru_cache(maxsize=256)
def neutron_length(z: int) -> float:
    """Bound coherent neutron scattering length of an element, fm (real part), from periodictable.

    Raises:
        InputError: none is tabulated.
    """
    import periodictable

    length = periodictable.elements[int(z)].neutron.b_c
    if length is None:
        raise InputError(f"no neutron scattering length of {chemical_symbols[z]} is tabulated", "composition")
    return float(length)


def neutron_lengths(elements: Sequence[int]) -> Tensor:
    """Coherent scattering lengths, (E,), fm, float64."""
    return torch.tensor([neutron_length(z) for z in elements], dtype=torch.float64)
