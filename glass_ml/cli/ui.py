"""glass-ml ui: the MLflow page of this project, for this machine only."""

import argparse
import os
import socket
import sys
from collections.abc import Mapping

from glass_ml.errors import InputError


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--port", type=int, default=5000, help="port on 127.0.0.1 (default: 5000)")


def run(arguments: argparse.Namespace) -> int:
    """Become `mlflow ui`; Ctrl-C ends it."""
    from glass_ml.tracking.store import open_store

    store = open_store()
    if store.uri.startswith("http"):
        print(f"the store is a server: open {store.uri}", file=sys.stderr)
        _say_where(store.uri, store.experiments)
        return 0
    if not 0 < arguments.port < 65536:
        raise InputError(f"{arguments.port} is not a port", "--port", "give a number from 1024 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", arguments.port))
        except OSError as error:
            raise InputError(f"port {arguments.port}: {error.strerror}", "--port", "give another one") from None
    address = f"http://127.0.0.1:{arguments.port}"
    print(f"open {address} in a browser; Ctrl-C ends", file=sys.stderr)
    _say_where(address, store.experiments)
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(arguments.port)]
    artifacts = (store.folder / "artifacts").as_uri()
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # nothing here needs its worker processes
    os.environ["MLFLOW_BACKEND_STORE_URI"] = store.uri  # not on the command line, which everybody on the machine reads
    command += ["--workers", "1", "--default-artifact-root", artifacts]
    os.execv(sys.executable, command)


def _say_where(address: str, experiments: Mapping[str, str]) -> None:
    """Print where the runs of each experiment are, the headline metrics as columns."""
    from glass_ml.tracking.store import VIEW, WORKFLOW

    for name, number in experiments.items():
        place = f"{address}/#/experiments/{number}/runs?{WORKFLOW}&viewStateShareKey={VIEW}"
        print(f"  {name:<12}{place}", file=sys.stderr, flush=True)
