"""What the MLflow page shows of a run first: numbers of fixed names, and the answer in words.

The names and units are those of docs/mlflow.md. They say the same of every material, so that two runs compare.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glass_ml.analysis.references import References
from glass_ml.analysis.verdict import QUESTIONS, verdict
from glass_ml.observables.kinds import has_role
from glass_ml.tracking.runs import Run
from glass_ml.tracking.store import NOTE
from glass_ml.tracking.versions import model_type

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

REFERENCE = ("gr.rmse", "angle.rmse", "coordination.emd", "rings.emd")
"""Distances from reference structures that are shown under their own names."""

REALISM = {"coordination": "coordination", "angle_width": "angle_width", "sharp": "sharp", "rings": "rings"}
"""`realism.` and this name -> the kind of distance from the material's references (`analysis.references.LIMITS`)."""


def inversion_numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The headline metrics of an inversion or evaluation, from its `metrics.json` or `evaluation.json`.

    What the file does not say is left out. Of several measurements or elements the worst counts.
    """
    found: dict[str, float | None] = {}
    measurements = metrics.get("measurements", {}).values()
    for name, use in (("fit", "fit"), ("held_out", "validate")):
        chosen = [m for m in measurements if m.get("use", "fit") == use]
        spectra = [m for m in chosen if not has_role(m.get("kind"), "count")]
        found[f"{name}.r"] = _worst(m["r_factor"] for m in spectra if "r_factor" in m)
        found[f"{name}.chi2"] = _worst(m["chi2_reduced"] for m in chosen if "chi2_reduced" in m)
    found |= _distances(metrics)
    found["diversity"] = metrics.get("diversity", {}).get("mean")
    found["copied"] = metrics.get("copies", {}).get("mean")
    found |= {name: metrics.get("reference", {}).get(name, {}).get("mean") for name in REFERENCE}
    found |= {
        name: metrics.get(key) for name, key in (("network_calls", "network_calls"), ("structures", "n_structures"))
    }
    return {k: float(v) for k, v in found.items() if v is not None}


def _worst(values: Iterable[float]) -> float | None:
    return max(values, default=None)


def _distances(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """How far structures are from the reference structures of their material; nothing where these are not known."""
    references = References.read(metrics.get("references"))
    if references is None or not metrics.get("structure"):
        return {}
    _, apart = references.nearest(metrics["structure"])
    found = {f"realism.{name}": _worst(d.value for d in apart if d.kind == kind) for name, kind in REALISM.items()}
    return {"realism.worst": _worst(d.share for d in apart), **found}


def model_numbers(folder: Path, card: Mapping[str, Any]) -> dict[str, float]:
    """The headline metrics of a model: held-out loss by sigma and its mean, weights, training steps."""
    from glass_ml.observables.surrogate_files import load_surrogate
    from glass_ml.priors.checkpoint import load_prior

    loss = {str(k): float(v) for k, v in card.get("held_out_loss", {}).items()}
    found = {f"loss.{sigma}": value for sigma, value in loss.items()}
    if loss:
        found["loss.mean"] = sum(loss.values()) / len(loss)
    model = load_surrogate(folder) if model_type(card) == "surrogate" else load_prior(folder)
    found["parameters"] = float(sum(weights.numel() for weights in model.parameters()))
    if steps := card.get("training", {}).get("steps"):
        found["steps"] = float(steps)
    return found


def log_model_page(run: Run, folder: Path, card: Mapping[str, Any]) -> None:
    """Record a model's headline metrics, a prior's loss by noise level as a figure, and what its page opens with."""
    from glass_ml.analysis.figures import noise_loss_figure, save_png

    run.log_metrics(model_numbers(folder, card))
    losses = {float(k): float(v) for k, v in card.get("held_out_loss", {}).items()}
    if not losses:
        return
    best = min(losses, key=losses.__getitem__)
    mean = sum(losses.values()) / len(losses)
    run.set_tags(
        {
            NOTE: f"**Held-out loss of the prior of {card['system']}: {mean:.3f} on the mean over noise levels, "
            f"{losses[best]:.3f} at best (sigma {best:g} Å).** 1 is what a network gives that has learned nothing.\n\n"
            "Loss by noise level: artifact `figures/held-out-loss.png`; the model's card: page of its version."
        }
    )
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "held-out-loss.png"
        save_png(noise_loss_figure(losses), path, f"{card['system']}: held-out loss by noise level")
        run.log_artifact(path, "figures")


def name_after(run: Run, version: ModelVersion) -> None:
    """Have the version in the name of a run, and in its tags."""
    known = str(run.store.client.get_run(run.id).info.run_name)
    run.store.client.update_run(run.id, name=f"{re.sub(' v[0-9]+$', '', known)} v{version.version}")
    run.set_tags({"model_version": f"{version.name}/{version.version}"})


def inversion_note(metrics: Mapping[str, Any]) -> str:
    """The answer of an inversion as the text that its run page opens with, Markdown."""
    judged = verdict(metrics)
    lines = [f"**{judged.headline}**", ""]
    lines += [f"Fitted: {', '.join(judged.fitted) or 'nothing'}. Held out: {', '.join(judged.held_out) or 'nothing'}."]
    for question, title in QUESTIONS.items():
        lines += ["", f"**{title}**", ""]
        lines += [f"- {s.text}" for s in judged.about(question)]
    lines += ["", "The whole answer, with the structures in 3D: artifact `report.html`; figures in `figures/`."]
    return "\n".join(lines)
