"""Replicas: the same whatever computes them and whenever; a finished one is never computed again."""

import copy
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_project import write_target

from glass_ml.errors import InputError
from glass_ml.execution.processes import run_inversions
from glass_ml.execution.replicas import Replicas
from glass_ml.measurements.likelihood import build_likelihood
from glass_ml.measurements.target import load_target
from glass_ml.priors.prior import Prior
from glass_ml.sampling.guidance import Decoupled
from glass_ml.sampling.run import batches_of, invert_target, sample_batch, sample_prior
from glass_ml.settings.prior import NetworkConfig
from glass_ml.settings.sampling import GuidanceConfig, SamplingConfig, ScheduleConfig, Temperature
from glass_ml.structures.neighbours import neighbour_pairs
from glass_ml.structures.random import generator, random_packing

N_ATOMS = 24
CONFIG = SamplingConfig(
    schedule=ScheduleConfig(steps=6, sigma_max=1.0, rho=7.0),
    temperature=Temperature(0.6),
    batch=2,
)


def run_replicas(job, count, config, scratch, *, processes=1, progress=False):
    return run_inversions([Replicas(job, count, config, scratch)], processes=processes, progress=progress)[0]


@pytest.fixture(autouse=True)
def flushed_as_in_the_workers():
    torch.set_flush_denormal(True)
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="module")
def prior() -> Prior:
    torch.manual_seed(0)
    network = NetworkConfig(cutoff=3.0, features=8, layers=1, channels=2, radial=8)
    untrained = Prior((14,), network, {0.1: 0.5, 1.0: 0.9}, [(14, 14, 1.6)])
    return untrained.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    return load_target(write_target(tmp_path_factory.mktemp("target")))


def same(a, b) -> bool:
    return all(torch.equal(getattr(a, f), getattr(b, f)) for f in ("positions", "cell", "numbers", "system"))


def test_batches_are_fixed_by_the_settings():
    assert batches_of(5, CONFIG) == [[0, 1], [2, 3], [4]]
    assert batches_of(3, SamplingConfig()) == [[0], [1], [2]]
    assert batches_of(5, replace(CONFIG, fit="ensemble")) == [[0, 1, 2, 3, 4]]
    for none in (0, -1):
        with pytest.raises(InputError, match="at least one"):
            batches_of(none, CONFIG)


def test_replicas_do_not_depend_on_processes_nor_on_interruptions(tmp_path, prior, target):
    job = {"denoiser": prior, "composition": {"Si": 1.0}, "density": 0.05, "n_atoms": N_ATOMS, "seed": 3}
    job["target"] = target
    here = invert_target(target, prior, 5, N_ATOMS, 3, CONFIG)
    made = run_replicas(job, 5, CONFIG, tmp_path, processes=2, progress=False)
    assert made.n_systems == 5 and made.positions.dtype == torch.float64
    assert same(made, here.to(dtype=torch.float64))

    files = sorted(tmp_path.iterdir())
    assert [file.stem for file in files] == ["replicas-0000-0001", "replicas-0002-0003", "replicas-0004-0004"]
    lost, kept = files[1], [files[0], files[2]]
    before = lost.read_bytes(), [file.stat().st_mtime_ns for file in kept]
    lost.unlink()
    assert same(run_replicas(job, 5, CONFIG, tmp_path, processes=1, progress=False), made)
    assert (lost.read_bytes(), [file.stat().st_mtime_ns for file in kept]) == before


SCRIPT = """\
import pickle, sys, torch
from pathlib import Path
from glass_ml.execution.processes import run_inversions
from glass_ml.execution.replicas import Replicas
job, config = pickle.loads(Path(sys.argv[1]).read_bytes())
torch.set_num_threads(2)
run_inversions([Replicas(job, 2, config, Path(sys.argv[2]))], processes=1, progress=False)
assert torch.get_num_threads() == 2
"""


def test_one_process_is_this_one(tmp_path, prior, target):
    """A script without a `__main__` guard computes in place, whatever its threads are."""
    job = {"denoiser": prior, "composition": {"Si": 1.0}, "density": 0.05, "n_atoms": N_ATOMS, "seed": 3}
    job["target"] = target
    config = replace(CONFIG, batch=1)
    (tmp_path / "job").write_bytes(pickle.dumps((job, config)))
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    subprocess.run([sys.executable, script, tmp_path / "job", tmp_path / "here"], check=True)
    run_replicas(job, 2, config, tmp_path / "test", processes=1, progress=False)
    files = [sorted((tmp_path / name).glob("replicas-*")) for name in ("here", "test")]
    assert [[f.name for f in found] for found in files] == [["replicas-0000-0000.npz", "replicas-0001-0001.npz"]] * 2
    assert [f.read_bytes() for f in files[0]] == [f.read_bytes() for f in files[1]]


@pytest.mark.parametrize("flushed", [True, False])
def test_an_interrupted_process_is_left_as_it_was_and_keeps_what_is_finished(tmp_path, prior, monkeypatch, flushed):
    job = {"denoiser": prior, "composition": {"Si": 1.0}, "density": 0.05, "n_atoms": N_ATOMS, "seed": 3}
    config = replace(CONFIG, batch=1)
    compute = Replicas.compute

    def interrupted(self, batch, *arguments):
        if batch == [1]:
            raise KeyboardInterrupt
        compute(self, batch, *arguments)

    torch.set_flush_denormal(flushed)
    with monkeypatch.context() as patch:
        patch.setattr(Replicas, "compute", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_replicas(job, 2, config, tmp_path, progress=False)
    assert bool(torch.tensor(5e-324, dtype=torch.float64) * 1 == 0) == flushed
    (kept,) = tmp_path.iterdir()
    before = kept.stat().st_mtime_ns
    run_replicas(job, 2, config, tmp_path, progress=False)
    assert kept.stat().st_mtime_ns == before and len(list(tmp_path.iterdir())) == 2


def test_finished_replicas_need_no_process(tmp_path, prior):
    """What lies in the scratch folder is read, not computed: the same file twice gives the same replica twice."""
    job = {"denoiser": None, "composition": {"Si": 1.0}, "density": 0.05, "n_atoms": N_ATOMS, "seed": 3}
    config = replace(CONFIG, batch=1)
    made = sample_prior(prior, {"Si": 1.0}, 0.05, N_ATOMS, 1, 3, config)
    fields = {name: getattr(made, name).numpy() for name in ("positions", "cell", "numbers", "system")}
    for k in range(2):
        np.savez(tmp_path / f"replicas-{k:04d}-{k:04d}.npz", **fields)
    read = run_replicas(job, 2, config, tmp_path, progress=False)
    assert same(read[0], made) and same(read[1], made)


def test_a_replica_depends_on_seed_and_number_not_on_its_batch(prior):
    def batch(replicas, seed=3):
        return sample_batch(prior, {"Si": 1.0}, 0.05, N_ATOMS, replicas, seed, CONFIG)

    together = batch([0, 1, 2])
    for k in range(3):
        torch.testing.assert_close(batch([k]).positions, together[k].positions, rtol=0, atol=1e-4)
    assert (together[0].positions - together[1].positions).norm(dim=1).mean() > 1
    assert (batch([0], seed=4).positions - together[0].positions).norm(dim=1).mean() > 1


def test_a_guided_estimate_does_not_depend_on_its_batch(prior, target):
    streams = [generator(0, k) for k in range(3)]
    structures = random_packing({"Si": 1.0}, 0.05, N_ATOMS, streams).to(dtype=torch.float64)
    guidance = Decoupled(copy.deepcopy(prior).double(), build_likelihood(target, structures), 3, None, 0.3)
    together = guidance.estimate(structures, 0.3, torch.zeros_like)
    alone = torch.cat([guidance.estimate(single, 0.3, torch.zeros_like) for single in structures.split()])
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-7)
    assert (together - guidance.denoiser.denoise(structures, 0.3)).norm(dim=1).max() > 0.1


def test_guidance_lowers_the_misfit_and_limits_are_kept(prior, target):
    free = sample_prior(prior, target.composition, target.density, 48, 2, 0, CONFIG)
    cold = replace(
        CONFIG, guidance=GuidanceConfig(iterations=4), temperature=Temperature(0.0, 0.0), minimum_distance=1.2
    )
    guided = invert_target(target, prior, 2, 48, 0, cold)
    likelihood = build_likelihood(target, guided)
    assert (likelihood.chi2(guided) < 0.5 * likelihood.chi2(free)).all()
    shortest = neighbour_pairs(guided, 3.0).vectors(guided).norm(dim=1).min()
    assert shortest >= 1.2 * 1.6 - 0.01
    torch.testing.assert_close(guided.density, torch.full((2,), 0.05))
    fractional = guided.positions @ torch.linalg.inv(guided.cell[0])
    assert fractional.min() >= -1e-5 and fractional.max() <= 1 + 1e-5


def test_progress_is_reported_with_the_fit_of_every_measurement(prior, target, monkeypatch):
    monkeypatch.setattr("glass_ml.sampling.run.REPORT_EVERY", 5)
    seen = []
    sample_batch(
        prior, {"Si": 1.0}, 0.05, N_ATOMS, [0], 0, CONFIG, target=target, report=lambda *what: seen.append(what)
    )
    assert [done for done, _, _ in seen] == [5, 6]
    assert all(set(chi2) == {"gr", "sq"} for _, _, chi2 in seen)


def test_unknown_element_is_the_users_error_also_from_a_process(prior):
    with pytest.raises(InputError, match="the prior does not know Ge") as caught:
        sample_batch(prior, {"Ge": 1.0}, 0.04, 8, [0], 0, CONFIG)
    carried = pickle.loads(pickle.dumps(caught.value))
    assert str(carried) == str(caught.value) and carried.mend == caught.value.mend
