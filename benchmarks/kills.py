"""Kill everything at random moments, then look at what is left.

    python benchmarks/kills.py                    # 200 kills; half an hour on two cores
    python benchmarks/kills.py --kills 8 --keep /tmp/killed

A throw-away project with a prior of a few hundred weights does its work in rounds: train, register, tune, invert,
promote. In every round each command is started, killed with its workers (SIGKILL) at a random moment of the time that
it takes, so several times, and then run to its end. What must be there after all of it is there once: a training run
and a version for every round, an inversion for every round, every trial of the sweep with its child run, a holder of
`production` for every round in an unbroken history. Nothing still runs, and `glass-ml doctor` finds nothing wrong.

Kills are counted only where they hit a living command. The result is benchmarks/results/kills.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase import Atoms
from ase.build import bulk
from timed import machine

from glass_ml.files import write_json
from glass_ml.provenance.data import content_md5
from glass_ml.structures.io import write_frames

LOG = "commands.log"
TARGET = """\
system: a-Si
composition: {Si: 1}
density: 0.05
measurements:
  - {file: gr.csv, kind: gr, sigma: 0.05, broadening: 0.1}
  - {file: sq.csv, kind: xray-sq, use: validate, sigma: 0.05}
"""
RECIPE: dict[str, Any] = {
    "prepare": {"states": "all", "validation_share": 0.3},
    "network": {"cutoff": 3.0, "features": 8, "layers": 1, "channels": 2, "radial": 8},
    "noise": {"sigma_min": 0.05, "sigma_max": 1.0, "core_min": 0.1, "core_max": 0.4},
    "training": {"steps": 12, "batch": 2, "epoch_steps": 3, "validation_structures": 1, "warmup": 2},
    "target": {"reference": "hidden.extxyz"},
    "sampling": {"schedule": {"steps": 8, "sigma_max": 0.9}, "guidance": {"largest": 0.3}},
    "inversion": {"n_structures": 3, "n_atoms": 24, "processes": 2},
    "study": {"edges": ["Si K"], "r_max": 4.0, "q_range": [1.5, 10.0]},
    "tuning": {
        "winner": "tuned/a-Si.yaml",
        "space": {"step.kept": {"low": -0.8, "high": 0.4}},
        "targets": {"g(r)": {"reference": "hidden.extxyz", "fit": ["g(r)"], "validate": ["X-ray"]}},
        "seeds": [0],
        "n_atoms": 32,
        "limits": {"too_close": 1.0, "defects": 2.0},
        "finals": {"candidates": 1, "seeds": [10], "p": 0.5},
    },
}
TRIALS = 4
"""Trials of the sweep of a round: another prior makes another sweep."""


class Project:
    """The project and how its commands are run, killed and counted.

    Args:
        root: an empty folder.
        seed: of the moments of the kills.
    """

    def __init__(self, root: Path, seed: int):
        self.root, self.chance = root, random.Random(seed)
        self.kills: Counter[str] = Counter()
        self.seconds: dict[str, float] = {}
        self._make()

    def _make(self) -> None:
        data = self.root / "data" / "a-Si"
        rng = np.random.default_rng(0)
        write_frames(data / "train.extxyz", [_crystal(rng, f"quench-{k}", 1) for k in range(6)])
        write_frames(data / "hidden.extxyz", [_crystal(rng, f"hidden-{k}", 2) for k in range(2)])
        targets = self.root / "targets" / "a-Si"
        targets.mkdir(parents=True)
        (targets / "target.yaml").write_text(TARGET)
        r, q = np.arange(1.0, 6.0, 0.05), np.arange(1.0, 12.0, 0.05)
        g = 1 - np.exp(-((r - 0.5) ** 4) / 6) + 2 * np.exp(-(((r - 2.35) / 0.12) ** 2))
        np.savetxt(targets / "gr.csv", np.column_stack([r, g]), delimiter=",")
        np.savetxt(targets / "sq.csv", np.column_stack([q, 1 + np.sin(2.35 * q) / (2.35 * q)]), delimiter=",")
        (self.root / "dvc.yaml").write_text("stages: {}\n")
        md5 = content_md5(self.root / "data", self.root)
        (self.root / "data.dvc").write_text(f"outs:\n- md5: {md5}\n  hash: md5\n  path: data\n")
        self.recipe(0)
        who = ["-c", "user.name=killer", "-c", "user.email=killer@example.org"]
        for words in (["init", "-q"], ["add", "dvc.yaml", "data.dvc", "targets"], ["commit", "-q", "-m", "project"]):
            subprocess.run(["git", *who, *words], cwd=self.root, check=True)

    def recipe(self, number: int) -> None:
        """Write params.yaml for a round: another seed is another prior."""
        system = {**RECIPE, "training": {**RECIPE["training"], "seed": number}}
        gate = {"held_out_loss": {}, "evaluation": {}, "clean": False}
        text = yaml.safe_dump({"systems": {"a-Si": system}, "promotion": gate})
        (self.root / "params.yaml").write_text(text)

    def start(self, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a command in a process group of its own."""
        environment = {k: v for k, v in os.environ.items() if k not in ("DVC_ROOT", "MLFLOW_TRACKING_URI")}
        with (self.root / LOG).open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=self.root, stdout=log, stderr=log, start_new_session=True,
                env={**environment, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip

    def attack(self, name: str, arguments: Sequence[str]) -> None:
        """Kill a command at a random moment of the time it takes, workers and all."""
        process = self.start(arguments)
        with suppress(subprocess.TimeoutExpired):
            process.wait(self.chance.uniform(0.1, 1.1) * self.seconds[name])
        alive = process.poll() is None
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.kills[name] += alive

    def finish(self, name: str, arguments: Sequence[str]) -> None:
        """Run a command to its end.

        Raises:
            SystemExit: it fails.
        """
        began = time.perf_counter()
        if status := self.start(arguments).wait():
            last = (self.root / LOG).read_text(errors="replace")[-2000:]
            raise SystemExit(f"{' '.join(arguments)} ended with {status}:\n{last}")
        self.seconds.setdefault(name, time.perf_counter() - began)


def _crystal(rng: np.random.Generator, quench: str, repeat: int) -> Atoms:
    atoms = bulk("Si", "diamond", a=5.43 + rng.normal(scale=0.05), cubic=True).repeat((repeat, 1, 1))
    atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
    atoms.info |= {"quench": quench, "state": "thermal"}
    return atoms


def commands(number: int) -> dict[str, list[str]]:
    """The work of a round, from 1."""
    glass = "glass_ml.cli.main"
    promote = ["models", "promote", "glass-a-Si", str(number), "--to", "production", "--force", "--reason", "killed"]
    return {
        "train": [glass, "train", "a-Si"],
        "register": ["glass_ml.stages.register", "a-Si"],
        "tune": [glass, "tune", "a-Si", "--trials", str(TRIALS), "--workers", "2"],
        "invert": [glass, "invert", "targets/a-Si/target.yaml", "--seed", str(number), "--out", f"inversions/{number}"],
        "promote": [glass, *promote],
    }


def work(project: Project, kills: int, say: Callable[[str], None]) -> int:
    """Rounds until there were so many kills; the first one undisturbed, to learn how long things take."""
    number = 0
    while number == 0 or project.kills.total() < kills:
        number += 1
        project.recipe(number)
        for name, arguments in commands(number).items():
            for _ in range(project.chance.randint(1, 3) if number > 1 else 0):
                if project.kills.total() < kills:
                    project.attack(name, arguments)
            project.finish(name, arguments)
        say(f"round {number}: {project.kills.total()} kills")
    return number


def inspect(root: Path, rounds: int) -> dict[str, list[Any]]:
    """What should be there and what is, by name: [expected, found]."""
    import optuna
    from optuna.trial import TrialState

    from glass_ml.tracking.history import events
    from glass_ml.tracking.registry import aliases, versions
    from glass_ml.tracking.store import open_store
    from glass_ml.tuning.storage import open_storage

    store = open_store(root)
    runs = [r for e in store.experiments.values() for r in store.client.search_runs([e], max_results=50_000)]
    finished = [r.data.tags for r in runs if r.info.status == "FINISHED"]
    registered = versions(store, "glass-a-Si")
    chain = events(store, "glass-a-Si", "production")
    storage = open_storage(str(root / "sweeps" / "a-Si" / "journal.log"))
    done = [
        (s.study_name, t)
        for s in optuna.get_all_study_summaries(storage)
        for t in optuna.load_study(study_name=s.study_name, storage=storage).trials
        if t.state in (TrialState.COMPLETE, TrialState.PRUNED)
    ]
    finals = [(study, t.user_attrs["stated"]) for study, t in done if "-finals-" in study]
    doctor = subprocess.run(
        [sys.executable, "-m", "glass_ml.cli.main", "doctor", "--json"], cwd=root, capture_output=True, text=True
    )
    wrong = [f"{f['name']}: {f['detail']}" for f in json.loads(doctor.stdout) if f["status"] == "wrong"]
    left = [str(p.relative_to(root)) for p in root.rglob(".replicas") if any(p.iterdir())]
    left += [str(p.relative_to(root)) for p in (root / "training").glob("*")]

    def count(stage: str, place: str | None = None) -> int:
        return sum(t.get("stage") == stage and t.get("round") == place for t in finished)

    return {
        "finished trainings": [rounds, count("train")],
        "registrations apart from trainings": [0, count("register")],
        "versions": [list(range(1, rounds + 1)), sorted(int(v.version) for v in registered)],
        "different contents of versions": [rounds, len({v.tags["model_sha256"] for v in registered})],
        "finished inversions": [rounds, count("invert")],
        "different structures of inversions": [rounds, len({t.get("inversion_sha256") for t in finished} - {None})],
        "holders of production": [list(range(1, rounds + 1)), [e.version for e in chain]],
        "numbers of their events": [list(range(1, rounds + 1)), [e.number for e in chain]],
        "production": [rounds, aliases(store, "glass-a-Si").get("production")],
        "finished trials": [TRIALS * rounds, len(done) - len(finals)],
        "recorded trials": [TRIALS * rounds, count("tune", "trials")],
        "different finals": [len(finals), len(set(finals))],
        "recorded finals": [len(finals), count("tune", "finals")],
        "runs that go on": [0, sum(r.info.status == "RUNNING" for r in runs)],
        "left behind": [[], left],
        "wrong by doctor": [[], wrong],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="do it in this new folder and keep it")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/kills.json"))
    arguments = parser.parse_args()
    root = arguments.keep or Path(tempfile.mkdtemp())
    root.mkdir(parents=True, exist_ok=True)
    project = Project(root, arguments.seed)
    rounds = work(project, arguments.kills, lambda text: print(text, file=sys.stderr, flush=True))
    found = inspect(root, rounds)
    for name, (expected, there) in found.items():
        print(
            f"{'ok   ' if expected == there else 'WRONG'} {name}: {there}"
            + ("" if expected == there else f", not {expected}")
        )
    print(
        f"{project.kills.total()} kills in {rounds} rounds: " + ", ".join(f"{n} {k}" for n, k in project.kills.items())
    )
    write_json(
        arguments.out,
        {"machine": machine(), "rounds": rounds, "kills": dict(project.kills), "expected and found": found},
    )
    if not arguments.keep:
        shutil.rmtree(root)
    if any(expected != there for expected, there in found.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
