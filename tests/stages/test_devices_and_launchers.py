"""Devices that are asked for, that are there, and that a launcher has started; two processes against one."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from ase.build import bulk
from ase.io import write

from glass_ml.errors import InputError
from glass_ml.execution.devices import Devices, first_process, launched
from glass_ml.priors.checkpoint import load_prior
from glass_ml.stages.invert import invert

TWO = [
    sys.executable,
    "-m",
    "torch.distributed.run",
    "--standalone",
    "--nproc_per_node",
    "2",
    "-m",
    "glass_ml.cli.main",
]
LAUNCHERS = (
    "SLURM_NTASKS",
    "SLURM_STEP_NUM_TASKS",
    "SLURM_NNODES",
    "SLURM_JOB_NAME",
    "TORCHELASTIC_RUN_ID",
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
)
SAMPLING = {"schedule": {"steps": 6, "sigma_max": 1.0}, "batch": 2}


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in LAUNCHERS:
        monkeypatch.delenv(name, raising=False)


def params(**settings) -> None:
    system = {"target": {"reference": "reference.extxyz"}, **settings}
    Path("params.yaml").write_text(yaml.safe_dump({"systems": {"a-Si": system}}))


def atom_lines(folder: str) -> list[str]:
    """The structures as they were written, without the lines of their lineage."""
    lines = Path(folder, "structures.extxyz").read_text().splitlines()
    atoms = [line for line in lines if "Lattice" not in line]
    assert len(lines) - len(atoms) == 5 and len(atoms) == 5 * 25
    return atoms


def test_one_core_unless_more_is_said():
    assert Devices(accelerator="cpu").trainer_options() == {"accelerator": "cpu", "devices": 1, "num_nodes": 1}
    assert Devices("cpu", 3).trainer_options()["devices"] == 3
    assert launched() is None and first_process() and Devices("cpu").label == "cpu"
    assert Devices(devices=2).stated and Devices("cpu", nodes=1).stated
    assert not Devices("cpu").stated and Devices().stated == torch.cuda.is_available()


@pytest.mark.parametrize("asked", [Devices("cpu", 0), Devices("cpu", -1), Devices("cpu", 1, 0)])
def test_fewer_than_one_device_is_refused(asked):
    with pytest.raises(InputError, match="at least one"):
        asked.trainer_options()


def test_nodes_need_a_launcher():
    with pytest.raises(InputError, match=r"2 nodes without a launcher.*clusters\.md"):
        Devices("cpu", 2, 2).trainer_options()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="no GPU"):
        Devices("gpu").trainer_options()


def test_slurm_says_how_many(monkeypatch):
    environment = {"SLURM_NTASKS": "8", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "glass", "SLURM_STEP_NUM_TASKS": "8"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert launched() == (4, 2) and Devices().stated
    assert Devices("cpu").trainer_options() == {"accelerator": "cpu", "devices": 4, "num_nodes": 2}
    assert Devices("cpu", 4, 2).trainer_options()["num_nodes"] == 2
    with pytest.raises(InputError, match="4 on 2 were started"):
        Devices("cpu", 2).trainer_options()
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS")  # a batch script without srun: the other seven would be waited for
    with pytest.raises(InputError, match="8 tasks for this job, and started 1"):
        launched()
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")  # a shell within an allocation has started nothing
    assert launched() is None
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")  # four of them, each for itself, would write the same files
    with pytest.raises(InputError, match="interactive job"):
        launched()


def test_one_task_uses_the_cores_of_its_machine(monkeypatch):
    for name in ("SLURM_NTASKS", "SLURM_NNODES"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("SLURM_JOB_NAME", "glass")
    assert launched() == (1, 1) and not Devices("cpu").stated


def test_structures_do_not_depend_on_who_computes_them(project):
    """Three batches: in this process, by torchrun in two, and by the local pool; the same bytes."""
    params(sampling=SAMPLING)
    sizes = ["-n", "5", "--atoms", "24", "--seed", "3", "--no-track", "--json"]
    done = subprocess.run(
        [*TWO, "invert", "targets/a-Si/target.yaml", *sizes, "--accelerator", "cpu", "--out", "two"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    metrics = json.loads(done.stdout)  # one process speaks
    assert metrics["n_structures"] == 5 and not (project / "two" / ".replicas").exists()
    options = {"n_structures": 5, "n_atoms": 24, "seed": 3, "track": False, "progress": False}
    for out, how in (("one", {"devices": Devices("cpu", 1)}), ("pool", {"processes": 1})):
        invert("targets/a-Si/target.yaml", out, **options, **how)
        assert atom_lines(out) == atom_lines("two")


@pytest.mark.slow
def test_torchrun_trains_one_prior(project):
    """Two processes of the command leave one prior, registered once, with the weights that `--devices 2` gives."""
    network = {"cutoff": 3.0, "features": 8, "layers": 2, "channels": 2, "radial": 8}
    training = {"steps": 4, "batch": 1, "epoch_steps": 2, "validation_structures": 1, "warmup": 2}
    params(network=network, training=training, prepare={"states": "all", "validation_share": 0.2})
    (project / "data" / "a-Si").mkdir(parents=True)
    frames = [bulk("Si", "diamond", a=5.43, cubic=True) for _ in range(6)]
    for k, atoms in enumerate(frames):
        atoms.positions += np.random.default_rng(k).normal(scale=0.05, size=(8, 3))
        atoms.info["quench"] = f"quench-{k}"
    write("data/a-Si/train.extxyz", frames)
    weights = []
    for command in ([*TWO, "train", "a-Si"], [sys.executable, *TWO[-2:], "train", "a-Si", "--devices", "2"]):
        command += ["--accelerator", "cpu", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-2000:]
        assert 0 < json.loads(done.stdout.splitlines()[-1])["mean"] < 10
        weights.append(load_prior("models/a-Si").state_dict())
        assert list((project / "training").iterdir()) == []
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    from glass_ml.tracking.store import open_store

    client = open_store().client
    experiments = [e.experiment_id for e in client.search_experiments()]
    runs = client.search_runs(experiments, "tags.stage = 'train'")
    assert [run.info.status for run in runs] == ["FINISHED"]  # the same work twice is one run
