"""A sweep in small: an untrained prior, hidden crystals, inversions of seconds."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import optuna
from ase.build import bulk
from ase.io import write
from filelock import FileLock, Timeout
from optuna.trial import TrialState
from small_project import write_material

TUNING = """
  winner: tuned/a-Si.yaml
  space:
    guidance.largest: {low: 0.05, high: 0.5, log: true}
    step.kept: {low: -0.8, high: 0.4}
    schedule.steps: {low: 4, high: 10, step: 2}
  targets:
    g(r): {reference: hidden.extxyz, fit: [g(r)], validate: [X-ray, EXAFS]}
  seeds: [0, 1, 2]
  n_atoms: 32
  startup: 3
  limits: {too_close: 1.0, defects: 2.0}
  finals: {candidates: 1, seeds: [10, 11], p: 0.3}
"""
LOCKS = (".claims.lock", ".journal.log.lock")
RECIPE = """\
target: {{reference: hidden.extxyz}}
sampling: {{schedule: {{steps: 8, sigma_max: 1.5, rho: 7.0}}, guidance: {{largest: {largest}}}}}
study: {{edges: [Si K], r_max: 4.0, q_range: [1.5, 10]}}
tuning: {tuning}
"""


def write_recipe(project: Path, tuning: str = TUNING, largest: float = 0.3) -> None:
    write_material(project, RECIPE.format(tuning=tuning, largest=largest))


def write_hidden(project: Path) -> Path:
    """Hidden structures: crystals with a little disorder, of two quenches."""
    frames = []
    for seed in range(4):
        atoms = bulk("Si", "diamond", 5.43, cubic=True).repeat(2)
        atoms.rattle(0.1, seed=seed)
        atoms.info["quench"] = f"quench-{seed // 2}"
        frames.append(atoms)
    path = project / "data" / "a-Si" / "hidden.extxyz"
    path.parent.mkdir(parents=True)
    write(path, frames)
    return path


def study_of(folder: Path, which: str = "study") -> optuna.Study:
    """The study of a sweep; of its finals, with "finals"."""
    from glass_ml.tuning.storage import open_storage

    manifest = json.loads((folder / "sweep.json").read_text())
    return optuna.load_study(study_name=manifest[which], storage=open_storage(str(folder / "journal.log")))


def finished_numbers(study: optuna.Study) -> list[int]:
    done = (TrialState.COMPLETE, TrialState.PRUNED)
    return [t.number for t in study.get_trials(deepcopy=False) if t.state in done]


def start(*arguments: str) -> subprocess.Popen:
    line = [sys.executable, "-m", "glass_ml.cli.main", "tune", "a-Si", *arguments]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def at_work(study: optuna.Study) -> set[int]:
    """The numbers of the processes that are in the middle of a trial."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return {int(t.user_attrs["process"].split(":")[1]) for t in running if "process" in t.user_attrs and t.params}


def stopped_worker(study: optuna.Study, folder: Path) -> int | None:
    """A process that is held up in the middle of a trial, and holds up no other: to be killed, or let go on."""
    for pid in at_work(study):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            if pid in at_work(study) and all(_is_free(folder / name) for name in LOCKS):
                return pid
            os.kill(pid, signal.SIGCONT)
    return None


def _is_free(lock: Path) -> bool:
    with suppress(Timeout), FileLock(lock, timeout=0):
        return True
    return False
