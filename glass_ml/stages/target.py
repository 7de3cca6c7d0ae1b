"""Stage `target`: the held-out target of a system, simulated from reference structures that no prior has seen."""

from __future__ import annotations

from pathlib import Path

import torch

from glass_ml.settings.recipe import system_config
from glass_ml.stages import run_stage
from glass_ml.stages.probes import (
    BROADENING,
    reference_structures,
    simulate,
    with_noise,
    write_simulated_target,
    write_spectrum,
)


def make_target(system: str) -> Path:
    """Write `targets/SYSTEM/target.yaml` and the two simulated spectra it names; returns the folder."""
    config = system_config(system).target
    reference = reference_structures(Path("data") / system / config.reference)
    folder = Path("targets") / system
    fitted = {
        "file": "gr.csv",
        "kind": "gr",
        "name": "g(r)",
        "radiation": config.radiation,
        "broadening": BROADENING,
        "sigma": config.noise,
    }
    held_out = {"file": "held-out.csv", "kind": config.validate, "name": "held out", "use": "validate", "sigma": 0.05}
    r = torch.arange(20, round(config.r_max / 0.05) + 1, dtype=torch.float64) * 0.05
    r, g = simulate(fitted, r, reference)
    noise = f"{config.radiation}-weighted, {reference.label}, noise {config.noise}"
    write_spectrum(folder / "gr.csv", "gr", noise, r, with_noise(g, config.noise, 0, "target", system))
    q = torch.arange(config.q_range[0], config.q_range[1], 0.1, dtype=torch.float64)
    write_spectrum(folder / "held-out.csv", config.validate, reference.label, *simulate(held_out, q, reference))
    write_simulated_target(folder, system, reference, [fitted, held_out])
    return folder


if __name__ == "__main__":
    run_stage(make_target)
