"""Ensembles of amorphous structures from measured spectra, with a learned prior and full lineage.

    import glass_ml as gm
    target = gm.Target({"Si": 1}, "2.28 g/cm3", [gm.xray_sq(q, s, sigma=0.02)])
    ensemble = gm.invert(target, prior="a-Si", n=4, atoms=216)

Everything public is in `__all__` and documented in `glass_ml.api`. It is imported when it is first used, so that what
needs no torch does not wait for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glass_ml.api import (
        Ensemble,
        InputError,
        LoadedPrior,
        Target,
        describe,
        exafs,
        gr,
        invert,
        kinds,
        lineage,
        load_prior,
        load_target,
        measurement,
        neutron_fq,
        neutron_sq,
        pdf,
        spectrum,
        xanes,
        xray_fq,
        xray_sq,
    )

__version__ = "0.1.0"
__all__ = [
    "Ensemble",
    "InputError",
    "LoadedPrior",
    "Target",
    "__version__",
    "describe",
    "exafs",
    "gr",
    "invert",
    "kinds",
    "lineage",
    "load_prior",
    "load_target",
    "measurement",
    "neutron_fq",
    "neutron_sq",
    "pdf",
    "spectrum",
    "xanes",
    "xray_fq",
    "xray_sq",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'glass_ml' has no attribute '{name}'")
    return getattr(import_module("glass_ml.api"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
