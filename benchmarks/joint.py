"""What several measurements give together: angles that none was fitted to, and what each further one costs.

    python benchmarks/joint.py                    # 40 minutes on one core
    python benchmarks/joint.py --system a-Si

Reference structures are measured by g(r), X-ray S(Q), neutron F(Q) (to 20 1/Å) and EXAFS (k 3-12 1/Å), with noise of
1 % of the range. They are inverted from single measurements and from several at once, with the same prior, seeds and
calls. The cost is the processor time of a structure against that of the g(r) alone, median over structures.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from timed import machine

from glass_ml.analysis.comparison import compare, floor
from glass_ml.files import write_json
from glass_ml.measurements.target import load_target
from glass_ml.priors.checkpoint import load_prior
from glass_ml.sampling.run import sample_batch
from glass_ml.settings.recipe import system_config
from glass_ml.stages.probes import reference_structures
from glass_ml.stages.study import make_probes
from glass_ml.structures.state import concatenate

CHOICES = (
    ("g(r)",),
    ("neutron",),
    ("EXAFS",),
    ("g(r)", "neutron", "EXAFS"),
    ("g(r)", "X-ray", "neutron", "EXAFS"),
)
SHOWN = ("angle.rmse", "coordination.emd", "rings.emd", "gr.rmse")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--system", default="a-SiO2")
    parser.add_argument("--structures", type=int, default=24)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/joint-SYSTEM.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    config = system_config(arguments.system, tuned=False)
    study = replace(config.study, n_structures=arguments.structures, steps=arguments.steps)
    hidden = reference_structures(Path("data") / arguments.system / (study.reference or config.target.reference))
    prior = load_prior(Path("models") / arguments.system)
    sampling = replace(config.sampling, schedule=replace(config.sampling.schedule, steps=arguments.steps))
    with tempfile.TemporaryDirectory() as folder:
        probes, file = make_probes(arguments.system, study, hidden, Path(folder))
        target = load_target(file)
        names = {p.name: set(p.measurements) for p in probes}
        targets = []
        for choice in CHOICES:
            kept = set().union(*(names[probe] for probe in choice))
            targets.append(replace(target, measurements=tuple(m for m in target.measurements if m.name in kept)))
        made: list[list] = [[] for _ in CHOICES]
        seconds: list[list[float]] = [[] for _ in CHOICES]
        for replica in range(arguments.structures):  # by turns, so that a busy machine slows all alike
            for k, one in enumerate(targets):
                began = time.process_time()
                made[k].append(
                    sample_batch(prior, one.composition, one.density, study.n_atoms, [replica], 0, sampling, target=one)
                )
                seconds[k].append(time.process_time() - began)
    least = floor(hidden.structures)
    print(f"{arguments.system}: {arguments.structures} structures of {study.n_atoms} atoms, {arguments.steps} calls")
    print(f"{'fitted':<36}" + "".join(f"{name:>22}" for name in SHOWN) + f"{'cost':>8}{'core-s':>8}")
    rows = []
    for choice, structures, times in zip(CHOICES, made, seconds, strict=True):
        found = compare(concatenate(structures), hidden.structures)
        cost = statistics.median(a / b for a, b in zip(times, seconds[0], strict=True))
        row = {
            "fitted": list(choice),
            **{n: [float(found[n].mean()), float(found[n].std(ddof=1))] for n in found if n.startswith(SHOWN)},
            "cost": cost,
            "core_seconds": statistics.median(times),
        }
        rows.append(row)
        cells = "".join(f"{row[n][0]:>14.3f} ± {row[n][1]:.3f}" for n in SHOWN)
        print(f"{' + '.join(choice):<36}{cells}{cost:>8.2f}{row['core_seconds']:>8.1f}")
    print(f"{'one reference structure':<36}" + "".join(f"{least[n].mean():>14.3f}        " for n in SHOWN))
    result = {
        "machine": machine(),
        "floor": {n: float(v.mean()) for n, v in least.items()},
        "rows": rows,
    }
    out = arguments.out or Path(f"benchmarks/results/joint-{arguments.system}.json")
    write_json(out, result)
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
