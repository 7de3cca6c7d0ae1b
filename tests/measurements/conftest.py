"""Files and structures that the tests of the measurements share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from model_silicon import disordered_silicon

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def shared_data():
    """The folder of measured spectra beside the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"no measured spectra at {SHARED}")
    return SHARED


@pytest.fixture
def silicon():
    return disordered_silicon(copies=2)


@pytest.fixture
def write_target(tmp_path):
    """Write data.csv and target.yaml; returns a function of (data text, yaml text) that gives the target's path."""

    def write(data=None, text=None, name="target.yaml", **changes):
        if data is None:
            q = np.arange(0.2, 20, 0.1)
            data = "\n".join(f"{a:.3f},{1 + 0.5 * np.sin(2.4 * a) / a:.5f}" for a in q)
        (tmp_path / "data.csv").write_text(data)
        lines = {"system": "a-Si", "composition": "{Si: 1}", "density": "0.0489", **changes}
        measurement = text or "  - {file: data.csv, kind: xray-sq}"
        body = "\n".join(f"{k}: {v}" for k, v in lines.items() if v is not None)
        path = tmp_path / name
        path.write_text(f"{body}\nmeasurements:\n{measurement}\n")
        return path

    return write
