"""How time and memory grow with the number of atoms, on one thread: network call, guided step, structure.

    python benchmarks/scaling.py [--system a-SiO2]    # 216 to 100 000 atoms; needs 24 GiB
    python benchmarks/scaling.py --quick              # a smoke run

needs the prior in models/SYSTEM and the target in targets/SYSTEM. Every number comes from a process of its own, so
that peaks do not mix, and is processor time: medians of calls; for the guided step the mean over noise levels spread
over the schedule of params.yaml, the first left out. A structure is measured whole up to 1000 atoms (with the progress
messages of an inversion) and beyond is steps times the mean step. Forward models by themselves: observables.py.

`peak` is the resident memory of the process at its highest during the measurement, `added` what the measurement added
to it; ratios are per atom, against 1000 atoms. Prints a table, and writes benchmarks/results/scaling.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from timed import apart, machine, median_ms, reset_peak, resident

from glass_ml.files import write_json
from glass_ml.measurements.likelihood import build_likelihood
from glass_ml.measurements.target import Target, load_target
from glass_ml.priors.checkpoint import load_prior
from glass_ml.sampling.constraints import MinimumDistance
from glass_ml.sampling.guidance import make_guidance
from glass_ml.sampling.run import sample_batch
from glass_ml.sampling.sampler import noise_levels, sample
from glass_ml.settings.recipe import system_config
from glass_ml.settings.sampling import SamplingConfig
from glass_ml.structures.random import generator, random_packing
from glass_ml.structures.state import Structures

SIZES = (216, 1000, 4096, 10_000, 100_000)
QUICK = (64, 216)
REFERENCE = 1000  # atoms; ratios per atom are against it
WHOLE = 1000  # atoms up to which a structure is measured whole
SIGMA = 0.3  # Å, of the network call
RESULTS = Path("benchmarks/results/scaling.json")


def repeats(n_atoms: int) -> int:
    """Calls that are measured: fewer of the long ones."""
    return max(2, min(15, 90_000 // n_atoms))


def network_call(system: str, target: Target, start: Structures, sampling: SamplingConfig) -> float:
    """Seconds of a call of the prior."""
    prior = load_prior(Path("models") / system)
    with torch.no_grad():
        return timed(lambda: prior.denoise(start, SIGMA), start.n_atoms)


def guided_step(system: str, target: Target, start: Structures, sampling: SamplingConfig) -> float:
    """Seconds of a noise level of the sampler, mean over levels from all parts of the schedule."""
    prior = load_prior(Path("models") / system)
    levels = noise_levels(replace(sampling.schedule, restarts=0))
    chosen = levels[:: max(1, len(levels) // (repeats(start.n_atoms) + 1))]
    limits = {(int(a), int(b)): sampling.minimum_distance * r for a, b, r in prior.shortest}
    clock: list[float] = []
    with torch.no_grad():
        sample(
            start,
            make_guidance(sampling, prior, build_likelihood(target, start)),
            chosen,
            sampling.step,
            [generator(0, "scaling")],
            constraint=MinimumDistance(limits),
            temperature=sampling.temperature,
            report=lambda _: clock.append(time.process_time()),
        )
    return (clock[-1] - clock[0]) / (len(clock) - 1)


def structure(system: str, target: Target, start: Structures, sampling: SamplingConfig) -> float:
    """Seconds of a whole structure."""
    prior, began = load_prior(Path("models") / system), time.process_time()
    composition, density = target.composition, target.density
    sample_batch(
        prior, composition, density, start.n_atoms, [0], 0, sampling, target=target, report=lambda *_: None
    )  # fmt: skip
    return time.process_time() - began


def timed(action: Callable[[], object], n_atoms: int) -> float:
    return 1e-3 * median_ms(action, calls=repeats(n_atoms), clock=time.process_time)


JOBS: dict[str, Callable[[str, Target, Structures, SamplingConfig], float]] = {
    "network call": network_call,
    "guided step": guided_step,
    "structure": structure,
}


def measure(what: str, n_atoms: int, system: str, quick: bool) -> dict[str, Any]:
    """One number, in this process."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    target = load_target(Path("targets") / system / "target.yaml")
    sampling = system_config(system, tuned=False).sampling
    if quick:
        sampling = replace(sampling, schedule=replace(sampling.schedule, steps=4))
    start = random_packing(target.composition, target.density, n_atoms, [generator(0, "scaling")])
    before = resident()["resident"]
    reset_peak()
    seconds = JOBS[what](system, target, start, sampling)
    peak = resident()["peak"]
    return {
        "what": what, "atoms": n_atoms, "core_s": seconds, "peak_MB": peak, "added_MB": peak - before, "measured": True,
        "levels": len(noise_levels(sampling.schedule)),
    }  # fmt: skip


def sizes_of(what: str, quick: bool) -> list[int]:
    """Numbers of atoms at which something is measured."""
    if quick:
        return list(QUICK)
    if what == "structure":
        return [n for n in SIZES if n <= WHOLE]
    return list(SIZES)


def extrapolated(step: dict[str, Any]) -> dict[str, Any]:
    """A structure, from the mean step."""
    return {**step, "what": "structure", "core_s": step["core_s"] * step["levels"], "measured": False}


def with_ratios(rows: list[dict[str, Any]], reference: int) -> list[dict[str, Any]]:
    """Time and memory per atom against those of the reference."""
    base = {row["what"]: row for row in rows if row["atoms"] == reference}
    for row in rows:
        other = base[row["what"]]
        for key in ("core_s", "added_MB"):
            share = (row[key] / row["atoms"]) / max(other[key] / other["atoms"], 1e-12)
            row[f"{key}_per_atom_ratio"] = share
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", default="a-Si")
    parser.add_argument("--only", nargs="+", choices=JOBS, help="rows to measure, such as 'guided step'")
    parser.add_argument("--quick", action="store_true", help="a smoke run: small cells, four noise levels")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.job:
        write_json(arguments.out, measure(**json.loads(arguments.job)))
        return

    rows = []
    print(f"{'':<20}{'atoms':>8}{'core-s':>10}{'us/atom':>10}{'ratio':>7}{'peak, MB':>10}{'added':>8}{'ratio':>7}")
    for what in arguments.only or JOBS:
        found = [
            apart(__file__, what=what, n_atoms=n, system=arguments.system, quick=arguments.quick)
            for n in sizes_of(what, arguments.quick)
        ]
        if what == "structure":
            steps = [r for r in rows if r["what"] == "guided step" and r["atoms"] > found[-1]["atoms"]]
            found += [extrapolated(step) for step in steps]
        for row in with_ratios(found, QUICK[0] if arguments.quick else REFERENCE):
            rows.append(row)
            mark = "" if row["measured"] else "  steps x mean step"
            print(
                f"{row['what']:<20}{row['atoms']:>8}{row['core_s']:>10.4g}{1e6 * row['core_s'] / row['atoms']:>10.1f}"
                f"{row['core_s_per_atom_ratio']:>7.2f}{row['peak_MB']:>10.0f}{row['added_MB']:>8.1f}"
                f"{row['added_MB_per_atom_ratio']:>7.2f}{mark}",
                flush=True,
            )
    print(f"\n{machine()}")
    if not arguments.only and (not arguments.quick or arguments.out != RESULTS):
        results = json.loads(arguments.out.read_text())["systems"] if arguments.out.exists() else {}
        write_json(arguments.out, {"systems": {**results, arguments.system: {"machine": machine(), "rows": rows}}})


if __name__ == "__main__":
    main()
