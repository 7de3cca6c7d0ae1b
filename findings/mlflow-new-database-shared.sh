#!/usr/bin/env bash
# mlflow 3.17.2: several processes that open one new SQLite store at the same time.
#
# Ranks of a training, or workers of a sweep, each call set_experiment on sqlite:///runs.db. One should think that one
# of them makes the schema and the others wait, as they do for every later write. What happens: all of them migrate the
# empty database step by step, in each other's way. Most raise (alembic's "Online migration expected to match one row",
# or "table ... already exists"). On a database that exists all of them pass.
# Instead: open the store once in the parent, before the others start.
set -euo pipefail
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT && cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q --disable-pip-version-check mlflow==3.17.2 sqlalchemy==2.1.9 alembic==1.20.1 >/dev/null
cat >run.py <<'PY'
import multiprocessing as mp

import mlflow


def work(uri, barrier, results):
    mlflow.set_tracking_uri(uri)
    barrier.wait()
    try:
        mlflow.set_experiment("shared")
        results.put("")
    except Exception as error:
        results.put(f"{type(error).__name__}: {str(error).splitlines()[0]}")


def together(uri, count=4):
    context = mp.get_context("spawn")
    barrier, results = context.Barrier(count), context.Queue()
    workers = [context.Process(target=work, args=(uri, barrier, results)) for _ in range(count)]
    for worker in workers:
        worker.start()
    errors = [error for error in (results.get() for _ in workers) if error]
    for worker in workers:
        worker.join()
    return errors


if __name__ == "__main__":
    found = []
    for attempt in range(2):
        found.append(together(f"sqlite:///new-{attempt}.db"))
        print(f"new database: {len(found[-1])} of 4 failed: {sorted(set(found[-1]))}")
    mlflow.set_tracking_uri("sqlite:///old.db")
    mlflow.set_experiment("made before")
    old = together("sqlite:///old.db")
    print(f"existing database: {len(old)} of 4 failed")
    assert any(found) and not old
    print("as found")
PY
MLFLOW_DISABLE_TELEMETRY=true venv/bin/python run.py 2>/dev/null
