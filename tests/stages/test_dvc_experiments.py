"""`dvc exp run` in its three ways, compared by `dvc metrics` and `dvc plots`, and found again in MLflow."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from small_project import git, write_material, write_small_prior, write_target
from waiting import until

pytestmark = pytest.mark.slow
HERE = Path(__file__).parents[2]
PARAMS = """\
target: {reference: reference.extxyz}
sampling: {schedule: {steps: 4}}
inversion: {n_structures: 1, n_atoms: 40, seed: 0, processes: 1}
tuning:
  winner: tuned/a-Si.yaml
  space: {temperature.structure: {low: 0.05, high: 0.5}}
  targets: {g(r): {reference: reference.extxyz, fit: [g(r)], validate: [X-ray]}}
"""
TUNED = "system: a-Si\nsettings: {temperature: {structure: 0.2}}\n"
SEED = "materials/a-Si.yaml:inversion.seed"
FILE = "inversions/a-Si/evaluation.json"
SPECTRA = "inversions/a-Si/spectra.csv"


def pipeline():
    """The stages `register` and `invert` of the project, of one system, with the inputs that a small project has."""
    whole = yaml.safe_load((HERE / "dvc.yaml").read_text())
    stages = {name: whole["stages"][name] for name in ("register", "invert")}
    for stage in stages.values():
        stage["deps"] = [d for d in stage["deps"] if d.partition("/")[0] in ("models", "targets", "mlruns", "tuned")]
    stages["invert"]["params"] = [p for p in stages["invert"]["params"] if isinstance(p, dict)]  # none is shared here
    return {"stages": stages}


@pytest.fixture(scope="module")
def dvc(tmp_path_factory):
    """A project whose pipeline has run and is committed; dvc(...) calls DVC in it and gives what it prints."""
    from ase.build import bulk
    from ase.io import write

    root = tmp_path_factory.mktemp("experiments") / "project"
    root.mkdir()
    who = {f"GIT_{who}_{what}": "tester" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {**os.environ, **who, "PYTHONPATH": str(HERE), "DVC_NO_ANALYTICS": "1", "OMP_NUM_THREADS": "1"}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI"):
        environment.pop(name, None)

    def call(*arguments):
        line = [sys.executable, "-m", "dvc", *arguments]
        done = subprocess.run(line, cwd=root, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    git(root, "init", "-q")
    call("init", "-q")
    shutil.copytree(HERE / ".dvc" / "plots", root / ".dvc" / "plots")
    write_target(root / "targets" / "a-Si")
    write_small_prior(root / "models" / "a-Si")
    (root / "data" / "a-Si").mkdir(parents=True)
    frames = [bulk("Si", cubic=True) * (2, 2, 2) for _ in range(2)]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.1, seed=seed)
        atoms.info["quench"] = seed
    write(root / "data" / "a-Si" / "reference.extxyz", frames)
    write_material(root, PARAMS)
    (root / "tuned").mkdir()
    (root / "tuned" / "a-Si.yaml").write_text(TUNED)
    (root / "dvc.yaml").write_text(yaml.safe_dump(pipeline()))
    (root / ".gitignore").write_text("/mlruns\n/inversions\n/dvc_plots\n")
    call("add", "-q", "models", "data")
    call("repro", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "project")
    call.root = root
    return call


@pytest.fixture(scope="module")
def copy(dvc):
    """An experiment that ran in a copy of the project, and the evaluation of the working tree before it."""
    before = (dvc.root / FILE).read_bytes()
    dvc("exp", "run", "-q", "--temp", "-n", "copy", "-S", f"{SEED}=2")
    return SimpleNamespace(name="copy", before=before)


def found(dvc, tag):
    """The runs in the project's own store, by the value of a tag."""
    from glass_ml.tracking.store import open_store

    with pytest.MonkeyPatch.context() as patch:
        for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        store = open_store(dvc.root)
        runs = store.client.search_runs(list(store.experiments.values()))
    return {run.data.tags.get(tag): run for run in runs}


def check_recorded(dvc, name, seed):
    run = found(dvc, "DVC_EXP_NAME")[name]
    assert run.info.status == "FINISHED"
    assert run.data.tags["DVC_STAGE"] == "invert@a-Si"
    assert run.data.params["seed"] == str(seed)
    kept = Path(run.info.artifact_uri.removeprefix("file://"))
    assert kept.is_relative_to(dvc.root / "mlruns") and (kept / "structures.extxyz").is_file()


def r_factors(dvc, *revisions):
    return json.loads(dvc("metrics", "diff", "--json", *revisions))[FILE]["measurements.gr.r_factor"]


def test_in_the_working_tree(dvc):
    dvc("exp", "run", "-q", "-n", "here", "-S", f"{SEED}=1")
    check_recorded(dvc, "here", 1)
    assert found(dvc, "DVC_EXP_NAME")["here"].data.params["sampling.temperature.structure"] == "0.2"
    change = r_factors(dvc, "HEAD")  # with the working tree
    assert change["old"] != change["new"]
    assert json.loads((dvc.root / FILE).read_text())["measurements"]["gr"]["r_factor"] == change["new"]


def test_in_a_copy_that_is_thrown_away(dvc, copy):
    check_recorded(dvc, copy.name, 2)
    assert (dvc.root / FILE).read_bytes() == copy.before, "the working tree was touched"
    assert r_factors(dvc, "HEAD", copy.name)["diff"] != 0


def test_a_setting_that_a_sweep_has_chosen(dvc):
    dvc("exp", "run", "-q", "--temp", "-n", "cooler", "-S", "tuned/a-Si.yaml:settings.temperature.structure=0.1")
    run = found(dvc, "DVC_EXP_NAME")["cooler"]
    assert run.data.params["sampling.temperature.structure"] == "0.1"
    assert (dvc.root / "tuned" / "a-Si.yaml").read_text() == TUNED


def test_the_prior_is_registered_once_by_all_of_them(dvc, copy):
    from glass_ml.tracking.store import open_store
    from glass_ml.tracking.versions import versions

    assert len(versions(open_store(dvc.root), "glass-a-Si")) == 1


def test_queued(dvc):
    names = {"first": 3, "second": 4}
    for name, seed in names.items():
        dvc("exp", "run", "-q", "--queue", "-n", name, "-S", f"{SEED}={seed}")
    dvc("queue", "start", "-q", "-j", "2")

    def finished():
        status = dvc("queue", "status")
        assert "Failed" not in status, status
        return status.count("Success") == len(names)

    until(finished, every=0.5)
    for name, seed in names.items():
        check_recorded(dvc, name, seed)
    assert r_factors(dvc, "first", "second")["diff"] != 0


def test_plots_show_target_and_fit_of_each(dvc, copy):
    (plot,) = json.loads(dvc("plots", "diff", "--json", "HEAD", copy.name))["data"][SPECTRA]
    assert plot["revisions"] == ["HEAD", copy.name]
    rows = plot["content"]["data"]["values"]
    assert {(row["rev"], row["measurement"]) for row in rows} == {
        (r, m) for r in ("HEAD", copy.name) for m in ("gr", "sq")
    }
    layers = plot["content"]["spec"]["layer"]
    assert [layer["encoding"]["y"]["field"] for layer in layers] == ["measured", "drawn"]
    text = json.dumps(plot["content"]["spec"])
    assert "datum['fit']" in text and "<DVC" not in text
    page = Path(dvc("plots", "show").strip().removeprefix("file://"))
    assert page.is_relative_to(dvc.root) and '"measurement": "sq"' in page.read_text()
