"""The experiments of a store, and what the page of each says: what its runs are, and which numbers compare them."""

from __future__ import annotations

import json
from dataclasses import dataclass

NOTE = "mlflow.note.content"
"""Tag whose Markdown the page of a run or an experiment opens with."""

VIEW = "headline"
"""Key of the view that each experiment comes with: its runs, the headline metrics as columns."""

VIEW_NAME = "Headline numbers"
WORKFLOW = "workflowType=machine_learning"
"""What an address of the page needs for the menu to be that of trainings and models, and not of chat programs."""


@dataclass(frozen=True)
class Experiment:
    """What an experiment holds.

    Attributes:
        runs: what its runs are, Markdown.
        metrics: those that compare its runs, most telling first.
        tags: those that a person finds a run by.
    """

    runs: str
    metrics: tuple[str, ...]
    tags: tuple[str, ...]

    def labels(self) -> dict[str, str]:
        """The tags of the experiment: description and view."""
        names = {f"tags.`{name}`": name for name in self.tags} | {f"metrics.`{name}`": name for name in self.metrics}
        columns, widths = list(names), {column: max(110, 30 + 8 * len(name)) for column, name in names.items()}
        state = {"selectedColumns": columns, "columnOrder": columns, "columnWidths": widths}
        view = {"name": VIEW_NAME, "createdAt": 0, "state": json.dumps(state)}
        shown = ", ".join(f"`{name}`" for name in self.metrics)
        note = f"{self.runs} Compare by {shown}: the columns of *Views*, *{VIEW_NAME}*."
        return {NOTE: note, f"mlflow.sharedViewState.{VIEW}": json.dumps(view)}


EXPERIMENTS = {
    "priors": Experiment(
        "Trainings of priors and surrogates, and models that were registered without one.",
        ("loss.mean", "loss.0.12", "loss.0.25", "loss.0.40", "parameters", "steps"),
        ("system", "model_version"),
    ),
    "inversions": Experiment(
        "Ensembles of structures, each with its report. Runs below a run: of a cross-validation.",
        (
            "fit.r",
            "held_out.r",
            "realism.worst",
            "realism.coordination",
            "realism.angle_width",
            "gr.rmse",
            "angle.rmse",
            "diversity",
            "copied",
            "network_calls",
        ),
        ("system", "model_version"),
    ),
    "tuning": Experiment(
        "Sweeps, with the numbers of their winner, and below each its trials. Small numbers are better.",
        ("held_out", "realism", "calls", "score", "held_out_loss"),
        ("system", "winner", "state"),
    ),
    "studies": Experiment(
        "Which measurements know most of a structure: a study, and below it the choices of measurements.",
        ("gr.rmse", "angle.rmse", "coordination.emd", "rings.emd"),
        ("system", "fitted"),
    ),
}
"""Name -> what it holds; the order is that of the store."""
