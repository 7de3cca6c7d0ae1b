"""The process that writes wandb runs for `mirror`: a program of its own, with nothing of glass_ml in it.

wandb changes `sys.exit`, the hook of exceptions and the environment of its process, starts a service and may wait for a
network. Here it can do so without harm: the process that computes only talks through a pipe, and may end this one.

A line of JSON on standard input is a request {"do": ..., "id": run, ...}, and a line on standard output its answer:
{"answer": ...} or {"error": text}. When the input ends, what is open is ended as broken off.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

BROKEN_OFF = 255
"""Exit code of a run whose end nobody has told."""
PATIENCE = 20.0
"""Seconds that opening a run may wait for the network."""
runs: dict[str, Any] = {}
refused = ""
"""Why the server is left alone from now on."""


def open_run(run: str, mode: str, **options: Any) -> dict[str, Any]:
    """Open or, where the server knows it, go on with a run; one that the server does not take is kept here.

    Returns "rows", how many it has, and "refused", why the server does not take it, or nothing.
    """
    global refused
    import wandb

    if run in runs:  # its end could not be told
        runs.pop(run).finish(exit_code=BROKEN_OFF)
    settings = wandb.Settings(
        silent=True,
        console="off",
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
        save_code=False,
        symlink=False,
        init_timeout=PATIENCE,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
    )
    common = {"id": run, "reinit": "create_new", "settings": settings, **options}
    opened = None
    if mode == "online" and not refused:
        try:
            opened = wandb.init(mode="online", resume="allow", **common)
        except Exception as error:
            refused = " ".join(str(error).split())
            if runs:  # the service cannot start anew, and the failed attempt keeps the name
                raise
            wandb.teardown()
    runs[run] = opened = opened or wandb.init(mode="offline", **common)
    opened.define_metric("*", step_metric="step")
    return {"rows": opened.step, "refused": refused if mode == "online" else ""}


def update(run: str, config: dict[str, Any], rows: list[dict[str, Any]], summary: dict[str, Any], notes: str) -> None:
    """Bring settings, curves (each row with its "step") and latest values up to date."""
    known = runs[run]
    known.config.update(config, allow_val_change=True)
    known.notes = notes
    for row in rows:
        known.log(row)
    known.summary.update(summary)


def end(run: str, files: str, exit_code: int) -> None:
    """Add the files of a folder, and end the run."""
    known = runs[run]
    for path in sorted(p for p in Path(files).rglob("*") if p.is_file()):
        known.save(str(path), base_path=files, policy="now", glob=False)
    known.finish(exit_code=exit_code)
    del runs[run]


REQUESTS: dict[str, Callable[..., Any]] = {"open": open_run, "update": update, "end": end}


def main() -> None:
    """Answer requests until there are no more."""
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever wandb prints is no answer
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"answer": REQUESTS[request.pop("do")](request.pop("id"), **request)}
        except Exception as error:  # wandb's own are many
            answer = {"error": " ".join(f"{type(error).__name__}: {error}".split())}
        try:
            os.write(answers, (json.dumps(answer) + "\n").encode())
        except BrokenPipeError:  # nobody is there to read it
            break
    for run in runs.values():
        run.finish(exit_code=BROKEN_OFF)


if __name__ == "__main__":
    main()
