"""Networks at equal core-minutes: ours, the published architecture in two sizes, and an equivariant one with l = 1.

    python benchmarks/architectures.py [a-Si] [a-SiO2] [--minutes 15] [--only ours published]
    python benchmarks/architectures.py a-Si --minutes 5 --variants "layers=3,channels=16" "matrix_rate=0"

Every network gets the same processor time on one thread, data, noise levels, loss weight, batch and preconditioning;
its learning rates fall to zero at the end of that time. A reference takes the best of four choices of learning rates
(Adam alone, and with orthogonalised steps for matrices), found by short trainings that its budget is not charged
with; ours has those of params.yaml. Needs the prepared structures
(`dvc repro prepare`). Reported: the held-out loss at six noise levels, and samples without any measurement against
held-out structures: RMSE of g(r) and of the bond angles (%/degree), fourfold Si, twofold O; `floor` is what a held-out
structure has against the mean of the others.

One table on stdout; the same numbers in benchmarks/results/architectures.json (variants.json), curves in
architectures-SYSTEM.svg, and runs in the MLflow experiment "architectures". Finished trainings are kept in
build/architectures: the same command goes on, and several may run side by side with --only and be put together by a
last one without it, which alone is recorded in MLflow.
"""

import argparse
import json
import math
import os
import platform
import shlex
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from ase.data import chemical_symbols
from networks.budget import LEVELS, train_for
from networks.candidates import OURS, Candidate, architectures, variant
from networks.curves import draw
from networks.record import record
from safetensors.torch import load_file, save_file
from torch import nn

from glass_ml.analysis.comparison import compare, floor
from glass_ml.analysis.coordination import choose_cutoffs
from glass_ml.analysis.ensemble import describe
from glass_ml.errors import InputError
from glass_ml.files import atomic_path, write_json
from glass_ml.priors.dataset import StructureFile
from glass_ml.sampling.run import sample_prior
from glass_ml.sampling.sampler import BAYES
from glass_ml.settings.recipe import system_config
from glass_ml.settings.sampling import GuidanceConfig, SamplingConfig, ScheduleConfig
from glass_ml.structures.state import Structures, concatenate

CUTOFFS = {"a-Si": {"Si-Si": 2.85}, "a-SiO2": {"Si-O": 2.1}}
SCAN_SHARE = 0.1  # of the budget, for each choice of learning rates
COMPARED = ("gr.rmse", "angle.rmse")
DESCRIBED = ("nfold.Si.4", "nfold.O.2", "angle.below75")
RESULTS = Path("benchmarks/results")


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def trained(
    candidate: Candidate, data: StructureFile, minutes: float, scratch: Path, looks: int = 8
) -> tuple[dict, nn.Module]:
    """The result of a training, from `scratch` where it is finished, and the trained network."""
    key = candidate.key(data, minutes)
    card, weights = scratch / f"{key}.json", scratch / f"{key}.safetensors"
    denoiser = candidate.untrained(data)
    if not card.exists():
        rates = f"{candidate.training.learning_rate:g} and {candidate.training.matrix_rate:g}"
        say(f"{candidate.name}, learning rates {rates}, {minutes:g} core-minutes")
        run = train_for(
            denoiser,
            data,
            60 * minutes,
            noise=candidate.noise,
            training=candidate.training,
            rotate=candidate.rotate,
            looks=looks,
            report=say,
        )
        losses = run.curve[-1][2]
        with atomic_path(weights) as temporary:
            save_file({k: v.contiguous() for k, v in run.denoiser.state_dict().items()}, temporary)
        content = {
            "name": candidate.name,
            "key": key,
            "settings": candidate.settings(),
            "parameters": sum(p.numel() for p in denoiser.parameters() if p.requires_grad),
            "steps": run.steps,
            "core_minutes": run.seconds / 60,
            "loss": losses,
            "mean_loss": sum(losses.values()) / len(losses),
            "curve": run.curve,
        }
        write_json(card, content)
    denoiser.load_state_dict(load_file(weights))
    return json.loads(card.read_text()), denoiser.eval().requires_grad_(False)


def with_best_rates(candidate: Candidate, data: StructureFile, minutes: float, scratch: Path) -> tuple[Candidate, list]:
    """The candidate with the learning rates of the lowest held-out loss after a short training; all that were tried."""
    choices, tried = [], []
    for rate, matrix_rate in candidate.rates:
        training = replace(candidate.training, learning_rate=rate, matrix_rate=matrix_rate)
        choices.append(replace(candidate, training=training))
        loss = trained(choices[-1], data, SCAN_SHARE * minutes, scratch, looks=1)[0]["mean_loss"]
        tried.append({"learning_rate": rate, "matrix_rate": matrix_rate, "mean_loss": loss})
    if not choices:
        return candidate, tried
    losses = [one["mean_loss"] if math.isfinite(one["mean_loss"]) else math.inf for one in tried]
    return choices[losses.index(min(losses))], tried


def held_out(data: StructureFile) -> Structures:
    """One structure of every held-out quench: those of one quench are alike."""
    frames = data.meta["structures"] // data.meta["quenches"]
    return concatenate([data.structure(int(k)) for k in data.validation[::frames]])


def sampled(denoiser: nn.Module, reference: Structures, cutoffs: Mapping[str, float], calls: int) -> dict[str, float]:
    """Quality and cost of samples of the network alone, one at the density and size of each reference structure."""
    config = SamplingConfig(
        ScheduleConfig(steps=calls, sigma_max=1.5, rho=7.0),
        guidance=GuidanceConfig(kind="none"),
        temperature=BAYES,
        minimum_distance=0.0,
    )
    start = time.process_time()
    samples = []
    for seed, like in enumerate(reference.split()):
        composition = Counter(chemical_symbols[z] for z in like.numbers.tolist())
        density = float(like.density[0])
        samples.append(sample_prior(denoiser, composition, density, like.n_atoms, 1, seed, config))  # type: ignore[arg-type]
    seconds = time.process_time() - start
    structures = concatenate(samples)
    found = compare(structures, reference, cutoffs, rings=False) | describe(structures, cutoffs, rings=False)
    values = {name: float(found[name].mean()) for name in COMPARED + DESCRIBED if name in found}
    return {
        **values,
        "calls": calls,
        "structures": len(samples),
        "core_ms_per_call": 1e3 * seconds / calls / len(samples),
    }


def best_possible(reference: Structures, cutoffs: Mapping[str, float]) -> dict[str, float]:
    found = floor(reference, cutoffs, rings=False) | describe(reference, cutoffs, rings=False)
    return {name: float(found[name].mean()) for name in COMPARED + DESCRIBED if name in found}


def table(rows: Sequence[Mapping[str, Any]], lowest: Mapping[str, float]) -> list[str]:
    width = max(len(row["name"]) for row in rows) + 2
    names = [name for name in lowest]
    head = f"{'network':<{width}}{'weights':>9}{'rates':>14}{'steps':>8}{'minutes':>9}"
    lines = [head + "".join(f"{level:>8}" for level in LEVELS) + "".join(f"{n:>15}" for n in names) + f"{'ms/call':>9}"]
    for row in rows:
        training = row["settings"]["training"]
        rates = f"{training['learning_rate']:g}, {training['matrix_rate']:g}"
        line = f"{row['name']:<{width}}{row['parameters']:>9}{rates:>14}{row['steps']:>8}{row['core_minutes']:>9.2f}"
        line += "".join(f"{row['loss'][level]:>8.3f}" for level in LEVELS)
        line += "".join(f"{row['samples'].get(n, float('nan')):>15.3f}" for n in names)
        lines.append(line + f"{row['samples']['core_ms_per_call']:>9.1f}")
    lines.append(f"{'floor':<{len(lines[0]) - 9 - 15 * len(names)}}" + "".join(f"{lowest[n]:>15.3f}" for n in names))
    return lines


def ratios(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Loss of each other network over ours, by noise level: above 1 everywhere means that ours is ahead everywhere."""
    ours = next((row for row in rows if row["name"] == OURS), None)
    others = [row for row in rows if row is not ours]
    return {row["name"]: {k: row["loss"][k] / ours["loss"][k] for k in LEVELS} for row in others} if ours else {}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("systems", nargs="*", default=["a-Si", "a-SiO2"])
    parser.add_argument("--minutes", type=float, default=15.0, help="core-minutes of training for each network")
    parser.add_argument("--calls", type=int, default=64, help="network calls of one sample")
    parser.add_argument("--only", nargs="+", help="names of the networks to run")
    parser.add_argument("--variants", nargs="+", default=[], help="variants of ours, run beside it and nothing else")
    parser.add_argument("--tracking-uri", help="MLflow store (default: the project's); 'none' records nothing")
    parser.add_argument("--scratch", type=Path, default=Path("build/architectures"), help="finished trainings")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the table and the figures")
    parser.add_argument("--quick", action="store_true", help="a smoke run: a few seconds each, nothing recorded")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.minutes, chosen.calls = 0.1, 8
        chosen.tracking_uri = chosen.tracking_uri or "none"
        chosen.results = chosen.scratch if chosen.results == RESULTS else chosen.results
    if chosen.tracking_uri not in (None, "none"):
        os.environ["MLFLOW_TRACKING_URI"] = chosen.tracking_uri
    return chosen


def run_system(system: str, options: argparse.Namespace) -> dict[str, Any]:
    """All networks on one system."""
    data = StructureFile(Path("prepared") / system)
    config = system_config(system)
    if options.quick:
        config = replace(config, training=replace(config.training, validation_structures=1))
    candidates = architectures(config)
    if options.variants:
        candidates = [candidates[0]] + [variant(candidates[0], text) for text in options.variants]
    names = [c.name for c in candidates]
    if unknown := set(options.only or ()) - set(names):
        raise InputError(f"no network '{unknown.pop()}'", "--only", f"known: {', '.join(names)}")
    reference = held_out(data)
    cutoffs = choose_cutoffs(reference, CUTOFFS.get(system))
    rows = []
    for candidate in candidates:
        if options.only and candidate.name not in options.only:
            continue
        best, tried = with_best_rates(candidate, data, options.minutes, options.scratch)
        row, denoiser = trained(best, data, options.minutes, options.scratch)
        kept = options.scratch / f"{row['key']}-samples-{options.calls}.json"
        if not kept.exists():
            write_json(kept, sampled(denoiser, reference, cutoffs, options.calls))
        rows.append({**row, "rates_tried": tried, "samples": json.loads(kept.read_text())})
    return {"rows": rows, "floor": best_possible(reference, cutoffs), "loss_over_ours": ratios(rows)}


def main() -> None:
    options = arguments()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    kind = "variants" if options.variants else "architectures"
    machine = f"{os.cpu_count()} cores, {platform.machine()}, {platform.platform()}"
    header = {
        "command": shlex.join(["python", *sys.argv]),
        "machine": machine,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    path = options.results / f"{kind}.json"
    systems = json.loads(path.read_text())["systems"] if path.exists() else {}
    for system in options.systems:
        result = run_system(system, options)
        figure = options.results / f"{kind}-{system}.svg"
        draw(figure, system, result["rows"])
        if options.tracking_uri != "none" and not options.only:
            record(system, options.minutes, result["rows"], figure)
        systems[system] = {**result, "minutes": options.minutes, **header}
        print(
            f"\n{system}, {options.minutes:g} core-minutes, loss by noise level (Å), samples of {options.calls} calls"
        )
        print("\n".join(table(result["rows"], result["floor"])))
        for name, by_level in result["loss_over_ours"].items():
            low, high = min(by_level.values()), max(by_level.values())
            print(f"loss of {name} over ours: {low:.2f} to {high:.2f}{'' if low > 1 else ', NOT ahead in every bin'}")
    print(f"\n{machine}, torch {torch.__version__}, one thread; {header['command']}")
    write_json(path, {"systems": systems})


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
