"""A project in small: an untrained prior of silicon and a target, quick to make and quick to invert."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch

TARGET = """\
system: a-Si
composition: {Si: 1}
density: 0.05
measurements:
  - {file: gr.csv, kind: gr, sigma: 0.05, broadening: 0.1}
  - {file: sq.csv, kind: xray-sq, use: validate, sigma: 0.05}
"""


def git(folder: Path, *arguments: str) -> None:
    """Run git in a folder, with a name of its own."""
    who = ["-c", "user.name=tester", "-c", "user.email=tester@example.org"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def write_small_prior(folder: Path, seed: int = 0, **changed: Any) -> Path:
    """An untrained prior of silicon, as a checkpoint folder; `changed` goes to its card."""
    from glass_ml.priors.checkpoint import save_prior
    from glass_ml.priors.prior import Prior
    from glass_ml.settings.prior import NetworkConfig

    torch.manual_seed(seed)
    prior = Prior((14,), NetworkConfig(cutoff=3.0, features=8, layers=1, channels=2, radial=8))
    card = {
        "system": "a-Si",
        "sigma_min": 0.02,
        "sigma_max": 1.8,
        "shortest": [[14, 14, 2.0]],
        "density_range": [0.042, 0.05],
        "held_out_loss": {"0.10": 0.5, "1.00": 0.9},
        "data_path": "data",
        "data_md5": "0" * 32 + ".dir",
    }
    save_prior(folder, prior, card | changed)
    return folder


def write_target(folder: Path, text: str = TARGET) -> Path:
    """target.yaml with a g(r) that is fitted and an S(Q) that is held out."""
    r = np.arange(1.0, 6.0, 0.05)
    g = 1 - np.exp(-((r - 0.5) ** 4) / 6) + 2 * np.exp(-(((r - 2.35) / 0.12) ** 2))
    q = np.arange(1.0, 12.0, 0.05)
    folder.mkdir(parents=True, exist_ok=True)
    np.savetxt(folder / "gr.csv", np.column_stack([r, g]), delimiter=",", fmt="%.5f")
    np.savetxt(folder / "sq.csv", np.column_stack([q, 1 + np.sin(2.35 * q) / (2.35 * q)]), delimiter=",", fmt="%.5f")
    path = folder / "target.yaml"
    path.write_text(text)
    return path
