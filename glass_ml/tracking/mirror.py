"""wandb as a mirror of MLflow: the same runs under the same names, for people who look there.

MLflow stays the record. A run is read from it, again and again while it goes on and a last time at its end, and what is
new is handed to `mirror_writer`, a process beside this one. So every curve is there, whoever logged it; and a wandb
that fails, hangs or is away costs one line of warning and a limited time, never a result.
"""

from __future__ import annotations

import ast
import atexit
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glass_ml.config import build, read_yaml
from glass_ml.errors import InputError, without_passwords
from glass_ml.provenance.project import project_root, worktree
from glass_ml.settings.platform import TrackingConfig
from glass_ml.tracking.experiments import NOTE
from glass_ml.tracking.reach import gone, knock

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

    from glass_ml.tracking.store import Store

FOLDER = "wandb"
PROJECT = "glass_ml"
PARENT = "mlflow.parentRunId"
EVERY = 30.0
"""Seconds between two looks at a run that goes on."""
SETTLED = 2.0
"""Seconds after which everything of one time has been logged."""
PATIENCE = 60.0
"""Seconds that the end of a run waits for wandb."""
PASSED = (
    "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "WANDB_ENTITY",
    "WANDB_HTTP_TIMEOUT", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_PROJECT",
)  # fmt: skip
"""What the environment may say to wandb; the rest would attach a run to something else."""
PROGRAM = Path(__file__).with_name("mirror_writer.py")
EXIT_CODES = {"FINISHED": 0, "FAILED": 1}
BROKEN_OFF = 255


def tracking_config(root: Path | str | None = None) -> TrackingConfig:
    """What params.yaml of the working tree says; the defaults where there is no such section or file.

    Raises:
        InputError: a key or value that is not known.
    """
    file = worktree(root) / "params.yaml"
    section = read_yaml(file).get("tracking") if file.is_file() else None
    if isinstance(section, dict) and section.get("wandb") is False:  # YAML's reading of a bare off
        section = {**section, "wandb": "off"}
    return build(TrackingConfig, section, f"{file.name}: tracking")


def mirror_mode() -> str:
    """ "off", "offline" or "online".

    Raises:
        InputError: the section `tracking` is not right, or a mirror is wanted and wandb is not installed.
    """
    mode = tracking_config().wandb
    if mode != "off":
        found = importlib.util.find_spec("wandb")
        if found is None or found.origin is None:  # a folder of that name is a package too, an empty one
            mend = "run \"pip install -c constraints.txt -e '.[wandb]'\", or say 'off'"
            raise InputError("wandb is not installed", f"params.yaml: tracking.wandb: {mode}", mend)
    return mode


def mirror(store: Store, run_id: str) -> None:
    """Show a run in wandb as it is now in MLflow; nothing where no mirror is wanted."""
    with mirrored(store, run_id):
        pass


@contextmanager
def mirrored(store: Store, run_id: str) -> Iterator[None]:
    """Show a run in wandb from the beginning of the block to its end; nothing where no mirror is wanted.

    Raises:
        InputError: as `mirror_mode`.
    """
    mode = mirror_mode()
    if mode == "off" or _Writer.given_up:
        yield
        return
    ended, problems = threading.Event(), list[str]()
    thread = threading.Thread(target=_follow, args=(store, run_id, mode, ended, problems), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(PATIENCE)
        if thread.is_alive():
            _Writer.give_up()
            problems.append(f"no answer for {PATIENCE:.0f} s")
        if problems:
            print(f"glass-ml: not mirrored to wandb: {problems[0]}; MLflow has the run {run_id}", file=sys.stderr)


def _follow(store: Store, run_id: str, mode: str, ended: threading.Event, problems: list[str]) -> None:
    try:
        client = store.client
        writer = _Writer.running()
        labels = _labels(client, client.get_run(run_id))
        opened = writer.ask("open", run_id, mode=mode, dir=str(project_root()), **labels)
        writer.say_once(opened["refused"])
        sent = opened["rows"]
        while True:
            last = ended.wait(EVERY)
            if last:
                knock(store.uri)
            with suppress(*(() if last else (Exception,))):  # a store that is away for a while is asked again
                until = float("inf") if last else (time.time() - SETTLED) * 1000
                run = client.get_run(run_id)
                rows = _rows(client, run, until)
                writer.ask("update", run_id, rows=rows[sent:], **_values(run))
                sent = max(sent, len(rows))
            if last:
                with tempfile.TemporaryDirectory() as folder:
                    client.download_artifacts(run_id, "", folder)
                    code = EXIT_CODES.get(run.info.status, BROKEN_OFF)
                    writer.ask("end", run_id, files=folder, exit_code=code)
                return
    except Exception as error:  # whatever it is, the run in MLflow must not suffer
        if gone(store.uri, error):
            return  # that is said elsewhere; it is mirrored when it is recorded
        problems.append(without_passwords(" ".join(str(error).split()) or type(error).__name__)[:300])


def _labels(client: MlflowClient, run: MlflowRun) -> dict[str, Any]:
    tags = run.data.tags
    parent = client.get_run(tags[PARENT]) if PARENT in tags else run
    labels = [tags[key][:64] for key in ("stage", "system") if tags.get(key)]
    return {
        "project": os.environ.get("WANDB_PROJECT") or PROJECT,
        "name": run.info.run_name,
        "group": f"{parent.info.run_name} {parent.info.run_id[:8]}",
        "job_type": tags.get("stage"),
        "tags": labels,
    }


def _values(run: MlflowRun) -> dict[str, Any]:
    """Settings and tags by their names, the latest value of every metric, and the note."""
    tags = {k: v for k, v in run.data.tags.items() if not k.startswith("mlflow.")}
    params = {k: _value(v) for k, v in run.data.params.items()}
    return {
        "config": {**tags, **params, "mlflow_run_id": run.info.run_id},
        "summary": run.data.metrics,
        "notes": run.data.tags.get(NOTE, ""),
    }


def _value(text: str) -> Any:
    """A setting as it was before MLflow made it a text, so that wandb can order runs by it."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _rows(client: MlflowClient, run: MlflowRun, until: float) -> list[dict[str, float]]:
    """All that was logged before a time, ms, in its order: later rows come at the end. Each has its "step".

    Names are read one after the other: of what is logged meanwhile, some would be there and some not.
    """
    rows: dict[tuple[int, int], dict[str, float]] = defaultdict(dict)
    for name in run.data.metrics:
        for found in client.get_metric_history(run.info.run_id, name):
            if found.timestamp < until:
                rows[found.timestamp, found.step][name] = found.value
    return [{**values, "step": step} for (_, step), values in sorted(rows.items(), key=lambda item: item[0])]


class _Writer:
    """The process that writes; one for all runs of this process, started when first wanted."""

    given_up = False
    _one: _Writer | None = None
    _starting = threading.Lock()

    def __init__(self) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_") or k in PASSED}
        environment |= {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
        environment.setdefault("WANDB_CACHE_DIR", str(project_root() / FOLDER / "cache"))
        # -P: the modules beside the program are not for wandb to find. Its session is its own: Ctrl-C is for us.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
            start_new_session=True,
        )
        self._turn, self._told = threading.Lock(), False
        atexit.register(self._close)

    @classmethod
    def running(cls) -> _Writer:
        """The process, started where it is not there."""
        with cls._starting:
            if cls._one is None:
                cls._one = cls()
            return cls._one

    @classmethod
    def give_up(cls) -> None:
        """End it, and do without from now on."""
        cls.given_up = True
        if cls._one:
            cls._one._process.kill()

    def ask(self, do: str, run_id: str, **content: Any) -> Any:
        """Have something done; returns the answer.

        Raises:
            RuntimeError: wandb could not do it.
        """
        with self._turn:
            stdin, stdout = self._process.stdin, self._process.stdout
            assert stdin and stdout
            try:
                stdin.write(json.dumps({"do": do, "id": run_id, **content}) + "\n")
                stdin.flush()
                line = stdout.readline()
            except OSError:
                line = ""
        if not line:
            _Writer.given_up = True
            raise RuntimeError("its process has died")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["answer"]

    def say_once(self, refused: str) -> None:
        """Tell that the server does not take runs."""
        if refused and not self._told:
            self._told = True
            line = (
                f"wandb takes no runs ({without_passwords(refused)[:200]}); they are kept in {FOLDER}/ for 'wandb sync'"
            )
            print(f"glass-ml: {line}", file=sys.stderr)

    def _close(self) -> None:
        with suppress(OSError, subprocess.TimeoutExpired):
            assert self._process.stdin
            self._process.stdin.close()
            self._process.wait(PATIENCE)
        if self._process.poll() is None:
            self._process.kill()
