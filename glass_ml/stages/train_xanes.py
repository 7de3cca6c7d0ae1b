"""Stage `train_xanes`: a learned observable from spectra per atom, tracked and resumable."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger, MLFlowLogger

from glass_ml.config import as_mapping
from glass_ml.files import sha256_text
from glass_ml.provenance.data import data_identity
from glass_ml.provenance.lineage import canonical_json
from glass_ml.settings.recipe import surrogate_config
from glass_ml.stages import run_stage
from glass_ml.surrogates.dataset import read_spectra
from glass_ml.surrogates.training import train_surrogate
from glass_ml.tracking.registry import register_prior
from glass_ml.tracking.runs import start_run
from glass_ml.tracking.store import open_store


def train_xanes(name: str, folder: Path | str | None = None) -> dict[str, Any]:
    """Train the surrogate of a name into `models/NAME` and register it; returns its held-out errors by fold.

    The state of an unfinished training lies in `training/NAME-<recipe>`; the same recipe on the same data goes on from
    there, any other starts anew.

    Args:
        name: of a recipe in params.yaml.
        folder: the data, instead of those that the recipe names.

    Raises:
        InputError: no such recipe, or data that are absent or malformed.
    """
    config = surrogate_config(name)
    where = Path(config.data if folder is None else folder)
    data = read_spectra(where, config.absorber)
    identity = data_identity(where)
    recipe = {key: value for key, value in as_mapping(config).items() if key != "data"}
    key = sha256_text(canonical_json([recipe, identity.md5]))
    state = Path("training") / f"{name}-{key[:12]}"
    models = Path("models") / name
    store = open_store()
    with start_run(
        stage="train", system=name, name=f"train {name}", store=store, params=recipe, data=identity, key=key
    ) as run:

        def loggers(part: str) -> list[Logger]:
            # Members are trained one after the other: the curve of a run is that of the surrogate that is kept.
            return [MLFlowLogger(tracking_uri=store.uri, run_id=run.id)] if part == "all" else []

        errors = train_surrogate(
            data,
            models,
            state,
            name=name,
            config=config.surrogate,
            training=config.training,
            source={"data_path": identity.path, "data_md5": identity.md5},
            edge=config.edge,
            loggers=loggers,
        )
        register_prior(models, system=name, metrics={"held_out": errors}, data=identity, run=run, store=store)
    shutil.rmtree(state, ignore_errors=True)
    return errors


if __name__ == "__main__":
    run_stage(train_xanes)
