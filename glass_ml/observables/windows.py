"""Real-space windows, the same for model and measurement."""

import numpy as np

from glass_ml.errors import InputError

WINDOWS = ("lorch", "none")


def real_space_window(r: np.ndarray, limit: float, name: str) -> np.ndarray:
    """Weight of g(r) - 1 at r (Å): 'lorch' is sin(pi r/L)/(pi r/L), 'none' is 1; both zero beyond L = `limit`.

    'none' falls to zero over the last 0.1 Å, so that a spectrum stays smooth in the positions.
    Source: Lorch, J. Phys. C 2, 229 (1969).

    Raises:
        InputError: unknown name.
    """
    if name == "lorch":
        return np.where(r < limit, np.sinc(r / limit), 0.0)
    if name == "none":
        return 0.5 * (1 + np.cos(np.pi * np.clip((r - limit + 0.1) / 0.1, 0, 1)))
    raise InputError(f"unknown window '{name}'", "window", f"one of {', '.join(WINDOWS)}")
