"""Trials between processes: each is done once, and one whose process has died is done again."""

import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from filelock import FileLock
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState
from waiting import until

from glass_ml.errors import InputError
from glass_ml.tracking.runs import process_identity
from glass_ml.tuning import workers
from glass_ml.tuning.space import PlacedSampler
from glass_ml.tuning.storage import open_storage
from glass_ml.tuning.trials import MOST_TRIES, Silence, claim, finished, reap, signs_of_life, stated, unclaimed
from glass_ml.tuning.workers import Sweep, do, work

SPACE = {"x": FloatDistribution(-1, 1), "y": FloatDistribution(-1, 1)}
DEAD = process_identity(2**22 + 1)


class Valley:
    """Two objectives of x and y, computed at once; the process dies at the trials named."""

    def __init__(self, dies_at=()):
        self.dies_at = dies_at

    def __call__(self, study, trial):
        if trial.number in self.dies_at:
            raise KeyboardInterrupt  # nothing catches it before the process ends
        if trial.params["x"] > 0.9:
            raise optuna.TrialPruned("far away")
        return trial.params["x"] ** 2, (trial.params["y"] - 0.5) ** 2


def sweep_of(folder: Path, storage: str, trials: int = 12, objective: object = None) -> Sweep:
    named = {"default": {"x": 0.5, "y": 0.0}}
    objective = objective or Valley()
    return Sweep("valley", storage, folder, SPACE, named, objective, ("a", "b"), trials, seed=3, startup=4)


@pytest.fixture(params=["journal", "sqlite"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "journal.log") if request.param == "journal" else f"sqlite:///{tmp_path}/sweep.db"


def alive() -> str:
    import os

    return process_identity(os.getpid())


def test_no_more_trials_are_taken_than_wanted(tmp_path: Path, storage: str) -> None:
    studies = [sweep_of(tmp_path, storage, trials=5).open() for _ in range(2)]
    taken = []
    for k in range(10):
        if trial := claim(studies[k % 2], SPACE, 5, alive()):
            taken.append((k % 2, trial))
    assert sorted(t.number for _, t in taken) == [0, 1, 2, 3, 4]
    assert taken[0][1].params == {"x": 0.5, "y": 0.0} and taken[0][1].user_attrs["stated"] == "default"
    for k, trial in taken:
        studies[k].tell(trial, [1.0, 1.0])
    assert len(finished(studies[0])) == 5 and unclaimed(studies[1], 5) == 0
    assert claim(studies[0], SPACE, 5, alive()) is None
    assert claim(studies[1], SPACE, 6, alive()) is not None  # more are wanted: it goes on


def test_a_trial_too_many_is_given_up(tmp_path: Path, storage: str) -> None:
    study = sweep_of(tmp_path, storage).open()
    asked = [study.ask(dict(SPACE)) for _ in range(4)]  # by processes that have not seen each other
    for trial in asked:
        trial.set_user_attr("process", alive())
    assert claim(study, SPACE, 4, alive()) is None
    assert claim(study, SPACE, 5, alive()).number == 4


def test_what_two_machines_have_stated_is_done_once(tmp_path: Path, storage: str) -> None:
    study = sweep_of(tmp_path, storage).open()
    study.enqueue_trial({"x": 0.5, "y": 0.0}, user_attrs={"stated": "default"})  # by one that had not seen the first
    study.enqueue_trial({"x": 0.1, "y": 0.1}, user_attrs={"stated": "other"})
    taken = [claim(study, SPACE, 2, alive()) for _ in range(3)]
    assert [t and (t.number, t.user_attrs["stated"]) for t in taken] == [(0, "default"), (2, "other"), None]
    assert stated(study) == {"default", "other"}


def test_the_trial_of_a_dead_process_is_done_again_once(tmp_path: Path, storage: str) -> None:
    study = sweep_of(tmp_path, storage).open()
    first = claim(study, SPACE, 3, alive())
    lost = claim(study, SPACE, 3, DEAD)
    lost.set_user_attr("item 0", {"held_out": 0.25})
    reap(study, SPACE)
    reap(study, SPACE)
    states = [t.state for t in study.get_trials()]
    assert states == [TrialState.RUNNING, TrialState.FAIL, TrialState.WAITING]
    again = claim(study, SPACE, 3, alive())
    assert again.params == lost.params and again.user_attrs["item 0"] == {"held_out": 0.25}
    assert again.user_attrs["retry_of"] == lost.number and first.number == 0
    assert claim(study, SPACE, 3, alive()).number == 3
    assert claim(study, SPACE, 3, alive()) is None


@pytest.mark.parametrize("dies", [False, True], ids=["lives", "dies"])
def test_what_two_machines_have_found_lost_is_done_again_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: str, dies: bool
) -> None:
    study, other = (sweep_of(tmp_path, storage).open() for _ in range(2))
    claim(study, SPACE, 4, alive())
    lost = claim(study, SPACE, 4, DEAD)
    enqueue = study.enqueue_trial

    def late(*arguments, **options):
        monkeypatch.undo()
        reap(other, SPACE)  # between this one's look and its writing
        enqueue(*arguments, **options)

    monkeypatch.setattr(study, "enqueue_trial", late)
    reap(study, SPACE)
    assert [t.params == {} and t.user_attrs["retry_of"] for t in study.get_trials()[2:]] == [lost.number] * 2
    again = [claim(study, SPACE, 4, DEAD if dies else alive())]
    while trial := claim(study, SPACE, 4, alive()):
        again.append(trial)
    running = [t.params for t in study.get_trials(states=(TrialState.RUNNING,))]
    assert again[0].params == lost.params and len(running) == 4
    assert [params == lost.params for params in running].count(True) == 1


def test_settings_that_kill_are_not_tried_for_ever(tmp_path: Path) -> None:
    study = sweep_of(tmp_path, str(tmp_path / "journal.log")).open()
    claim(study, SPACE, 2, alive())
    tried = [claim(study, SPACE, 2, DEAD).params for _ in range(MOST_TRIES)]
    assert all(params == tried[0] for params in tried)
    assert claim(study, SPACE, 2, DEAD) is None
    assert [t.state for t in finished(study)] == [TrialState.PRUNED]


def test_a_trial_is_not_taken_from_a_process_on_another_machine(tmp_path: Path) -> None:
    study = sweep_of(tmp_path, str(tmp_path / "journal.log")).open()
    claim(study, SPACE, 1, "elsewhere:1:1")
    assert claim(study, SPACE, 1, alive()) is None
    assert [t.state for t in study.get_trials()] == [TrialState.RUNNING]


def test_a_machine_that_is_silent_for_long_has_lost_its_trial(tmp_path: Path) -> None:
    study = sweep_of(tmp_path, str(tmp_path / "journal.log")).open()
    trial = claim(study, SPACE, 1, "elsewhere:1:1")
    now = [0.0]
    silent = Silence(limit=10, clock=lambda: now[0])
    assert silent(study) == set()
    now[0] = 9
    trial.set_user_attr("sign_of_life", 1)
    assert silent(study) == set()
    now[0] = 18
    assert silent(study) == set()
    now[0] = 20
    assert silent(study) == {0}
    reap(study, SPACE, silent(study))
    again = claim(study, SPACE, 1, alive())
    assert again.params == trial.params and "sign_of_life" not in again.user_attrs
    do(sweep_of(tmp_path, ""), study, again)
    do(sweep_of(tmp_path, ""), study, trial)  # the first is back, too late
    assert [t.number for t in finished(study)] == [1]


def test_a_trial_at_work_gives_signs_of_life(tmp_path: Path) -> None:
    study = sweep_of(tmp_path, str(tmp_path / "journal.log")).open()
    trial = claim(study, SPACE, 1, alive())
    with signs_of_life(trial, every=0.001):
        until(lambda: study.get_trials()[0].user_attrs.get("sign_of_life", 0) >= 2)


def test_a_resumed_sweep_equals_one_that_was_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: str
) -> None:
    whole = sweep_of(tmp_path / "a", str(tmp_path / "whole.log"))
    work(whole)
    broken = sweep_of(tmp_path / "b", storage, objective=Valley(dies_at=(0, 5, 9)))
    monkeypatch.setattr(workers, "process_identity", lambda pid: DEAD)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            work(broken)
    work(broken)
    trials = [[(t.params, t.state, t.values) for t in finished(s.open())] for s in (whole, broken)]
    assert trials[0] == trials[1] and len(trials[0]) == 12
    assert {t.state for t in broken.open().get_trials()} >= {TrialState.FAIL, TrialState.COMPLETE}


def test_draws_depend_on_seed_and_place_alone() -> None:
    def params(seed: int) -> list[dict]:
        study = optuna.create_study(directions=["minimize"] * 2, sampler=PlacedSampler(seed, 3))
        study.optimize(lambda t: (t.suggest_float("x", 0, 1), t.suggest_float("y", 0, 1)), n_trials=6)
        return [t.params for t in study.get_trials()]

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    first = params(1)
    assert first == params(1) != params(2)
    assert len({p["x"] for p in first} | {p["y"] for p in first}) == 12


def test_a_half_written_line_is_cut_off(tmp_path: Path) -> None:
    journal = tmp_path / "journal.log"
    study = sweep_of(tmp_path, str(journal)).open()
    claim(study, SPACE, 3, DEAD)
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":8,"worker')
    again = sweep_of(tmp_path, str(journal)).open()
    assert journal.read_bytes().startswith(whole)
    assert [t.number for t in again.get_trials()] == [0, 1]


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    journal = tmp_path / "journal.log"
    code = (
        "import os, signal, sys; from pathlib import Path; from glass_ml.tuning.storage import KernelLock\n"
        "KernelLock(Path(sys.argv[1])).acquire(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(journal)], check=False)
    assert done.returncode == -9
    with FileLock(tmp_path / ".journal.log.lock", timeout=10):
        pass


def test_a_storage_without_a_host_is_refused() -> None:
    with pytest.raises(InputError, match="host"):
        open_storage("grpc://")
