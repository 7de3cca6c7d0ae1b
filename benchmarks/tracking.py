"""What the records of an inversion cost: the same inversion with and without tracking, whole commands, by turns.

    python benchmarks/tracking.py                 # 4 x 216 atoms, the settings of `invert`; 15 minutes on two cores
    python benchmarks/tracking.py --system a-SiO2 --pairs 3

Every inversion writes structures, spectra, figures and report into a folder of its own; the tracked ones also a run
with settings, metrics, figures and lineage into a store of their own, which is there already, as it is in a project
after its first run (making one takes 3 s). Two figures come out of it:

- `ratios`: wall and processor time of a tracked command over those of an untracked one, median over pairs. Two runs of
  one and the same command differ by more than the records cost, so this is a check and no measurement.
- `records`: the command given again, for the folder that is there. It computes nothing, so tracked into another store
  it does nothing but record; what it takes longer than the untracked one is the cost, and `share` is that over the
  wall time of an untracked inversion. This is the upper bound: MLflow is imported after the work, not beside it.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from timed import machine

from glass_ml.files import write_json
from glass_ml.tracking.reach import VARIABLE
from glass_ml.tracking.store import open_store

PLANS: dict[str, tuple[str, ...]] = {"tracked": (), "untracked": ("--no-track",)}


def inverted(target: Path, folder: Path, store: Path, *options: str) -> dict[str, float]:
    """Wall and processor time of one `glass-ml invert` into a copy of a store, s."""
    copy = folder.parent / f"{uuid.uuid4().hex}.db"
    copy.parent.mkdir(exist_ok=True)
    shutil.copy(store, copy)
    environment = {**os.environ, VARIABLE: f"sqlite:///{copy}"}
    command = [sys.executable, "-m", "glass_ml.cli.main", "invert", str(target), "--out", str(folder), *options]
    used, began = _used(), time.perf_counter()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return {"wall_s": time.perf_counter() - began, "core_s": _used() - used}


def _used() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--system", default="a-Si")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=2, help="of the command given again, for each pair")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/tracking.json"))
    arguments = parser.parse_args()
    target = Path("targets") / arguments.system / "target.yaml"
    rows, again = [], []
    home = tempfile.TemporaryDirectory()  # goes with the process
    store = Path(home.name) / "mlflow.db"
    os.environ[VARIABLE] = f"sqlite:///{store}"
    open_store()
    for pair in range(arguments.pairs):
        order = list(PLANS) if pair % 2 == 0 else list(reversed(PLANS))
        with tempfile.TemporaryDirectory() as scratch:
            folder = {name: Path(scratch) / name / "inversion" for name in PLANS}
            rows.append({name: inverted(target, folder[name], store, *PLANS[name]) for name in order})
            for _ in range(arguments.repeats):
                found = {name: inverted(target, folder[name], store, *PLANS[name]) for name in order}
                again.append(found["tracked"]["wall_s"] - found["untracked"]["wall_s"])
        said = (f"{name} {took['wall_s']:.1f} s ({took['core_s']:.1f} core-s)" for name, took in rows[-1].items())
        print(f"{', '.join(said)}; records {statistics.median(again):.2f} s", flush=True)
    ratios = {
        unit: statistics.median(row["tracked"][unit] / row["untracked"][unit] for row in rows)
        for unit in ("wall_s", "core_s")
    }
    seconds = statistics.median(again)
    share = seconds / statistics.median(row["untracked"]["wall_s"] for row in rows)
    print(f"tracked / untracked, median of {len(rows)}: wall {ratios['wall_s']:.3f}, core {ratios['core_s']:.3f}")
    print(f"records: {seconds:.2f} s (median of {len(again)}), {share:.1%} of an untracked inversion")
    result = {
        "machine": machine(),
        "system": arguments.system,
        "ratios": ratios,
        "records": {"seconds": seconds, "share": share, "all": again},
        "pairs": rows,
    }
    write_json(arguments.out, result)


if __name__ == "__main__":
    main()
