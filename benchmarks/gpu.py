"""Speed and memory on one GPU: training, network call, guided step and whole structures, 216 to 100 000 atoms.

    python benchmarks/gpu.py                          # on the GPU
    python benchmarks/gpu.py --device cpu --quick     # a smoke run anywhere

needs torch, pytorch_lightning, numpy, scipy, ase and safetensors (and, for guided steps, periodictable and xraydb), and
neither trained weights nor measured data: the network has the size of the defaults and random weights, and the target
is the g(r) of a packing. Prints one table and writes benchmarks/results/gpu.json.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from timed import DENSITY, machine, median_ms, packed_data, packing, synchronise
from training import parts, train

from glass_ml.files import write_json, write_text
from glass_ml.measurements.likelihood import build_likelihood
from glass_ml.measurements.target import Target, load_target
from glass_ml.priors.prior import Prior
from glass_ml.sampling.guidance import make_guidance
from glass_ml.sampling.run import sample_batch
from glass_ml.sampling.sampler import noise_levels
from glass_ml.settings.prior import NetworkConfig
from glass_ml.settings.sampling import SamplingConfig, ScheduleConfig

SIZES = (216, 1000, 4096, 10_000, 100_000)
HOW = ("float32", "bf16", "float32 compiled", "bf16 compiled")
SIGMA = 0.3  # Å
SAMPLING = SamplingConfig(ScheduleConfig(steps=100, sigma_max=1.5, rho=7.0))
TARGET = """\
system: a-Si
composition: {{Si: 1}}
density: {density}
measurements:
  - {{file: gr.csv, kind: gr, sigma: 0.02, broadening: 0.1}}
"""


def untrained(device: str) -> Prior:
    torch.manual_seed(0)
    losses = {0.06: 0.45, 0.25: 0.15, 1.0: 0.9}
    prior = Prior((14,), NetworkConfig(), losses, [(14, 14, 2.2)], (0.045, 0.054))
    return prior.eval().requires_grad_(False).to(device)


def g_of_r(folder: Path) -> Target:
    """A target with the g(r) of a hard-sphere-like packing up to 8 Å."""
    r = torch.arange(1.0, 8.0, 0.05)
    peaks = sum(a * torch.exp(-0.5 * ((r - c) / w) ** 2) for a, c, w in ((3.0, 2.35, 0.12), (1.2, 3.8, 0.25)))
    g = (r > 2.0) * (1.0 - torch.exp(-((r - 1.5) ** 4) / 30)) + peaks
    write_text(folder / "gr.csv", "\n".join(f"{a:.3f},{b:.5f}" for a, b in zip(r.tolist(), g.tolist(), strict=True)))
    write_text(folder / "target.yaml", TARGET.format(density=DENSITY))
    return load_target(folder / "target.yaml")


@contextlib.contextmanager
def precision(kind: str, device: str) -> Iterator[None]:
    with torch.autocast(device, torch.bfloat16) if kind == "bf16" else contextlib.nullcontext():
        yield


def peak_mb(device: str) -> float:
    """Most memory that tensors took on the GPU since the last call, MB."""
    if device != "cuda":
        return float("nan")
    most = torch.cuda.max_memory_allocated() / 2**20
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return most


def calls(device: str, sizes: list[int], kinds: list[str], target: Target, repeat: int) -> list[dict[str, Any]]:
    """Network call (each precision, with and without compiling) and guided step at every size."""
    rows: list[dict[str, Any]] = []
    for n_atoms in sizes:
        structures = packing(n_atoms).to(device)
        for kind in kinds:
            prior = untrained(device)
            peak_mb(device)
            with torch.no_grad(), precision(kind.split()[0], device):
                try:
                    if "compiled" in kind:
                        prior.network.compile(dynamic=True)
                    ms = median_ms(lambda p=prior, s=structures: p.denoise(s, SIGMA), device, repeat)
                except Exception as error:  # a compiler that is missing or fails is a result, too
                    print(f"network, {kind}: {str(error).splitlines()[0]}")
                    continue
            rows.append({"what": "network", "how": kind, "atoms": n_atoms, "ms": ms, "peak_MB": peak_mb(device)})
        guidance = make_guidance(SAMPLING, untrained(device), build_likelihood(target, structures))
        ms = median_ms(lambda g=guidance, s=structures: g.estimate(s, SIGMA, torch.randn_like), device, repeat)
        rows.append({"what": "guided step", "how": "float32", "atoms": n_atoms, "ms": ms, "peak_MB": peak_mb(device)})
    return rows


def structures(device: str, sizes: list[int], target: Target) -> list[dict[str, Any]]:
    """Whole structures by `SAMPLING`, packing included."""
    rows = []
    prior, config = untrained(device), SAMPLING
    for n_atoms in sizes:
        peak_mb(device)
        start = time.perf_counter()
        sample_batch(prior, {"Si": 1.0}, DENSITY, n_atoms, [0], 0, config, target=target, device=device)
        synchronise(device)
        levels = len(noise_levels(config.schedule))
        how = f"{levels} levels"
        ms = 1e3 * (time.perf_counter() - start)
        rows.append({"what": "structure", "how": how, "atoms": n_atoms, "ms": ms, "peak_MB": peak_mb(device)})
    return rows


def training(device: str, kinds: list[str], folder: Path, steps: int, batches: tuple[int, ...]) -> list[dict[str, Any]]:
    """A training step of a few and of many structures of 216 atoms, and its parts at the batch of params.yaml."""
    rows = []
    data = packed_data(folder / "data", 216)
    for kind in kinds:
        extra: dict[str, Any] = {"precision": "bf16-mixed" if kind.startswith("bf16") else "32-true"}
        extra["compile"] = "compiled" in kind
        for batch in batches:
            peak_mb(device)
            options = {"accelerator": "gpu" if device == "cuda" else "cpu", "devices": 1}
            measured = train(data, steps, options, {**extra, "batch": batch})
            assert measured
            ms = measured["ms_per_step"]
            rows.append(
                {
                    "what": f"training, batch {batch}",
                    "how": kind,
                    "atoms": 216 * batch,
                    "ms": ms,
                    "peak_MB": peak_mb(device),
                }
            )
    for name, ms in parts(data, device).items():
        rows.append({"what": f"training: {name}", "how": "float32", "atoms": 432, "ms": ms, "peak_MB": float("nan")})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--quick", action="store_true", help="the first size, few calls")
    parser.add_argument("--largest-structure", type=int, default=100_000, help="atoms of the largest whole structure")
    parser.add_argument("--how", nargs="+", choices=HOW, default=list(HOW), help="precision, and whether compiled")
    arguments = parser.parse_args()
    device, sizes, kinds, repeat, steps, batches = arguments.device, arguments.sizes, arguments.how, 20, 105, (2, 64)
    if arguments.quick:
        sizes, repeat, steps, batches = sizes[:1], 2, 12, (2, 4)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        target = g_of_r(folder)
        rows = calls(device, sizes, kinds, target, repeat)
        rows += training(device, kinds, folder, steps, batches)
        rows += structures(device, [n for n in sizes if n <= arguments.largest_structure], target)
    print(f"{'what':<28}{'how':<20}{'atoms':>10}{'ms':>14}{'us/atom':>12}{'peak MB':>12}")
    for row in rows:
        row["us_per_atom"] = 1e3 * row["ms"] / row["atoms"]
        print(
            f"{row['what']:<28}{row['how']:<20}{row['atoms']:>10}{row['ms']:>14.2f}{row['us_per_atom']:>12.2f}"
            f"{row['peak_MB']:>12.0f}"
        )
    print(machine(device))
    rows = [{key: value for key, value in row.items() if value == value} for row in rows]  # JSON has no nan
    if not arguments.quick:
        write_json(Path("benchmarks/results/gpu.json"), {"machine": machine(device), "rows": rows})


if __name__ == "__main__":
    main()
