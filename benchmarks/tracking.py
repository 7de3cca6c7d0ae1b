"""What the records of an inversion cost: the same inversion with and without tracking, whole commands, by turns.

    python benchmarks/tracking.py                 # 4 x 216 atoms, the settings of params.yaml; 10 minutes on two cores
    python benchmarks/tracking.py --system a-SiO2 --pairs 3

Every inversion writes structures, spectra, figures and report into a folder of its own; the tracked ones also a run
with settings, metrics, figures and lineage into a new store. The ratio is that of the wall times of a pair, of which
the median counts; processor time is that of the command and its workers.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from timed import machine

from glass_ml.files import write_json


def inverted(target: Path, folder: Path, *options: str) -> tuple[float, float]:
    """Wall and processor time of one `glass-ml invert`, s."""
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder.parent / 'mlflow.db'}"}
    command = [sys.executable, "-m", "glass_ml.cli.main", "invert", str(target), "--out", str(folder), *options]
    used, began = _used(), time.perf_counter()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began, _used() - used


def _used() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--system", default="a-Si")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/tracking.json"))
    arguments = parser.parse_args()
    target = Path("targets") / arguments.system / "target.yaml"
    rows = []
    for pair in range(arguments.pairs):
        with tempfile.TemporaryDirectory() as scratch:
            plans = [("tracked", ()), ("untracked", ("--no-track",))]
            found = {
                name: inverted(target, Path(scratch) / name / "inversion", *options)
                for name, options in (plans if pair % 2 == 0 else reversed(plans))
            }
        rows.append({name: {"wall_s": wall, "core_s": core} for name, (wall, core) in found.items()})
        print(", ".join(f"{name} {wall:.1f} s ({core:.1f} core-s)" for name, (wall, core) in found.items()), flush=True)
    ratios = {
        unit: statistics.median(row["tracked"][unit] / row["untracked"][unit] for row in rows)
        for unit in ("wall_s", "core_s")
    }
    print(f"tracked / untracked, median of {len(rows)}: wall {ratios['wall_s']:.3f}, core {ratios['core_s']:.3f}")
    write_json(arguments.out, {"machine": machine(), "system": arguments.system, "ratios": ratios, "pairs": rows})


if __name__ == "__main__":
    main()
