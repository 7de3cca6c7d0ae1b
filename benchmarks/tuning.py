"""Whether tuned sampling settings are better than the default on spectra that their sweep has never seen.

    python benchmarks/tuning.py a-Si                    # 8 minutes on two cores
    python benchmarks/tuning.py a-Si --structures 3     # 22 minutes
    python benchmarks/tuning.py a-SiO2                  # 10 minutes

Hidden structures of other references, densities or quenches than those of the sweep (`tuning` of materials/NAME.yaml)
are measured, one probe is fitted, and the others are held out. Both settings invert every target with the same seeds,
prior and noise. `tuned` are the settings in the file that `tuning.winner` names, or in --winner.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timed import machine

from glass_ml.config import as_mapping
from glass_ml.errors import InputError
from glass_ml.files import write_json
from glass_ml.priors.checkpoint import load_prior
from glass_ml.sampling.run import sample_prior
from glass_ml.sampling.sampler import noise_levels
from glass_ml.settings.overrides import with_settings
from glass_ml.settings.recipe import system_config
from glass_ml.settings.sampling import SamplingConfig
from glass_ml.settings.tuning import Limits, TuningTarget
from glass_ml.settings.winner import read_winner
from glass_ml.stages.tune import make_items
from glass_ml.tuning.score import Item, score

UNSEEN = {
    "a-Si": {
        "512 atoms, 2.28 g/cm3": TuningTarget("reference-modified-sw-512.extxyz", ("g(r)",), ("X-ray", "EXAFS")),
        "1.89 g/cm3": TuningTarget("reference-modified-sw-1.89.extxyz", ("g(r)",), ("X-ray", "EXAFS"), (1, 2)),
        "2.75 g/cm3": TuningTarget("reference-modified-sw-2.75.extxyz", ("g(r)",), ("X-ray", "EXAFS"), (1, 2)),
        "Tersoff": TuningTarget("reference-tersoff.extxyz", ("X-ray",), ("g(r)", "EXAFS"), (1, 2)),
    },
    "a-SiO2": {
        "g(r)": TuningTarget("reference-bks.extxyz", ("g(r)",), ("X-ray", "neutron", "EXAFS"), (2, 3)),
        "X-ray": TuningTarget("reference-bks.extxyz", ("X-ray",), ("g(r)", "neutron", "EXAFS"), (2, 3)),
        "neutron": TuningTarget("reference-bks.extxyz", ("neutron",), ("g(r)", "X-ray", "EXAFS"), (2, 3)),
    },
}
SHOWN = ("held_out", "realism", "angle.rmse", "coordination.emd")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("system", choices=UNSEEN)
    parser.add_argument("--winner", type=Path, help="file of the tuned settings (default: as the material's file says)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102], help="none of them of the sweep")
    parser.add_argument("--structures", type=int, default=1, help="replicas with each seed")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/tuning-SYSTEM.json")
    arguments = parser.parse_args()
    config = system_config(arguments.system, tuned=False)
    if config.tuning is None:
        raise InputError("no search space", f"materials/{arguments.system}.yaml: tuning")
    file = arguments.winner or Path(config.tuning.winner)
    winner = read_winner(file, arguments.system)
    if winner is None or not winner.settings:
        raise InputError("no tuned settings", str(file), f"run 'glass-ml tune {arguments.system}'")
    tuned = with_settings(config.sampling, winner.settings, str(file))
    kinds = {"default": config.sampling, "tuned": tuned}
    with tempfile.TemporaryDirectory() as folder:
        targets = UNSEEN[arguments.system]
        items = make_items(arguments.system, config.study, targets, arguments.seeds, Path(folder), "unseen")
        jobs = [(kind, item) for item in items for kind in kinds]  # by turns, so that a busy machine slows both alike
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(arguments.processes, context, torch.set_num_threads, (1,)) as pool:
            futures = [
                pool.submit(invert, arguments.system, item, kinds[kind], arguments.structures, config.tuning.limits)
                for kind, item in jobs
            ]
            rows = []
            for (kind, item), future in zip(jobs, futures, strict=True):
                rows.append({"target": item.name, "seed": item.seed, "settings": kind, **future.result()})
                print(f"{item.name}, seed {item.seed}, {kind}: held-out R {rows[-1]['held_out']:.4f}", flush=True)
    result = {
        "machine": machine(),
        "winner": as_mapping(winner),
        "calls": {kind: len(noise_levels(c.schedule)) for kind, c in kinds.items()},
        "seeds": arguments.seeds,
        "structures": arguments.structures,
        "rows": rows,
        "ratios": {name: ratio(rows, name) for name in ("held_out", "realism")},
    }
    report(arguments.system, result)
    out = arguments.out or Path(f"benchmarks/results/tuning-{arguments.system}.json")
    write_json(out, result)
    print(f"wrote {out}")


def invert(system: str, item: Item, config: SamplingConfig, n_structures: int, limits: Limits) -> dict[str, float]:
    """The numbers of one inversion, and its processor time a structure."""
    torch.set_flush_denormal(True)
    prior = load_prior(Path("models") / system)
    target = item.target
    began = time.process_time()
    made = sample_prior(prior, target.composition, target.density, 216, n_structures, item.seed, config, target)
    seconds = (time.process_time() - began) / n_structures
    return {**score(item, made, prior.shortest, limits), "core_seconds": seconds}


def ratio(rows: list[dict], name: str) -> dict[str, Any]:
    """Tuned over default, paired by target and seed: geometric mean, of all and with each seed, and how often below 1.

    The error of all is that over pairs, which counts targets as drawn at random; that of `seeds` is over seeds, for
    these targets.
    """
    logs, seeds = [], defaultdict(list)
    for row in (row for row in rows if row["settings"] == "tuned"):
        other = next(
            r for r in rows
            if r["settings"] == "default" and (r["target"], r["seed"]) == (row["target"], row["seed"])
        )  # fmt: skip
        logs.append(np.log(row[name] / other[name]))
        seeds[row["seed"]].append(logs[-1])
    each = {str(seed): float(np.exp(np.mean(found))) for seed, found in seeds.items()}
    result: dict[str, Any] = {"mean": float(np.exp(np.mean(logs))), "error": _error(logs)}
    result |= {"better": int(np.sum(np.array(logs) < 0)), "pairs": len(logs)}
    return result | {"seeds": each, "seeds_error": _error([np.log(value) for value in each.values()])}


def _error(logs: Sequence[float]) -> float:
    """Standard error of the geometric mean of ratios with these logarithms; 0 of a single one."""
    return float(np.exp(np.mean(logs)) * np.std(logs, ddof=1) / len(logs) ** 0.5) if len(logs) > 1 else 0.0


def report(system: str, result: dict) -> None:
    """Print a row for every target and setting: mean and standard deviation over seeds."""
    rows = result["rows"]
    print(f"\n{system}: {len(result['seeds'])} seeds of {result['structures']} structures, mean ± standard deviation")
    print(f"{'target':<24}{'settings':<10}" + "".join(f"{name:>20}" for name in SHOWN) + f"{'calls':>8}{'core-s':>8}")
    for target in dict.fromkeys(row["target"] for row in rows):
        for kind in ("default", "tuned"):
            mine = [row for row in rows if (row["target"], row["settings"]) == (target, kind)]
            cells = ""
            for name in SHOWN:
                values = np.array([row[name] for row in mine])
                spread = values.std(ddof=1) if len(values) > 1 else 0.0
                cells += f"{values.mean():>12.4f} ± {spread:.3f}"
            seconds = np.median([row["core_seconds"] for row in mine])
            print(f"{target:<24}{kind:<10}{cells}{result['calls'][kind]:>8}{seconds:>8.1f}")
    for name, found in result["ratios"].items():
        print(
            f"{name}: tuned / default {found['mean']:.3f} ± {found['error']:.3f}, better in {found['better']} of "
            f"{found['pairs']} pairs; with each seed {', '.join(f'{v:.3f}' for v in found['seeds'].values())}"
        )


if __name__ == "__main__":
    main()
