"""All melt-quenches of a material, side by side, resumable, collected into the files that training reads."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ase.io
import yaml
from ase import Atoms
from tqdm import tqdm

from glass_ml.errors import InputError
from glass_ml.files import sha256_file, sha256_text
from glass_ml.simulation.ase_dynamics import CALCULATORS
from glass_ml.simulation.materials import recipe_of
from glass_ml.simulation.recipe import AsePotential, Job, LammpsPotential, Potential, Quench, Recipe, jobs
from glass_ml.simulation.simulator import require_program

CARD = "card.yaml"
PARTS = "parts"
LONGEST_IN_CARD = 2000  # characters of a potential file that the card repeats


def generate(
    material: str | Recipe,
    out_dir: str | Path,
    *,
    processes: int = 2,
    seed: int = 0,
    progress: bool = True,
    limit: int | None = None,
) -> dict[str, Any]:
    """Simulate a material: `train.extxyz`, `reference-<name>.extxyz` and `card.yaml` in `out_dir`.

    Each finished melt-quench is kept in `out_dir/parts`, so that a rerun after an interruption does only what
    is missing; a rerun of a finished one does nothing. Structures depend on the recipe and `seed`, not on
    `processes`.

    Args:
        material: its name, of a file in materials/; the path of such a file; or a recipe.
        out_dir: folder of the material, made where absent.
        processes: melt-quenches side by side, one core each.
        seed: of all starts and velocities.
        progress: a bar on stderr with the time left.
        limit: at most this many runs of each batch; None for all.

    Returns:
        The content of `card.yaml`.

    Raises:
        InputError: unknown material, LAMMPS not installed, a folder that cannot be written, a number below one.
        RuntimeError: a simulation failed; the message ends with what it printed.
    """
    recipe = material if isinstance(material, Recipe) else recipe_of(material)
    for name, value in (("processes", processes), ("limit", limit)):
        if value is not None and value < 1:
            raise InputError(f"{value} is less than one", name, "give a whole number from 1")
    for potential in {quench.potential.name: quench.potential for quench in recipe.quenches}.values():
        require_program(potential)
    out = Path(out_dir)
    todo = jobs(recipe, seed, limit)
    digest = hashlib.sha256("".join(job.digest for job in todo).encode()).hexdigest()
    if (card := _read_card(out)) is not None and card.get("digest") == digest and _is_whole(out, card):
        shutil.rmtree(out / PARTS, ignore_errors=True)
        return card
    try:
        (out / PARTS).mkdir(parents=True, exist_ok=True)
        (out / CARD).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write: {error.strerror}", str(out), "choose another folder") from error
    _run_missing(todo, out / PARTS, processes, progress)
    return _collect(recipe, todo, out, seed, digest)


def part_path(parts: Path, job: Job) -> Path:
    """Where the frames of a finished job lie: a changed job has another digest and so another file."""
    return parts / f"{job.name}-{job.digest}.extxyz"


def run_job(job: Job, target: Path) -> None:
    """Run one job in a process of its own, which writes `target` whole or not at all.

    Raises:
        RuntimeError: it failed.
    """
    potential = job.quench.potential
    calculator = [CALCULATORS[potential.ase]] if isinstance(potential, AsePotential) else []
    done = subprocess.run(
        [sys.executable, "-m", "glass_ml.simulation.melt_quench", str(target), *calculator],
        input=job.to_json(),
        text=True,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    if done.returncode != 0 or not target.exists():
        tail = (done.stderr or done.stdout).strip()[-1000:]
        raise RuntimeError(f"simulation {job.system}/{job.name} failed (status {done.returncode}): {tail}")


def _run_missing(todo: list[Job], parts: Path, processes: int, progress: bool) -> None:
    missing = [job for job in todo if not part_path(parts, job).exists()]
    # Longest first, so that no core waits for one long job at the end.
    missing.sort(key=lambda job: -job.quench.cost)
    bar = tqdm(
        total=sum(map(_ticks, missing)),
        disable=not progress,
        bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}",
        file=sys.stderr,
    )
    finished = len(todo) - len(missing)
    with bar, ThreadPoolExecutor(processes) as pool:
        pending: dict[Future[None], Job] = {pool.submit(run_job, job, part_path(parts, job)): job for job in missing}
        try:
            while pending:
                bar.set_description_str(f"{todo[0].system}: {finished} of {len(todo)} quenches")
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    job = pending.pop(future)
                    future.result()
                    finished += 1
                    bar.update(_ticks(job))
            bar.set_description_str(f"{todo[0].system}: {finished} of {len(todo)} quenches")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _ticks(job: Job) -> int:
    """Milliseconds that a job is estimated to take."""
    return round(job.quench.cost * 1000) or 1


def _collect(recipe: Recipe, todo: list[Job], out: Path, seed: int, digest: str) -> dict[str, Any]:
    collections: dict[str, list[Job]] = {}
    for job in todo:
        collections.setdefault(job.quench.collection, []).append(job)
    card: dict[str, Any] = {
        "system": recipe.system,
        "seed": seed,
        "digest": digest,
        **_programs(recipe),
        "protocol": "random start, melt, linear quench, thermal frames, minimised frame; at constant volume",
        "files": {},
        "batches": {},
    }
    for collection, members in collections.items():
        frames: list[Atoms] = []
        for job in members:
            frames += ase.io.read(part_path(out / PARTS, job), index=":", format="extxyz")
        path = out / f"{collection}.extxyz"
        # Made among the parts and moved: an interruption leaves no half-written file where training looks.
        ase.io.write(out / PARTS / path.name, frames, format="extxyz")
        (out / PARTS / path.name).replace(path)
        card["files"][path.name] = {
            "role": members[0].quench.role,
            "quenches": len(members),
            "frames": len(frames),
            "atoms": sum(len(frame) for frame in frames),
            "sha256": sha256_file(path),
        }
    for quench in recipe.quenches:
        own = [job for job in todo if job.quench.name == quench.name]
        card["batches"][quench.name] = _describe(quench, own)
    text = yaml.safe_dump(card, sort_keys=False, allow_unicode=True, width=110)
    (out / PARTS / CARD).write_text(text, encoding="utf-8")
    (out / PARTS / CARD).replace(out / CARD)
    shutil.rmtree(out / PARTS)
    return card


def _describe(quench: Quench, own: list[Job]) -> dict[str, Any]:
    return {
        "file": f"{quench.collection}.extxyz",
        "role": quench.role,
        **_describe_potential(quench.potential),
        "composition": dict(quench.composition),
        "atoms": quench.n_atoms,
        "melt": {"temperature_K": quench.melt_temperature, "time_ps": quench.melt_time},
        "quench": {"time_ps": quench.quench_time, "rate_K_per_ps": round(quench.rate, 2)},
        "thermal": {
            "temperature_K": quench.temperature,
            "equilibration_ps": quench.equilibration_time,
            "frames": quench.snapshots,
            "apart_ps": quench.snapshot_time,
        },
        "timestep_ps": quench.timestep,
        "count": len(own),
        "densities_g_cm3": [job.density for job in own],
        "seeds": [job.seed for job in own],
    }


def _describe_potential(potential: Potential) -> dict[str, Any]:
    """A potential in the card: short files whole, tables by their checksum."""
    named = {"potential": potential.name, "citation": potential.citation}
    if isinstance(potential, AsePotential):
        return {**named, "ase": potential.ase, "arguments": potential.arguments}
    files = {
        name: text if len(text) <= LONGEST_IN_CARD else f"sha256 {sha256_text(text)}"
        for name, text in potential.files.items()
    }
    return {
        **named,
        "commands": list(potential.commands),
        **({"potential_files": files} if files else {}),
        **({"charges_e": dict(potential.charges)} if potential.charges else {}),
    }


def _read_card(out: Path) -> dict[str, Any] | None:
    try:
        card = yaml.safe_load((out / CARD).read_text())
    except (OSError, yaml.YAMLError):
        return None
    return card if isinstance(card, dict) else None


def _is_whole(out: Path, card: dict[str, Any]) -> bool:
    """Whether every file of a card is there with the checksum that the card gives."""
    try:
        return all(sha256_file(out / name) == entry["sha256"] for name, entry in card["files"].items())
    except OSError:
        return False


def _programs(recipe: Recipe) -> dict[str, str]:
    """The releases of the programs that a recipe runs."""
    lammps = {isinstance(quench.potential, LammpsPotential) for quench in recipe.quenches}
    return {name: version(name) for name, used in (("lammps", True in lammps), ("ase", False in lammps)) if used}
