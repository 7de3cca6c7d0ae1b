"""Measured amorphous silicon and silica: ours, the prior alone, and a training structure relaxed onto the data.

    python benchmarks/measured.py [a-Si] [a-SiO2]

needs the measured spectra of ../shared/data beside the checkout. One table on stdout, and the same numbers in
benchmarks/results/measured.json. R is sqrt(sum (model - data)^2 / sum data^2) on Q F(Q) with scale 1, replicas
averaged, model and data seen through the same real-space window (`glass-ml evaluate` prints the same). `wall_s` of the
relaxations is processor time.
"""

import json
import os
import platform
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from baselines.relaxation import relaxed
from baselines.score import rescaled

from glass_ml.analysis.ensemble import describe
from glass_ml.execution.processes import run_replicas
from glass_ml.files import write_json
from glass_ml.measurements.likelihood import build_likelihood
from glass_ml.measurements.target import Target, load_target
from glass_ml.priors.checkpoint import load_prior
from glass_ml.settings.recipe import system_config
from glass_ml.settings.sampling import SamplingConfig
from glass_ml.structures.io import from_atoms, read_frames
from glass_ml.structures.state import Structures, concatenate

CASES = {
    "a-Si": {"target": "benchmarks/targets/a-Si-laaziri.yaml", "atoms": 512, "replicas": 8, "cutoff": {"Si-Si": 2.85}},
    "a-SiO2": {"target": "benchmarks/targets/a-SiO2-nimrod.yaml", "atoms": 600, "replicas": 4, "cutoff": {"Si-O": 2.1}},
}
COLUMNS = ("nfold.Si.4", "nfold.O.2", "angle.Si-Si-Si.mean", "angle.Si-Si-Si.spread", "angle.O-Si-O.spread",
           "angle.Si-O-Si.mean", "angle.below75", "shortest.Si-Si", "shortest.Si-O")  # fmt: skip
RELAXATION = (0, 8, 15, 100)  # L-BFGS iterations
ALONE = 200  # noise levels where no data steer: more change nothing


def ours(system: str, case: dict, target: Target, *, guided: bool) -> tuple[Structures, float]:
    """Replicas by the settings of params.yaml, with or without the data; and the wall time in seconds."""
    config = system_config(system)
    job = {
        "denoiser": load_prior(Path("models") / system),
        "composition": target.composition,
        "density": target.density,
        "n_atoms": case["atoms"],
        "seed": 0,
        "target": target if guided else None,
    }
    sampling: SamplingConfig = config.sampling
    if not guided:
        sampling = replace(sampling, schedule=replace(sampling.schedule, steps=ALONE))
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        structures = run_replicas(job, case["replicas"], sampling, scratch, processes=2)
    return structures, time.perf_counter() - start


def relaxations(system: str, case: dict, target: Target) -> dict[int, tuple[Structures, float]]:
    """Thermal training structures of the target's density, moved onto the data by L-BFGS; with the CPU seconds in all.

    By the number of iterations; 0 are the structures themselves.
    """
    frames = [a for a in read_frames(Path("data") / system / "train.extxyz") if a.info["state"] == "thermal"]
    largest = max(len(a) for a in frames)
    by_quench = {a.info["quench"]: a for a in frames if len(a) == largest}
    found: dict[int, list[tuple[Structures, float]]] = {stop: [] for stop in RELAXATION}
    for atoms in list(by_quench.values())[: case["replicas"]]:
        one = rescaled(from_atoms([atoms]), target.density)
        for stop, structure, seconds in relaxed(one, build_likelihood(target, one), RELAXATION):
            found[stop].append((structure, seconds))
    return {stop: (concatenate([s for s, _ in made]), sum(t for _, t in made)) for stop, made in found.items()}


def row(name: str, case: dict, target: Target, structures: Structures, seconds: float) -> dict:
    """One line of the table."""
    with torch.no_grad():
        fit = build_likelihood(target, structures).compare(structures).measurements[0]
    found = describe(structures, case["cutoff"], rings=False)
    values = {
        key: float(found[key].min() if key.startswith("shortest") else found[key].mean())
        for key in COLUMNS
        if key in found
    }
    return {
        "method": name,
        "R": fit.r_factor,
        "chi2_reduced": fit.chi2_reduced,
        **values,
        "atoms": structures.n_atoms // structures.n_systems,
        "replicas": structures.n_systems,
        "wall_s": seconds,
    }


def main(systems: list[str]) -> None:
    path = Path("benchmarks/results/measured.json")
    results = json.loads(path.read_text())["systems"] if path.exists() else {}
    for system in systems:
        case = CASES[system]
        target = load_target(case["target"])
        structures, seconds = ours(system, case, target, guided=True)
        rows = [row("ours", case, target, structures, seconds)]
        structures, seconds = ours(system, case, target, guided=False)
        rows.append(row("prior alone", case, target, structures, seconds))
        for iterations, (structures, seconds) in relaxations(system, case, target).items():
            name = f"training structures, L-BFGS {iterations}" if iterations else "training structures"
            rows.append(row(name, case, target, structures, seconds))
        results[system] = rows
        names = [key for key in rows[0] if key != "method"]
        print(f"\n{system}\n{'method':<34}" + "".join(f"{n.removeprefix('angle.'):>16}" for n in names))
        for line in rows:
            print(f"{line['method']:<34}" + "".join(f"{line[n]:>16.3f}" for n in names))
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 2**20
    machine = f"{os.cpu_count()} cores, {platform.machine()}, torch {torch.__version__}"
    print(f"\n{machine}; largest process {peak:.2f} GiB")
    write_json(path, {"machine": machine, "peak_process_GiB": peak, "systems": results})


if __name__ == "__main__":
    main(sys.argv[1:] or list(CASES))
