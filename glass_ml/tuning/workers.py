"""The processes of a sweep: each takes trials until enough are done; one that dies is replaced."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

import optuna
import torch
from filelock import FileLock
from optuna import Study, Trial, TrialPruned
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import TrialState
from tqdm import tqdm

from glass_ml.execution.processes import end_with_parent
from glass_ml.tracking.runs import process_identity
from glass_ml.tuning.sampler import PlacedSampler
from glass_ml.tuning.storage import open_storage
from glass_ml.tuning.trials import STATED, Silence, claim, finished, give_up, reap, signs_of_life, stated, unclaimed

LOOK_EVERY = 0.5  # s, between two looks at the trials
MOST_DEATHS = 5
"""Workers that may die one after the other, without a trial that ends well, before the sweep gives up."""


class Objective(Protocol):
    """What a trial does; picklable."""

    def __call__(self, study: Study, trial: Trial) -> Sequence[float]:
        """The values of a trial, one an objective; raises TrialPruned to end it early."""
        ...


@dataclass(frozen=True)
class Sweep:
    """All that a worker needs.

    Attributes:
        name: of the study; other settings, data or code have another one.
        storage: as `open_storage` takes it.
        folder: of what the sweep writes.
        space: dotted key -> what it is drawn from.
        stated: name -> settings that are tried before any are drawn, each once; the default settings among them.
        objective: what a trial does.
        objectives: names of its values, all to be small.
        trials: wanted in all.
        seed: of the choice of settings.
        startup: trials at random.
        pruner: of a sweep with one objective.
    """

    name: str
    storage: str
    folder: Path
    space: Mapping[str, BaseDistribution]
    stated: Mapping[str, Mapping[str, Any]]
    objective: Objective
    objectives: tuple[str, ...]
    trials: int
    seed: int
    startup: int
    pruner: BasePruner | None = None

    def lock(self) -> FileLock:
        """Held while trials are taken, by one process of this machine at a time."""
        return FileLock(self.folder / ".claims.lock")

    def open(self) -> Study:
        """The study of the sweep, made where it does not exist, with the stated settings as its first trials.

        Raises:
            InputError: the storage cannot be opened.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.lock():
            storage = open_storage(self.storage)
            options: dict[str, Any] = {"sampler": PlacedSampler(self.seed, self.startup), "pruner": self.pruner}
            try:
                study = optuna.load_study(study_name=self.name, storage=storage, **options)
            except KeyError:
                directions = [StudyDirection.MINIMIZE] * len(self.objectives)
                study = optuna.create_study(
                    study_name=self.name, storage=storage, directions=directions, load_if_exists=True, **options
                )
            if len(self.objectives) > 1 and study.metric_names != list(self.objectives):
                study.set_metric_names(list(self.objectives))
            reap(study, self.space)
            for name in [name for name in self.stated if name not in stated(study)]:
                study.enqueue_trial(dict(self.stated[name]), user_attrs={STATED: name})
        return study


def run_sweep(
    sweep: Sweep, workers: int, *, unit: str = "trial", progress: bool = True, heard: Callable[[], None] = lambda: None
) -> Study:
    """Have all trials done, those that are there already included; returns the study.

    Args:
        sweep: what to do.
        workers: processes.
        unit: what the bar calls a trial.
        progress: show a bar.
        heard: called whenever trials have been finished.

    Raises:
        RuntimeError: a worker has failed, or one after the other has died.
    """
    study = sweep.open()
    done = len(finished(study))
    processes: list[BaseProcess] = []
    deaths, silent = 0, Silence()
    bar = tqdm(total=sweep.trials, initial=min(done, sweep.trials), unit=unit, disable=not progress, smoothing=0.1)
    try:
        with closing(bar):
            while done < sweep.trials:
                with sweep.lock():
                    reap(study, sweep.space, silent(study))
                    open_trials = unclaimed(study, sweep.trials)
                deaths = _bury(processes, deaths)
                for _ in range(min(workers - len(processes), open_trials)):
                    processes.append(_start(sweep))
                time.sleep(LOOK_EVERY)
                if (now := len(finished(study))) > done:
                    bar.update(min(now, sweep.trials) - done)
                    bar.set_postfix_str(best_text(study))
                    done, deaths = now, 0
                    heard()
            for process in processes:
                process.join()
    finally:
        for process in processes:
            process.terminate()
    return study


def best_text(study: Study) -> str:
    """The smallest value of every objective so far."""
    values = [t.values for t in finished(study) if t.values]
    names = study.metric_names or ["loss"]
    return ", ".join(f"{n} {min(v[k] for v in values):.3g}" for k, n in enumerate(names)) if values else ""


def _start(sweep: Sweep) -> BaseProcess:
    # Spawned, because forking a process that has run torch threads can hang.
    process = multiprocessing.get_context("spawn").Process(target=work, args=(sweep,))
    process.start()
    return process


def _bury(processes: list[BaseProcess], deaths: int) -> int:
    """Take out the processes that have ended; returns how many have died since a trial ended well."""
    for process in [p for p in processes if p.exitcode is not None]:
        processes.remove(process)
        if process.exitcode == 0:
            continue
        if process.exitcode is not None and process.exitcode > 0:
            raise RuntimeError(
                "a trial has failed; its error stands above. The same command goes on: it draws other settings, and "
                "tries again those that were not drawn, of the default and of finalists"
            )
        deaths += 1
        tqdm.write(
            f"worker {process.pid} died (signal {-(process.exitcode or 0)}): another takes over", file=sys.stderr
        )
        if deaths > MOST_DEATHS:
            raise RuntimeError(f"{deaths} workers died one after the other; is there enough memory?")
    return deaths


def work(sweep: Sweep) -> None:
    """Take trials and do them, until none is left to take."""
    if multiprocessing.parent_process():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends this process
    threading.Thread(target=end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    study = sweep.open()
    process = process_identity(os.getpid())
    while True:
        with sweep.lock(), warnings.catch_warnings():
            trial = claim(study, sweep.space, sweep.trials, process)
        if trial is None:
            return
        with suppress(UpdateFinishedTrialError):  # it was taken for lost, and is another's now
            do(sweep, study, trial)


def do(sweep: Sweep, study: Study, trial: Trial) -> None:
    """Do one trial and keep what came out; values that are not finite end it early."""
    try:
        with signs_of_life(trial):
            values = sweep.objective(study, trial)
        if not all(map(math.isfinite, values)):
            raise TrialPruned("no finite result")
    except TrialPruned as reason:
        trial.set_user_attr("pruned", str(reason))
        study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
    except Exception as error:
        give_up(study, trial, f"{type(error).__name__}: {error}"[:500])
        raise
    else:
        study.tell(trial, list(values), skip_if_finished=True)
