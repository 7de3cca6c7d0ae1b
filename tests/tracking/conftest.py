"""A small project with everything a lineage names: git, DVC data, a prior, an MLflow store, an inversion."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

GIT = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
VARIABLES = ("MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_STAGE", "DVC_EXP_NAME")


def git(folder, *arguments):
    who = ["-c", "user.name=tester", "-c", "user.email=tester@example.org", "-c", "init.defaultBranch=main"]
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **GIT}).stdout


def write_prior(folder, seed=0, **card):
    import torch

    from glass_ml.priors.checkpoint import save_prior
    from glass_ml.priors.prior import Prior
    from glass_ml.settings.prior import NetworkConfig

    torch.manual_seed(seed)
    prior = Prior((14,), NetworkConfig(features=8, layers=1, channels=2, radial=4))
    known = {"system": "a-Si", "sigma_min": 0.02, "sigma_max": 1.5, "shortest": [[14, 14, 2.2]]}
    known["density_range"] = [0.042, 0.05]
    save_prior(folder, prior, {**known, "held_out_loss": {"0.12": 0.21, "0.25": 0.13, "0.40": 0.24}, **card})


def register_trained(folder, store):
    """Register a prior as the training that has made it does."""
    from glass_ml.tracking.registry import register_prior
    from glass_ml.tracking.runs import start_run

    with start_run(stage="train", system="a-Si", name="prior", store=store) as run:
        return register_prior(folder, system="a-Si", run=run, store=store)


def write_inversion(folder, model_uri="models/a-Si", model="models/a-Si", seed=1, replicas=3):
    """What `glass-ml invert` leaves behind, made in the current project."""
    from glass_ml.files import write_json
    from glass_ml.provenance.lineage import make_lineage, measurement_entry, stamp, write_lineage
    from glass_ml.structures.io import write_frames

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    target = Path("targets/sq.yaml")
    shutil.copy(target, folder / "target.yaml")
    lineage = make_lineage(
        model=model,
        model_uri=model_uri,
        target=target,
        measurements=[measurement_entry("sq", "xray-sq", "fit", "targets/sq.csv")],
        params={"schedule": {"steps": 30, "rho": 7.0}, "guidance": "dps", "note": "x" * 7000},
        seed=seed,
        device="cpu",
    )
    rng = np.random.default_rng(seed)
    frames = [bulk("Si", cubic=True) for _ in range(replicas)]
    for atoms in frames:
        atoms.positions += rng.normal(scale=0.2, size=atoms.positions.shape)
    write_frames(folder / "structures.extxyz", stamp(frames, lineage))
    write_lineage(folder / "lineage.json", lineage)
    measured = {"sq": {"kind": "xray-sq", "use": "fit", "r_factor": 0.17, "chi2_reduced": 1.2}}
    structure = {"coordination(Si-Si=4)": {"mean": 0.9, "std": 0.01}}
    write_json(folder / "metrics.json", {"n_structures": 3, "measurements": measured, "structure": structure})
    (folder / "spectra.csv").write_text("measurement,kind\nsq,xray-sq\n")
    (folder / "report.html").write_text("<html></html>")
    (folder / "fit.png").write_bytes(b"png")
    return folder


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """The project, made once; its store has the experiments and nothing else."""
    from glass_ml.provenance.data import content_md5
    from glass_ml.tracking.store import open_store

    root = tmp_path_factory.mktemp("template") / "project"
    (root / "data" / "a-Si" / "more").mkdir(parents=True)
    (root / "data" / "a-Si" / "low.extxyz").write_text("structures\n")
    (root / "data" / "a-Si" / "more" / "card.json").write_text("{}")
    (root / "targets").mkdir()
    (root / "targets" / "sq.csv").write_text("1.0,0.5\n1.1,0.6\n")
    (root / "targets" / "sq.yaml").write_text("system: a-Si\n")
    (root / "dvc.yaml").write_text("stages: {}\n")
    (root / ".gitignore").write_text("/data\n/models\n/mlruns\n/out\n")
    md5 = content_md5(root / "data", root)
    (root / "data.dvc").write_text(f"outs:\n- md5: {md5}\n  hash: md5\n  path: data\n")
    git(root, "init")
    git(root, "add", ".")
    git(root, "commit", "-m", "project")
    write_prior(root / "models" / "a-Si", data_md5=md5)
    kept = {name: os.environ.pop(name, None) for name in VARIABLES}
    open_store(root)
    os.environ.update({name: value for name, value in kept.items() if value is not None})
    return root


@pytest.fixture
def project(template, tmp_path, monkeypatch):
    """A copy of the project somewhere else, as the current folder."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    root = tmp_path / "project"
    shutil.copytree(template, root)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def store(project):
    from glass_ml.tracking.store import open_store

    return open_store()


@pytest.fixture
def tools():
    """The helpers of this file, for tests that need them as functions."""

    class Tools:
        pass

    found = Tools()
    found.git, found.write_prior, found.write_inversion = git, write_prior, write_inversion
    found.register_trained = register_trained
    found.run_json = lambda capsys: json.loads(capsys.readouterr().out)
    return found
