"""Stage `register`: the prior of a system as a version in the model registry."""

from __future__ import annotations

from pathlib import Path

from glass_ml.files import write_json
from glass_ml.stages import run_stage
from glass_ml.tracking.registry import register_prior


def register(system: str) -> None:
    """Register `models/SYSTEM`; the same content twice is one version. The receipt names the content."""
    done = register_prior(Path("models") / system, system=system)
    write_json(Path("mlruns") / f"registered-{system}.json", {"model_sha256": done.sha256})


if __name__ == "__main__":
    run_stage(register)
