"""A cross-validation in MLflow: one run that is the parent of its inversions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from glass_ml.errors import InputError
from glass_ml.files import sha256_file, sha256_text
from glass_ml.provenance.lineage import canonical_json
from glass_ml.tracking.inversions import FILES, load_lineage, log_inversion
from glass_ml.tracking.mirror import PARENT, mirror
from glass_ml.tracking.runs import KEY, Run, find_run, start_run
from glass_ml.tracking.store import Store, open_store

RESULT = "cross-validation.json"


def log_cross_validation(folder: Path | str, metrics: Mapping[str, float], *, store: Store | None = None) -> str:
    """Record a finished cross-validation as the parent of its inversions; the same twice is one run.

    Args:
        folder: what `glass-ml invert --cross-validate` has written; inversions that are not recorded yet are.
        metrics: numbers of the parent.
        store: default: the project's.

    Returns:
        The run id of the parent.

    Raises:
        InputError: the folder holds no cross-validation, or the store cannot be opened.
    """
    folder = Path(folder)
    try:
        content = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        folders = [folder / row["folder"] for row in content["rows"]]
        name = f"cross-validation {Path(content['target']).stem}"
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"no cross-validation: {RESULT} is missing or damaged", str(folder)) from None
    # The inversions and not their folder: a moved project is the same.
    inside = [sha256_file(f / FILES[0]) for f in folders if (f / FILES[0]).is_file()]
    key = sha256_text(canonical_json(["cross-validation", *inside]))
    store = store or open_store()
    children = [log_inversion(inversion, store=store) for inversion in folders]
    with store.lock():
        known = find_run(store, KEY, key)
        if known is None:
            system = load_lineage(folders[0]).system
            with start_run(stage="invert", system=system, name=name, store=store, key=key, live=False) as run:
                run.log_metrics(metrics)
            known = run.id
        for child in children:
            Run(child, store).set_tags({PARENT: known})
    for one in (known, *children):
        mirror(store, one)
    return known
