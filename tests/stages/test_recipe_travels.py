"""The recipe travels with the prior: every way in gives the same structures for the same seed."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.io import read, write
from small_project import git, write_material, write_small_prior

from glass_ml.analysis.references import References
from glass_ml.cli.main import main
from glass_ml.config import as_mapping
from glass_ml.errors import InputError
from glass_ml.priors.checkpoint import load_prior, read_card
from glass_ml.settings.resolution import sampling_settings
from glass_ml.settings.sampling import SamplingConfig, ScheduleConfig
from glass_ml.stages.card import make_card

RECIPE = """\
target: {reference: none.extxyz}
sampling: {schedule: {steps: 9, sigma_max: 1.2, rho: 2.0}, guidance: {iterations: 1}}
tuning: {winner: tuned/a-Si.yaml, space: {}, targets: {}}
"""
TUNED = "system: a-Si\nsettings: {step: {kept: -0.3}, schedule: {steps: 7}}\n"
ATOMS, SEED = 24, 5
ASKED = ["-n", "2", "--atoms", str(ATOMS), "--seed", str(SEED), "--no-track"]


@pytest.fixture
def recipe(project: Path) -> Path:
    """A project with a recipe, the winner of a sweep, and a trained prior whose card is made of these."""
    write_small_prior(project / "trained" / "a-Si")
    card = json.loads((project / "trained/a-Si/model.json").read_text())
    del card["sampling"]
    (project / "trained/a-Si/model.json").write_text(json.dumps({**card, "format_version": 2}))
    write_material(project, RECIPE)
    (project / "tuned").mkdir()
    (project / "tuned" / "a-Si.yaml").write_text(TUNED)
    shutil.rmtree(project / "models")
    make_card("a-Si")
    return project


def positions(structures) -> np.ndarray:
    return np.round(np.concatenate([a.positions for a in structures]), 8)


def inverted(target: str, out: str, *options: str) -> np.ndarray:
    assert main(["invert", target, "--out", out, *ASKED, *options]) == 0
    return positions(read(f"{out}/structures.extxyz", ":"))


def test_the_card_holds_the_recipe_of_the_winner(recipe):
    trained, model = (Path(place) / "a-Si" for place in ("trained", "models"))
    assert (trained / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
    card = read_card(model)
    settings = sampling_settings("a-Si", {})
    assert settings.source == "tuned/a-Si.yaml" and card["sampling"] == as_mapping(settings.settings)
    assert (card["format_version"], card["sampling"]["schedule"]["steps"], card["sampling"]["step"]["kept"]) == (
        3,
        7,
        -0.3,
    )
    assert "references" not in card  # there are no structures
    (recipe / "tuned" / "a-Si.yaml").unlink()
    (recipe / "data" / "a-Si").mkdir(parents=True)
    write(recipe / "data" / "a-Si" / "reference-one.extxyz", bulk("Si", "diamond", 5.43, cubic=True).repeat(2))
    make_card("a-Si")
    card = read_card(model)
    assert card["sampling"]["schedule"]["steps"] == 9
    (group,) = References.read(card["references"]).groups
    assert (group.file, group.atoms) == ("reference-one.extxyz", 64)


def test_every_way_in_gives_the_same_structures(recipe, tmp_path, monkeypatch, capsys):
    import mlflow

    from glass_ml.measurements.target import load_target
    from glass_ml.provenance.lineage import read_stamp
    from glass_ml.sampling.run import invert_target
    from glass_ml.structures.io import to_atoms
    from glass_ml.tracking.exchange import export_model, import_model
    from glass_ml.tracking.registry import register_prior
    from glass_ml.tracking.store import open_store

    here = inverted("targets/a-Si/target.yaml", "here")
    assert "settings of tuned/a-Si.yaml in place of params.yaml: schedule.steps 7 for 9" in capsys.readouterr().err
    card, target, prior = read_card("models/a-Si"), load_target("targets/a-Si/target.yaml"), load_prior("models/a-Si")
    config = sampling_settings("a-Si", card, root=None).settings
    in_python = positions(to_atoms(invert_target(target, prior, 2, ATOMS, SEED, config)))
    np.testing.assert_array_equal(in_python, here)

    store = open_store()
    register_prior("models/a-Si", system="a-Si", store=store)
    with store.current():
        served = mlflow.pyfunc.load_model("models:/glass-a-Si/1")
    files = {name: (target.path.parent / name).read_text() for name in ("gr.csv", "sq.csv")}
    row = {"target": target.path.read_text(), "files": json.dumps(files)}
    answer = served.predict([row], params={"n_structures": 2, "n_atoms": ATOMS, "seed": SEED})
    frames = [read(io.StringIO(text), format="extxyz") for text in answer["structure"]]
    np.testing.assert_array_equal(positions(frames), here)
    kept = read_stamp(read("here/structures.extxyz", 0)).lineage
    lineage = read_stamp(frames[0]).lineage
    assert (lineage.params, lineage.target_sha256, lineage.model_sha256) == (
        kept.params, kept.target_sha256, kept.model_sha256
    )  # fmt: skip
    named = {m.file: m.sha256 for m in lineage.measurements}
    assert set(named) == {"gr.csv", "sq.csv"}
    assert set(named.values()) == {m.sha256 for m in kept.measurements}

    archive = export_model("glass-a-Si", 1, tmp_path / "prior.glass", store).path
    bare, other = tmp_path / "bare", tmp_path / "other"
    shutil.copytree(recipe / "targets" / "a-Si", bare / "target")
    shutil.copytree(recipe / "models" / "a-Si", bare / "prior")
    monkeypatch.chdir(bare)
    np.testing.assert_array_equal(inverted("target/target.yaml", "out", "--model", "prior"), here)
    assert "settings of the model card" in capsys.readouterr().err
    assert json.loads(Path("out/metrics.json").read_text())["settings_source"] == "the model card"

    shutil.copytree(recipe / "targets", other / "targets")
    (other / "dvc.yaml").write_text("stages: {}\n")
    (other / "params.yaml").write_text("systems: [b-Si]\n")
    git(other, "init", "-q")
    monkeypatch.chdir(other)
    uri = import_model(archive, open_store()).uri
    np.testing.assert_array_equal(inverted("targets/a-Si/target.yaml", "out", "--model", uri), here)

    others = invert_target(target, prior, 2, ATOMS, SEED, SamplingConfig(ScheduleConfig(7, 1.2, 0.05, 1.0)))
    assert np.abs(positions(to_atoms(others)) - here).max() > 1e-3  # settings matter


def test_a_prior_without_a_recipe_is_refused_outside_its_project(recipe, tmp_path, monkeypatch, capsys):
    shutil.copytree(recipe / "trained" / "a-Si", tmp_path / "bare" / "prior")
    shutil.copytree(recipe / "targets" / "a-Si", tmp_path / "bare" / "target")
    monkeypatch.chdir(tmp_path / "bare")
    assert main(["invert", "target/target.yaml", "--model", "prior", "--out", "out", *ASKED]) == 2
    error = capsys.readouterr().err
    assert "the prior has no recipe" in error and error.count("\n") == 1 and not Path("out").exists()


def test_the_order_of_the_sources(recipe):
    card = {"sampling": {"schedule": {"steps": 3}}}
    stated = SamplingConfig(ScheduleConfig(steps=2))
    winner = sampling_settings("a-Si", card)
    assert sampling_settings("a-Si", card, argument=stated).settings == stated
    assert (winner.source, winner.settings.schedule.steps) == ("tuned/a-Si.yaml", 7)
    (recipe / "tuned" / "a-Si.yaml").unlink()
    params = sampling_settings("a-Si", card)
    assert (params.source, params.settings.schedule.steps) == ("params.yaml", 9)
    for system, root in (("a-Ge", Path()), ("a-Si", None), ("a-Si", recipe / "targets")):
        found = sampling_settings(system, card, root=root)
        assert (found.source, found.settings.schedule.steps) == ("the model card", 3)
        with pytest.raises(InputError, match="the prior has no recipe"):
            sampling_settings(system, {}, root=root)
    with pytest.raises(InputError, match=r"model card: sampling\.schedule: unknown key 'stps'"):
        sampling_settings("a-Ge", {"sampling": {"schedule": {"stps": 3}}})
