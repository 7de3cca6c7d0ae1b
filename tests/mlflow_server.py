"""A real MLflow server on loopback, that a test may kill."""

import os
import subprocess
import sys
from contextlib import contextmanager

from waiting import answer

from glass_ml.tracking.reach import VARIABLE


@contextmanager
def server(folder, port):
    """An MLflow server over a database in a folder; killed at the end, or by the test."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/server.db",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment.pop(VARIABLE, None)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment,
                          start_new_session=True) as process:  # fmt: skip
        try:
            answer(f"http://127.0.0.1:{port}/health", process)
            yield process
        finally:
            stop(process)


def stop(process):
    if process.poll() is None:
        os.killpg(process.pid, 9)
        process.wait(timeout=300)
