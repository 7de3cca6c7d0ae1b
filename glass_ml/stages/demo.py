"""Stage `invert` of dvc.yaml: the held-out target of a system, inverted, evaluated and recorded."""

from __future__ import annotations

import json
from pathlib import Path

from glass_ml.files import write_json
from glass_ml.settings.recipe import system_config
from glass_ml.stages import run_stage
from glass_ml.stages.evaluate import evaluate
from glass_ml.stages.invert import invert

RECEIPT = ("model_sha256", "target_sha256", "params_sha256", "seed")


def invert_held_out(system: str) -> None:
    """Invert `targets/SYSTEM` into `inversions/SYSTEM` and compare with the reference structures.

    The receipt names what went in. DVC watches it and not the structures: these carry the git commit and differ in
    the last digits between processors, which must not make a finished stage look stale.
    """
    folder = Path("inversions") / system
    invert(Path("targets") / system / "target.yaml", folder)
    evaluate(folder, Path("data") / system / system_config(system).target.reference)
    lineage = json.loads((folder / "lineage.json").read_text(encoding="utf-8"))
    write_json(folder / "receipt.json", {key: lineage[key] for key in RECEIPT})


if __name__ == "__main__":
    run_stage(invert_held_out)
