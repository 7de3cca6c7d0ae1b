"""Runs have numbers of the same names, and open with the answer."""

import json
from pathlib import Path

import pytest

from glass_ml.files import write_json
from glass_ml.tracking.headline import inversion_numbers
from glass_ml.tracking.inversions import log_evaluation, log_inversion
from glass_ml.tracking.registry import register_prior


def test_the_worst_measurement_and_element_count():
    measured = {
        "a": {"kind": "gr", "use": "fit", "r_factor": 0.1, "chi2_reduced": 2.0},
        "b": {"kind": "xray-sq", "use": "fit", "r_factor": 0.3, "chi2_reduced": 1.0},
        "c": {"kind": "coordination", "use": "fit", "r_factor": 9.0, "chi2_reduced": 0.5},
        "d": {"kind": "neutron-fq", "use": "validate", "r_factor": 0.2, "chi2_reduced": 4.0},
    }
    structure = {"coordination.Si": 3.9, "coordination.O": 1.8, "nfold.Si.4": 0.9, "nfold.Si.3": 0.1, "nfold.O.2": 0.8}
    structure |= {"nfold.O.1": 0.2, "angle.O-Si-O.spread": 5.0, "angle.Si-O-Si.spread": 12.0, "rings.6": 1.0}
    described = {k: {"mean": v, "std": 0.0} for k, v in structure.items()}
    metrics = {"measurements": measured, "structure": described}
    known = {"fit.r": 0.3, "fit.chi2": 2.0, "held_out.r": 0.2, "held_out.chi2": 4.0}
    assert inversion_numbers(metrics) == known  # nothing is known of the material to judge by
    there = {"coordination.Si": 4.0, "coordination.O": 2.0, "nfold.Si.4": 1.0, "nfold.O.2": 0.95, "nfold.O.1": 0.05}
    there |= {"angle.O-Si-O.spread": 5.0, "angle.Si-O-Si.spread": 10.0, "rings.6": 1.0}
    group = {
        "file": "reference.extxyz",
        "potential": "",
        "density": [0.066],
        "structures": 1,
        "frames": 1,
        "atoms": 216,
    }
    group["descriptors"] = {k: {"mean": v, "std": 0.0} for k, v in there.items()}
    metrics["references"] = {"version": 1, "role": "reference", "elements": ["O", "Si"], "groups": [group]}
    worst = 0.15 / 0.06  # the coordination of oxygen, in units of its limit
    realism = {"realism.worst": worst, "realism.coordination": 0.15, "realism.angle_width": 0.2, "realism.rings": 0.0}
    assert inversion_numbers(metrics) == pytest.approx({**known, **realism})


def test_references_are_no_numbers_of_a_run(store, tools):
    folder = tools.write_inversion("out")
    metrics = json.loads((folder / "metrics.json").read_text())
    group = {
        "file": "x",
        "potential": "",
        "density": [0.05],
        "structures": 1,
        "frames": 1,
        "atoms": 8,
        "descriptors": {},
    }
    metrics["references"] = {"version": 1, "elements": ["Si"], "groups": [group]}
    write_json(folder / "metrics.json", metrics)
    run = store.client.get_run(log_inversion(folder, store=store))
    assert not [name for name in run.data.metrics if "references" in name]
    assert any(name.startswith("values/structure") for name in run.data.metrics)


def test_a_run_opens_with_the_answer_and_an_evaluation_completes_it(store, tools):
    folder = tools.write_inversion("out")
    run = store.client.get_run(log_inversion(folder, store=store))
    assert run.data.metrics["fit.r"] == 0.17
    assert "angle.rmse" not in run.data.metrics
    assert run.data.tags["mlflow.note.content"].startswith("**The structures fit the measurement")
    assert run.data.tags["git_sha"].rstrip("+") == run.data.tags["git_commit"][:8]
    metrics = json.loads((folder / "metrics.json").read_text())
    write_json(folder / "evaluation.json", {**metrics, "reference": {"angle.rmse": {"mean": 0.12, "std": 0.01}}})
    log_evaluation(folder, {"reference.angle.rmse": 0.12}, store=store)
    assert store.client.get_run(run.info.run_id).data.metrics["angle.rmse"] == 0.12


def test_priors_compare_by_loss_per_sigma_and_size(store):
    registered = register_prior(Path("models/a-Si"), system="a-Si", store=store)
    found = store.client.get_run(registered.run_id).data
    assert found.metrics["loss.0.12"] == 0.21
    assert abs(found.metrics["loss.mean"] - (0.21 + 0.13 + 0.24) / 3) < 1e-12
    assert found.metrics["parameters"] > 100
    assert found.tags["data_version"] == found.tags["data_md5"][:8]
    assert "0.130 at best (sigma 0.25 Å)" in found.tags["mlflow.note.content"]
    figure = store.client.list_artifacts(registered.run_id, "figures")[0]
    assert (figure.path, figure.file_size > 5000) == ("figures/held-out-loss.png", True)
