"""The comparison in MLflow: one experiment, a parent run per system and budget, a child per network."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from glass_ml.files import sha256_text
from glass_ml.provenance.project import code_identity
from glass_ml.tracking.runs import KEY, Run
from glass_ml.tracking.store import Store, open_store

EXPERIMENT = "architectures"
ABOUT = (
    "Networks at equal core-minutes. The step of a metric is the core-seconds spent in training, so that curves are "
    "compared at equal cost; val/loss_0.25 is the held-out loss at a noise level of 0.25 Å, as in the stage `train`."
)


def record(system: str, minutes: float, rows: Sequence[Mapping[str, Any]], figure: Path | None) -> None:
    """Record a comparison once: the same networks on the same data again add nothing.

    Args:
        system: the material.
        minutes: budget of each network, core-minutes.
        rows: results as `benchmarks/architectures.py` writes them, with their `key`.
        figure: kept with the parent.
    """
    store = open_store()
    experiment = _experiment(store)
    key = sha256_text(" ".join([system, *(row["key"] for row in rows)]))
    parent = _run(store, experiment, f"{system}, {minutes:g} core-minutes", key, system)
    if figure is not None:
        parent.log_artifact(figure)
    best = min(rows, key=lambda row: row["mean_loss"])
    parent.set_tags({"best": best["name"]})
    parent.log_metrics({"best/val/loss": best["mean_loss"]})
    store.client.set_terminated(parent.id)
    for row in rows:
        child = _run(store, experiment, row["name"], sha256_text(key + row["key"]), system, parent.id)
        if store.client.get_run(child.id).info.status == "FINISHED":
            continue
        child.log_params(row["settings"])
        for seconds, steps, losses in row["curve"]:
            mean = sum(losses.values()) / len(losses)
            by_level = {f"val/loss_{level}": value for level, value in losses.items()}
            child.log_metrics({"val/loss": mean, **by_level, "optimiser_steps": steps}, step=round(seconds))
        child.log_metrics({"parameters": row["parameters"], "core_minutes": row["core_minutes"]})
        child.log_metrics({"samples": row["samples"]})
        store.client.set_terminated(child.id)


def _experiment(store: Store) -> str:
    found = store.client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return found.experiment_id
    location = None if store.uri.startswith("http") else (store.folder / "artifacts" / EXPERIMENT).as_uri()
    return store.client.create_experiment(EXPERIMENT, artifact_location=location, tags={"mlflow.note.content": ABOUT})


def _run(store: Store, experiment: str, name: str, key: str, system: str, parent: str | None = None) -> Run:
    """The run of this key, made where there is none."""
    found = store.client.search_runs([experiment], f"tags.`{KEY}` = '{key}'")
    if found:
        return Run(found[0].info.run_id, store)
    code = code_identity()
    tags = {
        KEY: key,
        "system": system,
        "git_commit": code.git_commit,
        "git_dirty": str(code.git_dirty),
        "code_sha256": code.code_sha256,
        "mlflow.source.name": "benchmarks/architectures.py",
        **({"mlflow.parentRunId": parent} if parent else {}),
    }
    return Run(store.client.create_run(experiment, run_name=name, tags=tags).info.run_id, store)
