"""Stage `train`: the prior of a system, tracked and resumable. Its recipe is added by the stage `card`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger, MLFlowLogger
from pytorch_lightning.loggers.logger import DummyLogger

from glass_ml.checkpoint import WEIGHTS
from glass_ml.config import as_mapping
from glass_ml.execution.devices import Devices, first_process
from glass_ml.files import sha256_file, sha256_text
from glass_ml.priors.dataset import StructureFile
from glass_ml.priors.training import train_prior
from glass_ml.provenance.data import DataIdentity
from glass_ml.provenance.lineage import canonical_json
from glass_ml.settings.recipe import system_config
from glass_ml.stages import run_stage
from glass_ml.tracking.registry import WEIGHTS_TAG
from glass_ml.tracking.runs import start_run
from glass_ml.tracking.store import open_store


def train(system: str, devices: Devices | None = None) -> dict[str, float]:
    """Train the prior of a system into `trained/SYSTEM`; returns its held-out losses.

    The state of an unfinished training lies in `training/SYSTEM-<recipe>`; the same recipe on the same data and as many
    processes goes on from there, any other starts anew. Of several processes the first records, and the others return
    nothing.

    Raises:
        InputError: no such system, data or devices.
    """
    options = (devices or Devices()).trainer_options()
    config = system_config(system)
    data = StructureFile(Path("prepared") / system)
    recipe: dict[str, Any] = {
        key: as_mapping(getattr(config, key)) for key in ("prepare", "network", "noise", "training")
    }
    recipe["processes"] = options["devices"] * options["num_nodes"]  # each has a batch of its own in a step
    key = sha256_text(canonical_json([recipe, data.meta]))
    state = Path("training") / f"{system}-{key[:12]}"
    folder = Path("trained") / system

    def fit(logger: Logger) -> dict[str, float]:
        return train_prior(
            data,
            folder,
            state,
            system=system,
            network=config.network,
            noise=config.noise,
            training=config.training,
            loggers=[logger],
            trainer_options=options,
        )

    if not first_process():
        return fit(DummyLogger())
    store = open_store()
    identity = DataIdentity(data.meta["source_path"], data.meta["source_md5"])
    with start_run(
        stage="train", system=system, name=f"train {system}", store=store, params=recipe, data=identity, key=key
    ) as run:
        losses = fit(MLFlowLogger(tracking_uri=store.uri, run_id=run.id))
        run.set_tags({WEIGHTS_TAG: sha256_file(folder / WEIGHTS)})
    shutil.rmtree(state, ignore_errors=True)
    return losses


if __name__ == "__main__":
    run_stage(train)
