"""Stage `register`: the prior of a system as a version in the model registry."""

from __future__ import annotations

import sys
from pathlib import Path

from glass_ml.files import write_json
from glass_ml.provenance.lineage import model_sha256
from glass_ml.tracking.registry import register_prior


def register(system: str) -> None:
    """Register `models/SYSTEM`; the same content twice is one version. The receipt names the content."""
    folder = Path("models") / system
    register_prior(folder, system=system)
    write_json(Path("mlruns") / f"registered-{system}.json", {"model_sha256": model_sha256(folder)})


if __name__ == "__main__":
    register(sys.argv[1])
