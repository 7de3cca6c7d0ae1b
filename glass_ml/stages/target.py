"""Stage `target`: the held-out target of a system, simulated from reference structures that no prior has seen."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import yaml
from torch import Tensor

from glass_ml.errors import InputError
from glass_ml.files import write_text
from glass_ml.observables.registry import make_observable
from glass_ml.stages.params import system_config
from glass_ml.structures.io import from_atoms, read_frames
from glass_ml.structures.random import generator
from glass_ml.structures.state import Structures

BROADENING = 0.05
"""Width (Å) of the Gaussian that smooths the simulated and the fitted g(r): half the spacing of a usual g(r)."""


def make_target(system: str) -> Path:
    """Write `targets/SYSTEM/target.yaml` and the two simulated spectra it names; returns the folder."""
    config = system_config(system).target
    source = Path("data") / system / config.reference
    frames = [a for a in read_frames(source) if a.info.get("state", "thermal") == "thermal"]
    if not frames:
        raise InputError("no thermal frame", str(source), "choose another reference in params.yaml")
    structures = from_atoms(frames)
    folder = Path("targets") / system
    label = f"simulated from {source.as_posix()}, mean of {len(frames)} frames at 300 K"

    r = torch.arange(20, round(config.r_max / 0.05) + 1, dtype=torch.float64) * 0.05
    model = make_observable("gr", r, radiation=config.radiation, broadening=BROADENING)
    g = model.forward(structures).mean(0)
    g = g + config.noise * torch.randn(g.shape, generator=generator(0, "target", system), dtype=g.dtype)
    _write(folder / "gr.csv", f"g(r), {config.radiation}-weighted, {label}, noise {config.noise}", "r (Å),g", r, g)

    q, spectrum = _held_out(structures, config.validate, config.q_range)
    _write(folder / "held-out.csv", f"{config.validate}, {label}", f"Q (1/Å),{config.validate}", q, spectrum)
    amounts = frames[0].symbols.formula.reduce()[0].count()
    content = {
        "system": system,
        "composition": amounts,
        "density": round(float(structures.density.mean()), 6),
        "note": f"Not measured: {label}.",
        "measurements": [
            {
                "file": "gr.csv",
                "kind": "gr",
                "name": "g(r)",
                "radiation": config.radiation,
                "broadening": BROADENING,
                "sigma": config.noise,
            },
            {"file": "held-out.csv", "kind": config.validate, "name": "held out", "use": "validate", "sigma": 0.05},
        ],
    }
    write_text(folder / "target.yaml", yaml.safe_dump(content, sort_keys=False, width=120))
    return folder


def _held_out(structures: Structures, kind: str, q_range: tuple[float, float]) -> tuple[Tensor, Tensor]:
    # The sum over the cells' own reciprocal vectors: no window that the comparison would then apply twice.
    q = torch.arange(q_range[0], q_range[1], 0.1, dtype=torch.float64)
    model = make_observable(kind, q, method="reciprocal", cells=structures)
    return model.grid, model.forward(structures).mean(0)


def _write(path: Path, title: str, columns: str, x: Tensor, y: Tensor) -> None:
    rows = "\n".join(f"{a:.4f},{b:.6f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))
    write_text(path, f"# {title}\n# {columns}\n{rows}\n")


if __name__ == "__main__":
    make_target(sys.argv[1])
