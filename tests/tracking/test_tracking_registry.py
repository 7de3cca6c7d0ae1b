"""Registering, finding and serving priors."""

import json
import shutil

import pytest
import yaml
from small_project import write_material

from glass_ml.cli.main import main
from glass_ml.errors import InputError
from glass_ml.files import write_json
from glass_ml.provenance.data import content_md5, made_here
from glass_ml.provenance.lineage import read_stamp
from glass_ml.provenance.models import model_sha256
from glass_ml.tracking.inversions import log_evaluation, log_inversion
from glass_ml.tracking.model_card import describe
from glass_ml.tracking.registry import register_prior, resolve_model
from glass_ml.tracking.runs import start_run
from glass_ml.tracking.versions import aliases, find_version, get_version, logged_model_id, version_folder, versions


@pytest.fixture
def registered(store):
    return register_prior("models/a-Si", system="a-Si", store=store)


def test_same_content_makes_one_version(store, registered, tools, project):
    (project / "models" / "a-Si" / "training").mkdir()
    again = register_prior("models/a-Si", system="a-Si", store=store)
    assert (registered.version, registered.created) == (1, True)
    assert (again.version, again.created, again.run_id) == (1, False, registered.run_id)
    tools.write_prior(project / "models" / "a-Si", seed=1)
    third = register_prior("models/a-Si", system="a-Si", store=store)
    assert (third.version, third.created) == (2, True)
    assert [int(v.version) for v in versions(store, "glass-a-Si")] == [2, 1]
    assert aliases(store, "glass-a-Si") == {"candidate": 2}


def test_version_says_where_it_comes_from(store, registered, project, tools):
    found = describe(store, get_version(store, "glass-a-Si", "candidate"))
    assert found["version"] == 1 and found["aliases"] == ["candidate"] and found["uri"] == registered.uri
    assert found["model_sha256"] == model_sha256("models/a-Si") == model_sha256(found["folder"])
    assert found["data_md5"] in (project / "data.dvc").read_text()
    assert (found["git_commit"], found["git_dirty"]) == ("unknown", "unknown")  # nobody says who made the folder
    assert found["metrics"] == {
        "held_out_loss/0.12": "0.21",
        "held_out_loss/0.25": "0.13",
        "held_out_loss/0.40": "0.24",
    }
    run = store.client.get_run(registered.run_id)
    recorded = {k: v for k, v in run.data.metrics.items() if "loss" in k and k != "loss.mean"}
    assert recorded == {"loss.0.12": 0.21, "loss.0.25": 0.13, "loss.0.40": 0.24}
    assert run.info.run_name == "prior a-Si v1" and run.data.tags["model_version"] == "glass-a-Si/1"
    assert run.inputs.dataset_inputs[0].dataset.digest == found["data_md5"]
    assert len(run.outputs.model_outputs) == 1


def test_a_version_has_the_code_of_its_training(store, project, tools):
    with start_run(stage="train", system="a-Si", name="prior", store=store) as run:
        head = tools.git(project, "rev-parse", "HEAD").strip()
        (project / "dvc.yaml").write_text("stages: {}  # changed meanwhile\n")
        tools.git(project, "commit", "-am", "meanwhile")
        register_prior("models/a-Si", system="a-Si", run=run, store=store)
    (version,) = versions(store, "glass-a-Si")
    assert (version.tags["git_commit"], version.tags["git_dirty"]) == (head, "False")


def test_a_version_that_the_lock_of_dvc_accounts_for(store, registered, project, tools):
    """The stage has made this content of what is here, so that the commit says what made it."""
    parts = {path: content_md5(project / path, project) for path in ("data/a-Si", "targets", "models/a-Si")}
    entries = [{"path": path, "md5": md5, "hash": "md5"} for path, md5 in parts.items()]
    deps = [*entries[:2], {"path": "../away", "md5": "0" * 32}]
    stage = {"deps": deps, "params": {"materials/a-Si.yaml": {"training": {"seed": 1}}}, "outs": entries[2:]}
    (project / "dvc.lock").write_text(yaml.safe_dump({"stages": {"train@a-Si": stage}}))
    write_material(project, "training: {seed: 1}\n")
    tools.git(project, "add", ".")
    tools.git(project, "commit", "-m", "trained")
    assert made_here(project / "models/a-Si", project)
    head = tools.git(project, "rev-parse", "HEAD").strip()
    (project / "dvc.yaml").write_text("stages: {}  # being changed\n")
    for dirty in ("unknown", "False"):  # what is not as committed says no more; what is settles it
        register_prior("models/a-Si", system="a-Si", store=store)
        (version,) = versions(store, "glass-a-Si")
        assert version.tags["git_dirty"] == dirty
        tools.git(project, "checkout", "dvc.yaml")
    assert version.tags["git_commit"] == head and f"commit {head[:12]}" in version.description

    write_material(project, "training: {seed: 2}\n")
    assert not made_here(project / "models/a-Si", project)
    write_material(project, "training: {seed: 1}\n")
    (project / "targets" / "sq.yaml").write_text("system: other\n")
    assert not made_here(project / "models/a-Si", project)
    tools.git(project, "checkout", "targets")
    assert made_here(project / "models/a-Si", project)
    # A card that is made here, of weights that were not: another training has left them.
    trained = {"path": "trained/a-Si", "md5": content_md5(project / "models/a-Si", project)}
    shutil.copytree("models/a-Si", "trained/a-Si")
    stages = {"card@a-Si": {"deps": [trained], "outs": entries[2:]}, "train@a-Si": {"deps": deps, "outs": [trained]}}
    (project / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
    assert made_here(project / "models/a-Si", project)
    (project / "targets" / "sq.yaml").write_text("system: other\n")
    assert not made_here(project / "models/a-Si", project)
    tools.git(project, "checkout", "targets")
    tools.write_prior(project / "models" / "a-Si", seed=5)
    assert not made_here(project / "models/a-Si", project)


def test_a_version_whose_page_somebody_has_deleted(store, registered, project, capsys):
    version = get_version(store, "glass-a-Si", 1)
    store.client.delete_logged_model(logged_model_id(version))
    assert version_folder(store, version) == project / "models" / "a-Si"
    assert main(["models", "list"]) == 0 and "glass-a-Si" in capsys.readouterr().out
    shutil.rmtree(project / "models")
    assert version_folder(store, version) is None
    assert main(["models", "show", "it's"]) == 2 and "no registered model" in capsys.readouterr().err


def test_training_run_registers_its_own_prior(store):
    with start_run(stage="train", system="a-Si", name="prior", store=store) as run:
        done = register_prior("models/a-Si", system="a-Si", metrics={"val/loss": 0.4}, run=run, store=store)
    assert done.run_id == run.id and store.client.get_run(run.id).data.metrics["val/loss"] == 0.4


def test_the_same_prior_trained_again_has_its_numbers_too(store, registered):
    with start_run(stage="train", system="a-Si", name="prior", store=store) as run:
        done = register_prior("models/a-Si", system="a-Si", run=run, store=store)
    assert (done.version, done.created) == (1, False)
    again, first = (store.client.get_run(run_id).data for run_id in (run.id, done.run_id))
    assert "loss.mean" in again.metrics and again.metrics.items() <= first.metrics.items()
    assert again.tags["model_version"] == "glass-a-Si/1"


def test_registering_goes_on_after_a_kill(store, monkeypatch):
    def killed(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(store.client), "create_model_version", killed)
        with pytest.raises(KeyboardInterrupt):
            register_prior("models/a-Si", system="a-Si", store=store)
    assert versions(store) == []
    done = register_prior("models/a-Si", system="a-Si", store=store)
    assert done.version == 1 and store.client.get_run(done.run_id).info.status == "FINISHED"
    experiments = list(store.experiments.values())
    assert len(store.client.search_logged_models(experiments)) == len(store.client.search_runs(experiments)) == 1


def test_incomplete_checkpoint_is_refused(store, project):
    (project / "models" / "a-Si" / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors is missing"):
        register_prior("models/a-Si", system="a-Si", store=store)
    assert versions(store) == []


def test_resolve(store, registered, project, tools, tmp_path):
    local = project / "models" / "a-Si"
    for given in (("models/a-Si", None), (None, "a-Si"), ("a-Si", None), (local, None)):
        found = resolve_model(*given)
        assert (found.folder, found.uri, found.name) == (local, "models/a-Si", "glass-a-Si")
        assert found.version is None
    outside = tmp_path / "prior"
    shutil.copytree(local, outside)
    assert resolve_model(outside).uri == str(outside)
    tools.write_prior(local, seed=1)
    for uri in ("models:/glass-a-Si@candidate", "models:/glass-a-Si/1", "models://glass-a-Si/1"):
        found = resolve_model(uri, store=store)
        assert (found.uri, found.version) == ("models:/glass-a-Si/1", 1)
        assert model_sha256(found.folder) == model_sha256(outside) != model_sha256(local)


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("models:/glass-a-Si@production", "no version or alias 'production'.*1, @candidate"),
        ("models:/glass-a-Si/9", "no version or alias '9'"),
        ("models:/glass-C/1", "no registered model 'glass-C'.*registered: glass-a-Si"),
        ("models:/glass-a-Si", "not a model URI"),
        ("a-Ge", "no prior 'a-Ge'"),
        ("", "no prior ''"),
    ],
)
def test_unresolvable(store, registered, uri, text):
    with pytest.raises(InputError, match=text):
        resolve_model(uri, store=store)


def test_moved_project_resolves(store, registered, project, tmp_path, monkeypatch):
    moved = tmp_path / "moved"
    project.rename(moved)
    monkeypatch.chdir(moved)
    found = resolve_model("models:/glass-a-Si/1")
    assert found.folder.is_relative_to(moved / "mlruns") and (found.folder / "model.json").is_file()


def test_stale_and_damaged_artifacts(store, registered, project, tmp_path):
    """A store elsewhere whose paths went stale finds the prior by content; never another or a damaged one."""
    version = get_version(store, "glass-a-Si", 1)
    folder = version_folder(store, version)
    folder.rename(tmp_path / "gone")
    assert version_folder(store, version) == project / "models" / "a-Si"
    weights = project / "models" / "a-Si" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert version_folder(store, version) is None
    with pytest.raises(InputError, match="files are gone or changed"):
        resolve_model("models:/glass-a-Si/1", store=store)


def test_served_model_samples(store, registered, project, monkeypatch):
    """pyfunc loads the version and passes rows and parameters on; what it returns carries its lineage."""
    import mlflow
    import pandas as pd
    from ase.build import bulk
    from ase.io import read

    from glass_ml.config import as_mapping
    from glass_ml.settings.sampling import SamplingConfig, ScheduleConfig
    from glass_ml.structures.io import from_atoms

    calls = []

    def made(*arguments, **options):
        calls.append((arguments, options))
        return from_atoms([bulk("Si", cubic=True)] * options["n_structures"])

    monkeypatch.setattr("glass_ml.sampling.run.sample_prior", made)
    with store.current():
        model = mlflow.pyfunc.load_model("models:/glass-a-Si/1")
    rows = pd.DataFrame({"composition": ['{"Si": 1}', '{"Si": 2}'], "density": ["2.28 g/cm3", "0.05"]})
    found = model.predict(rows, params={"n_structures": 2, "seed": 5})
    assert found[["row", "replica"]].to_numpy().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    (_, composition, density), options = calls[0]
    assert composition == {"Si": 1} and density == pytest.approx(0.04889, abs=1e-4)
    recipe = SamplingConfig(ScheduleConfig(steps=60, sigma_max=1.5, rho=7.0))  # of its card
    assert options == {"n_structures": 2, "n_atoms": 216, "seed": 5, "config": recipe, "target": None}
    (project / "served.extxyz").write_text(found["structure"][1])
    stamped = read_stamp(read(project / "served.extxyz"))
    assert (stamped.replica, stamped.lineage.seed) == (1, 5)
    assert stamped.lineage.model_sha256 == model_sha256("models/a-Si")
    assert stamped.lineage.params["sampling"] == as_mapping(recipe)
    target = "system: a-Si\ncomposition: {Si: 1}\ndensity: 0.05\n"
    target += "measurements:\n  - {file: g.csv, kind: gr, sigma: 0.01}\n"
    spectrum = "".join(f"{0.1 * k:.1f},{1.0}\n" for k in range(1, 60))
    assert len(model.predict({"target": target, "files": json.dumps({"g.csv": spectrum})})) == 1
    assert calls[-1][1]["target"].measurements[0].kind == "gr"
    with pytest.raises(InputError, match="is not a bare name"):
        model.predict({"target": target.replace("g.csv", "my/g.csv"), "files": json.dumps({"g.csv": spectrum})})
    with pytest.raises(InputError, match="neither a target nor a composition"):
        model.predict(pd.DataFrame({"composition": ['{"Si": 1}']}))
    with pytest.raises(InputError, match="not positive"):
        model.predict({"composition": '{"Si": 1}', "density": -0.05})


def test_served_model_really_samples(store, registered):
    import mlflow

    with store.current():
        model = mlflow.pyfunc.load_model("models:/glass-a-Si@candidate")
    asked = {"composition": '{"Si": 1}', "density": 0.05}
    one, again = (model.predict(asked, params={"n_atoms": 16, "seed": 3})["structure"] for _ in range(2))
    assert one[0].startswith("16\n") and one[0] == again[0]
    with pytest.raises(InputError, match="does not know C"):
        model.predict({**asked, "composition": '{"C": 1}'}, params={"n_atoms": 16})


def test_inversion_is_recorded_once(store, registered, project, tools):
    folder = tools.write_inversion(project / "out" / "one")
    run_id = log_inversion(folder, store=store)
    assert log_inversion(folder, store=store) == run_id
    copied = project / "out" / "copy"
    shutil.copytree(folder, copied)
    assert log_inversion(copied, store=store) == run_id
    other = log_inversion(tools.write_inversion(project / "out" / "two", seed=2), store=store)
    assert other != run_id
    experiment = [store.experiments["inversions"]]
    assert len(store.client.search_runs(experiment)) == 2
    run = store.client.get_run(run_id)
    version = find_version(store, None, model_sha256("models/a-Si"))
    assert [f"models:/{m.model_id}" for m in run.inputs.model_inputs] == [version.source]
    digests = {(d.dataset.name, d.dataset.digest) for d in run.inputs.dataset_inputs}
    lineage = json.loads((folder / "lineage.json").read_text())
    measured = lineage["measurements"][0]["sha256"][:36]
    assert digests == {("a-Si training data", lineage["data_md5"]), ("sq (xray-sq)", measured)}
    assert run.data.metrics["values/measurements/sq/r_factor"] == 0.17
    assert run.data.metrics["values/structure/coordination_Si-Si_4_/mean"] == 0.9
    assert run.data.params["schedule.steps"] == "30" and run.data.params["seed"] == "1"
    assert run.data.tags["model_sha256"] == lineage["model_sha256"] and run.info.run_name == "a-Si one v1 seed 1"
    names = {a.path for a in store.client.list_artifacts(run_id)}
    assert names == {
        "structures.extxyz",
        "lineage.json",
        "spectra.csv",
        "metrics.json",
        "target.yaml",
        "report.html",
        "params.json",
        "figures",
    }
    write_json(folder / "evaluation.json", {"reference": {"gr.rmse": {"mean": 0.3}}})
    log_evaluation(folder, {"r_factor": 0.16}, store=store)
    evaluated = store.client.get_run(run_id).data.metrics
    assert evaluated["gr.rmse"] == evaluated["values/reference/gr.rmse/mean"] == 0.3
    assert get_version(store, "glass-a-Si", 1).tags["evaluation/one/r_factor"] == "0.16"
    assert store.client.get_run(run_id).info.status == "FINISHED"


def test_what_is_no_inversion(store, project, tools):
    with pytest.raises(InputError, match=r"lineage\.json is missing"):
        log_inversion(project, store=store)
    folder = tools.write_inversion(project / "out" / "one")
    with pytest.raises(InputError, match="no number"):
        log_evaluation(folder, {"text": "x"}, store=store)
    (folder / "structures.extxyz").unlink()
    with pytest.raises(InputError, match=r"structures\.extxyz is missing"):
        log_inversion(folder, store=store)
