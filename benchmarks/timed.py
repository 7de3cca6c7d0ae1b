"""What the timing scripts share: clocks, packings to compute on, and a line about the machine."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase
import numpy as np
import torch
from ase import Atoms

from glass_ml.priors.dataset import StructureFile, write_structure_file
from glass_ml.structures.io import to_atoms
from glass_ml.structures.random import generator, random_packing
from glass_ml.structures.state import Structures

DENSITY = 0.05  # atoms/Å^3, amorphous silicon


def packing(n_atoms: int, seed: int = 0) -> Structures:
    """A random packing of silicon: a noisy structure has most neighbours to visit."""
    return random_packing({"Si": 1.0}, DENSITY, n_atoms, [generator(seed, "benchmark")])


def packed_data(folder: Path, n_atoms: int, count: int = 12) -> StructureFile:
    """A training set of random packings; a step takes as long with them as with any structures."""

    def frames() -> list[Atoms]:
        made = [to_atoms(packing(n_atoms, k))[0] for k in range(count)]
        for k, atoms in enumerate(made):
            atoms.info["quench"] = f"packing-{k}"
        return made

    write_structure_file(folder, frames(), validation_share=0.25, source_path="packings", source_md5="none")
    return StructureFile(folder)


def median_ms(
    action: Callable[[], object], device: str = "cpu", calls: int = 20, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Median time of a call in ms, three calls before left out."""
    times = []
    for _ in range(calls + 3):
        synchronise(device)
        start = clock()
        action()
        synchronise(device)
        times.append(clock() - start)
    return 1e3 * statistics.median(times[3:])


def wall_and_core(action: Callable[[], object], calls: int = 1) -> tuple[float, float]:
    """Median wall time and median processor time of a call, s."""
    walls, cores = [], []
    for _ in range(calls):
        wall, core = time.perf_counter(), time.process_time()
        action()
        walls.append(time.perf_counter() - wall)
        cores.append(time.process_time() - core)
    return statistics.median(walls), statistics.median(cores)


def synchronise(device: str) -> None:
    """Wait for what a GPU still has to do."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def resident() -> dict[str, float]:
    """Memory of this process, MB: resident in all, its peak, and the part that is no file's."""
    names = {"VmRSS:": "resident", "VmHWM:": "peak", "RssAnon:": "anonymous"}
    lines = [line.split() for line in Path("/proc/self/status").read_text().splitlines()]
    return {names[words[0]]: int(words[1]) / 1024 for words in lines if words and words[0] in names}


def reset_peak() -> None:
    """Count the peak of `resident` from here."""
    Path("/proc/self/clear_refs").write_text("5")


def apart(script: str, **job: Any) -> dict[str, Any]:
    """What `script --job JSON --out FILE` writes, in a process of its own on one thread."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        command = [sys.executable, script, "--job", json.dumps(job), "--out", str(out)]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        return json.loads(out.read_text())


def machine(device: str = "cpu") -> str:
    """Processor, versions and the command, for the head of a result."""
    model = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    gpu = f", {torch.cuda.get_device_name()}" if device.startswith("cuda") else ""
    versions = f"python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}"
    command = f"python benchmarks/{Path(sys.argv[0]).name} {' '.join(sys.argv[1:])}".strip()
    return f"{os.cpu_count()} cores {model}{gpu}; {versions}, ase {ase.__version__}; {command}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines() if Path(path).exists() else []
