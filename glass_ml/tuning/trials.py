"""Trials that several processes share: each is done once, whoever dies on the way.

A trial that has failed does not count, and its place is taken by another one. Who computes a trial is written beside
it; where that process is dead, the trial has failed and its settings wait to be tried again, with what it has done.
Settings that have ended in an error are not tried again, unless they are stated: these, which are not drawn, have a
name, under which one trial counts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from optuna import Study, Trial
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from glass_ml.tracking.runs import may_be_alive

PROCESS, RETRY, ERROR, SIGN = "process", "retry_of", "error", "sign_of_life"
LATE = "others were faster"
"""The error of a trial that was one too many: nothing is wrong with its settings."""
STATED = "stated"
"""Attribute: the name of settings that were not drawn."""
DEFAULT = "default"
"""The name of the default settings; their trial never ends early, as the others are compared with it."""
MOST_TRIES = 10
"""How often settings are tried whose process dies: they may be what kills it."""

GRACE = timedelta(minutes=1)
"""How long a trial may run before it says which process has it."""

SILENCE = 600.0
"""Seconds without a sign of life after which a trial on another machine is taken for lost."""

SIGN_EVERY = 60.0  # s, between two signs of life

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
Space = Mapping[str, BaseDistribution]


def finished(study: Study) -> list[FrozenTrial]:
    """The trials that count and are done, in order."""
    return study.get_trials(deepcopy=False, states=FINISHED)


def is_default(trial: Trial | FrozenTrial) -> bool:
    """Whether it tries the default settings."""
    return trial.user_attrs.get(STATED) == DEFAULT


def stated(study: Study) -> set[str]:
    """The names of the stated settings that are tried, or wait to be."""
    return {t.user_attrs[STATED] for t in study.get_trials(deepcopy=False) if _counts(t) and STATED in t.user_attrs}


def unclaimed(study: Study, trials: int) -> int:
    """How many of the `trials` nobody does yet."""
    taken = (*FINISHED, TrialState.RUNNING)
    return max(0, trials - len(study.get_trials(deepcopy=False, states=taken)))


def place_of(trials: Sequence[FrozenTrial], number: int) -> int:
    """How many trials before this one count: those that have failed do not."""
    return sum(_counts(t) for t in trials if t.number < number)


def draws_before(trials: Sequence[FrozenTrial], number: int) -> int:
    """How many trials before this one count, or have drawn settings that ended in an error."""
    return place_of(trials, number) + sum(_erred(t) and STATED not in t.user_attrs for t in trials[:number])


def claim(study: Study, space: Space, trials: int, process: str) -> Trial | None:
    """A trial to do; None when as many as wanted are done or in somebody's hands.

    Args:
        study: of the sweep.
        space: what its settings are drawn from.
        trials: wanted in all.
        process: who asks, as `process_identity` names it.
    """
    reap(study, space)
    while unclaimed(study, trials):
        trial = study.ask(dict(space))
        trial.set_user_attr(PROCESS, process)
        known = study.get_trials(deepcopy=False)
        if place_of(known, trial.number) < trials and not _twice(known[trial.number], known):
            return trial
        give_up(study, trial, LATE)
    return None


def give_up(study: Study, trial: Trial, why: str) -> None:
    """End a trial that does not count, for a reason that is kept."""
    trial.set_user_attr(ERROR, why)
    study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)


def _twice(trial: FrozenTrial, known: Sequence[FrozenTrial]) -> bool:
    """Whether two machines have stated the same settings, or found the same trial lost, at once, and this came second.

    The earlier retry of a lost trial need not count: if it was lost too, it has a retry of its own.
    """
    name, lost, earlier = trial.user_attrs.get(STATED), trial.user_attrs.get(RETRY), known[: trial.number]
    if name is not None:
        return any(_counts(t) and t.user_attrs.get(STATED) == name for t in earlier)
    return lost is not None and any(t.user_attrs.get(RETRY) == lost for t in earlier)


def _counts(trial: FrozenTrial) -> bool:
    return trial.state != TrialState.FAIL


def _erred(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.FAIL and trial.user_attrs.get(ERROR, LATE) != LATE


class Silence:
    """Which running trials have given no sign of life for long, by the clock of the process that looks.

    Args:
        limit: seconds.
        clock: in seconds.
    """

    def __init__(self, limit: float = SILENCE, clock: Callable[[], float] = time.monotonic):
        self.limit, self.clock = limit, clock
        self._heard: dict[int, tuple[Any, float]] = {}

    def __call__(self, study: Study) -> set[int]:
        """Their numbers."""
        now, lost = self.clock(), set()
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            sign = trial.user_attrs.get(SIGN)
            before, since = self._heard.get(trial.number, (None, now))
            if trial.number not in self._heard or before != sign:
                self._heard[trial.number] = sign, now
            elif now - since > self.limit:
                lost.add(trial.number)
        return lost


@contextmanager
def signs_of_life(trial: Trial, every: float = SIGN_EVERY) -> Iterator[None]:
    """Have a trial give a sign of life every minute inside the block."""
    done = threading.Event()

    def beat() -> None:
        for number in count(1):
            if done.wait(every):
                return
            with suppress(Exception):  # the storage may be away for a while
                trial.set_user_attr(SIGN, number)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def reap(study: Study, space: Space, lost: Collection[int] = ()) -> None:
    """Have the trials of dead processes fail, and those that are `lost`; their settings wait to be tried again.

    Both steps can be repeated: a kill between them loses nothing and doubles nothing. Of two machines that reap at once
    both may have settings wait; `claim` gives out the first of these. Settings that have killed their process too often
    count as a trial that ended early.
    """
    known = study.get_trials(deepcopy=False)
    for trial in [t for t in known if t.state == TrialState.RUNNING and (t.number in lost or _dead(t))]:
        state = TrialState.FAIL if _tries(trial, known) < MOST_TRIES else TrialState.PRUNED
        study.tell(trial.number, state=state, skip_if_finished=True)
    known = study.get_trials(deepcopy=False)
    again = {t.user_attrs.get(RETRY) for t in known}
    for trial in known:
        settings = _settings(trial, space)
        died = trial.state == TrialState.FAIL and ERROR not in trial.user_attrs
        if died and settings and trial.number not in again:
            kept = {k: v for k, v in trial.user_attrs.items() if k not in (PROCESS, SIGN)}
            study.enqueue_trial(settings, user_attrs={**kept, RETRY: trial.number})


def _dead(trial: FrozenTrial) -> bool:
    process = trial.user_attrs.get(PROCESS)
    if process is not None:
        return not may_be_alive(process)
    return trial.datetime_start is not None and datetime.now() - trial.datetime_start > GRACE


def _settings(trial: FrozenTrial, space: Space) -> dict[str, Any] | None:
    """What a trial tries; None if it was lost before all was drawn: its place then draws the same again."""
    candidates = (trial.params, trial.system_attrs.get("fixed_params", {}))
    return next((dict(c) for c in candidates if set(c) == set(space)), None)


def _tries(trial: FrozenTrial, known: Sequence[FrozenTrial]) -> int:
    tries = 1
    while (before := trial.user_attrs.get(RETRY)) is not None:
        trial, tries = known[before], tries + 1
    return tries
