"""Stage `invert`: from a target to an ensemble with lineage, figures, a report and a tracked run."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glass_ml.errors import InputError
from glass_ml.execution.devices import Devices, first_process
from glass_ml.execution.processes import run_inversions
from glass_ml.measurements.target import load_target
from glass_ml.stages.outputs import SCRATCH, check_copies, finished_metrics, make_folder, write_inversion
from glass_ml.stages.plan import plan
from glass_ml.stages.sync import record
from glass_ml.tracking.runs import preload


def invert(
    target_file: Path | str,
    out: Path | str,
    *,
    model: str | None = None,
    n_structures: int | None = None,
    n_atoms: int | None = None,
    seed: int | None = None,
    processes: int | None = None,
    devices: Devices | None = None,
    track: bool = True,
    tags: Mapping[str, str] | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Make the ensemble of a target and everything that goes with it in `out`; returns the metrics.

    Model and numbers are those of `plan`. Finished replicas of an interrupted inversion are kept; a finished inversion
    is not made again. Replicas are computed by `processes` on this machine's cores, or by `devices` where any are
    stated; how many does not enter the result. Under a launcher the first process writes, and the others return
    nothing. `tags` are those of its run, which is kept for `glass-ml sync` where the tracking server does not answer.

    Raises:
        InputError: as `plan`; devices that are not there; a folder that cannot be written to.
    """
    out, devices = Path(out), devices or Devices()
    devices.trainer_options()
    if processes is not None and devices.stated:
        raise InputError("stands beside devices", "--processes", "give the one or the other")
    if processes is not None and processes < 1:
        raise InputError(f"{processes} processes", "--processes", "give at least one")
    made = plan(
        load_target(target_file), model=model, n_structures=n_structures, n_atoms=n_atoms, seed=seed,
        device=devices.label,
    )  # fmt: skip
    check_copies(made.target, out)
    make_folder(out)
    metrics = finished_metrics(out, made.identity)
    if metrics is None:
        if track:
            preload()
        if progress and first_process():
            print(made.recipe, file=sys.stderr)
        # Another kind of device rounds otherwise: it takes up its own replicas alone.
        replicas = made.replicas(out / SCRATCH / f"{made.identity[:16]}-{'gpu' if devices.gpu else 'cpu'}")
        if devices.stated:
            from glass_ml.execution.lightning import compute_replicas  # here: seconds that processes need not wait

            compute_replicas(replicas, devices, progress=progress)
            if not first_process():
                return {}
        else:
            run_inversions([replicas], processes=processes or made.sizes.processes, progress=progress)
        metrics = write_inversion(out, made, replicas.collect())
        shutil.rmtree(out / SCRATCH)
    if not first_process():
        return {}
    if track:
        record("inversion", out, tags=dict(tags or {}))
    return metrics
