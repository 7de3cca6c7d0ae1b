"""Speed and memory of training: the network of params.yaml, batch 2 per process, structures of 216 atoms.

    python benchmarks/training.py                    # one and two processes of one thread each, taken in turns
    python benchmarks/training.py --repeat-to 10GB   # memory while training on a data set of that size
    python benchmarks/training.py --quick            # a smoke run

Prints one table and writes benchmarks/results/training.json (training-memory.json). A structure costs the same
whatever it is, so that random packings serve as data. Two trainings at once, of one process each, share nothing but the
machine: no DDP training of two processes can be faster than they are. `ms/step` is the median between the starts of two
steps, of the fastest of several runs, data loading included; `speed-up` is in structures/s against one process, of the
fastest runs and of the medians. Parts of a step are process times of one process without Lightning.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from timed import machine, median_ms, packed_data, resident

from glass_ml.files import write_json
from glass_ml.priors.datamodule import DenoisingData
from glass_ml.priors.dataset import ROWS, StructureFile
from glass_ml.priors.module import DenoisingModule, new_module
from glass_ml.priors.rows import RowWriter
from glass_ml.priors.training import new_trainer
from glass_ml.settings.prior import NetworkConfig, NoiseConfig, TrainingConfig
from glass_ml.structures.neighbours import neighbour_pairs

RESULTS = Path("benchmarks/results")
FIRST = 5  # steps left out
UNITS = {"MB": 10**6, "GB": 10**9}
MEMORY_EVERY = 10  # steps between two looks at the memory


class Clock(pl.Callback):
    """Notes when each step starts, and the memory on the way."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []
        self.memory: list[dict[str, float]] = []

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        self.wall.append(time.perf_counter())
        self.cpu.append(time.process_time())
        if len(self.wall) % MEMORY_EVERY == 0:
            self.memory.append(resident())

    def steps(self, times: list[float]) -> list[float]:
        return [b - a for a, b in zip(times[FIRST:], times[FIRST + 1 :], strict=False)]


def params_config() -> tuple[NetworkConfig, TrainingConfig]:
    """Network and training of a-Si in params.yaml; the defaults where that cannot be read."""
    try:
        from glass_ml.settings.recipe import system_config

        config = system_config("a-Si")
        return config.network, config.training
    except ImportError:
        return NetworkConfig(), TrainingConfig()


def train(data: StructureFile, steps: int, options: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any] | None:
    """Some steps as `glass-ml train` makes them; what was measured, in the first process."""
    network, training = params_config()
    training = replace(training, steps=steps, epoch_steps=steps, validation_structures=1, threads=1, **extra)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    before = resident()
    clock = Clock()
    trainer = new_trainer(training, callbacks=[clock], progress=False, **options)
    items = training.batch * steps * trainer.world_size
    batches = DenoisingData(
        data, NoiseConfig(), seed=0, batch=training.batch, epoch_items=items, validation_structures=1
    )
    trainer.fit(new_module(data, network, training), batches)
    if not trainer.is_global_zero:
        return None
    wall, cpu = statistics.median(clock.steps(clock.wall)), statistics.median(clock.steps(clock.cpu))
    measured = {
        "structures_per_s": training.batch * trainer.world_size / wall,
        "ms_per_step": 1e3 * wall,
        "cpu_ms_per_step": 1e3 * cpu,
        "peak_MB": resident()["peak"],
        "peak_before_training_MB": before["peak"],
        "memory": clock.memory,
    }
    if options.get("accelerator") == "gpu":
        measured["gpu_peak_MB"] = torch.cuda.max_memory_allocated() / 2**20
    return measured


def parts(data: StructureFile, device: str = "cpu", calls: int = 20) -> dict[str, float]:
    """Time of the parts of a step, ms; on a CPU the time of this process."""
    network, training = params_config()
    torch.set_num_threads(1)
    clock = time.process_time if device == "cpu" else time.perf_counter
    module = new_module(data, network, training).to(device)
    source = DenoisingData(data, NoiseConfig(), seed=0, batch=training.batch, epoch_items=10**6)
    loader = iter(source.train_dataloader())
    batch = module.transfer_batch_to_device(next(loader), torch.device(device), 0)
    configured: Any = module.configure_optimizers()
    optimiser = configured["optimizer"]

    def timed(action: Any) -> float:
        return median_ms(action, device, calls, clock)

    def forward() -> torch.Tensor:
        return DenoisingModule.loss(module.prior, batch)

    noisy = batch.clean.at(batch.clean.positions + batch.sigma[batch.clean.system][:, None] * batch.noise)
    both = timed(lambda: forward().backward())
    return {
        "data": timed(lambda: next(loader)),
        "neighbours": timed(lambda: neighbour_pairs(noisy, network.cutoff)),
        "forward": timed(forward),
        "forward_backward": both,
        "optimiser": timed(optimiser.step),
        "average": timed(lambda: module.average.update_parameters(module.prior)),
    }


def arrangements(counts: list[int]) -> list[tuple[int, int]]:
    """(trainings at the same time, processes of each): every count as one training, then as independent ones."""
    return [(1, count) for count in counts] + [(count, 1) for count in counts if count > 1]


def at_once(data: Path, trainings: int, processes: int, steps: int, extra: dict[str, Any]) -> dict[str, Any]:
    """Trainings that share nothing but the machine; the first one's figures, with the structures/s of all."""
    options = {"accelerator": "cpu", "devices": processes}
    job = json.dumps({"data": str(data), "steps": steps, "options": options, "extra": extra})
    with tempfile.TemporaryDirectory() as folder:
        outs = [Path(folder) / f"{k}.json" for k in range(trainings)]
        running = [
            subprocess.Popen(
                [sys.executable, __file__, "--job", job, "--out", str(out)],
                stdout=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            for out in outs
        ]
        if any(one.wait() for one in running):
            raise SystemExit("a training failed")
        found = [json.loads(out.read_text()) for out in outs]
    return {**found[0], "structures_per_s": sum(one["structures_per_s"] for one in found)}


def in_turns(data: Path, counts: list[int], steps: int, repeats: int, extra: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of the table: the arrangements by turns, so that a busy moment hits all alike."""
    runs: dict[tuple[int, int], list[dict[str, Any]]] = {each: [] for each in arrangements(counts)}
    for _ in range(repeats):
        for each, made in runs.items():
            made.append(at_once(data, *each, steps, extra))
    rows = []
    for (trainings, processes), made in runs.items():
        fastest = max(made, key=lambda run: run["structures_per_s"])
        rates, first = ([run["structures_per_s"] for run in found] for found in (made, runs[1, counts[0]]))
        rows.append(
            {
                "trainings": trainings,
                "processes": processes,
                **{key: fastest[key] for key in ("structures_per_s", "ms_per_step", "cpu_ms_per_step", "peak_MB")},
                "speed_up": max(rates) / max(first),
                "speed_up_of_medians": statistics.median(rates) / statistics.median(first),
                "all_structures_per_s": rates,
            }
        )
    return rows


def repeated(source: StructureFile, folder: Path, size: int) -> StructureFile:
    """The data set again and again until its positions take `size` bytes."""
    if shutil.disk_usage(folder.parent).free < 1.3 * size:
        raise SystemExit(f"{folder.parent}: less than {1.3 * size / 1e9:.0f} GB free")
    folder.mkdir()
    files = {name: RowWriter(folder / f"{name}.npy", *kind) for name, kind in ROWS.items()}
    whole = {
        name: getattr(source, name).rows(0, len(getattr(source, name))) for name in ("positions", "cell", "numbers")
    }
    offsets = source.offsets.rows(0, len(source.offsets))
    held_out = torch.zeros(len(offsets) - 1, dtype=torch.bool)
    held_out[torch.from_numpy(source.validation)] = True
    times = max(1, size // whole["positions"].nbytes)
    files["offsets"].append(offsets[:1])
    for k in range(times):
        for name, rows in whole.items():
            files[name].append(rows)
        files["offsets"].append(offsets[1:] + k * offsets[-1])
        files["held_out"].append(held_out.numpy())
    for file in files.values():
        file.close()
    write_json(folder / "meta.json", {**source.meta, "structures": times * (len(offsets) - 1)})
    return StructureFile(folder)


def memory_run(folder: Path, size: str, steps: int) -> None:
    number, unit = float(size[:-2]), size[-2:]
    large = folder / "large"
    source = packed_data(folder / "small", 216)
    data = repeated(source, large, int(number * UNITS[unit]))
    stored = sum(file.stat().st_size for file in large.iterdir())
    measured = train(data, steps, {}, {})
    assert measured
    looks = measured["memory"]
    row = {
        "data_set_GB": stored / 1e9,
        "structures": len(data.training) + len(data.validation),
        "steps": steps,
        "peak_resident_MB": measured["peak_MB"],
        "resident_first_MB": looks[0]["resident"],
        "resident_last_MB": looks[-1]["resident"],
        "anonymous_last_MB": looks[-1]["anonymous"],
    }
    for name, value in row.items():
        print(f"{name:<24}{value:>14,.1f}")
    write_json(RESULTS / "training-memory.json", {"machine": machine(), **row})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few steps, one run of each")
    parser.add_argument("--repeat-to", metavar="SIZE", help="train on a data set of this size, such as 10GB")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--scratch", default=tempfile.gettempdir(), help="where data sets are made, and removed")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        job = json.loads(arguments.job)
        measured = train(StructureFile(job["data"]), job["steps"], job["options"], job["extra"])
        if measured:
            write_json(arguments.out, measured)
        return
    steps, repeats = (FIRST + 10, 1) if arguments.quick else (arguments.steps, arguments.repeats)
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        if arguments.repeat_to:
            return memory_run(Path(scratch), arguments.repeat_to, steps)
        data = packed_data(Path(scratch) / "data", 216)
        shares = parts(data)
        rows = in_turns(Path(scratch) / "data", arguments.processes, steps, repeats, {})
    names = [name for name in rows[0] if name != "all_structures_per_s"]
    print("".join(f"{name:>21}" for name in names))
    for row in rows:
        print("".join(f"{row[name]:>21.2f}" for name in names))
    print("ms of a step: " + ", ".join(f"{name} {value:.2f}" for name, value in shares.items()))
    print(machine())
    if not arguments.quick:
        write_json(RESULTS / "training.json", {"machine": machine(), "rows": rows, "parts_ms": shares})


if __name__ == "__main__":
    main()
