"""glass-ml ui, doctor, sync and registry: the project's records, and whether all is well with them."""

import argparse
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from glass_ml.cli.output import emit, table
from glass_ml.errors import InputError


def configure_ui(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `ui`."""
    parser.add_argument("--port", type=int, default=5000, help="port on 127.0.0.1 (default: 5000)")


def run_ui(arguments: argparse.Namespace) -> int:
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

    places = {
        n: f"{address}/#/experiments/{k}/runs?{WORKFLOW}&viewStateShareKey={VIEW}" for n, k in experiments.items()
    }
    print(table([(f"  {name}", place) for name, place in places.items()]), file=sys.stderr, flush=True)


def configure_doctor(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `doctor`."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.epilog = "Exit status: 1 if anything is wrong, else 0; a note is not wrong."


def run_doctor(arguments: argparse.Namespace) -> int:
    """Look at everything and say it; 1 when something is wrong."""
    from glass_ml.tracking.health import examine

    findings = list(examine())
    emit(arguments, findings, table([(f.name, f.status.upper(), f.detail) for f in findings]))
    return int(any(finding.status == "wrong" for finding in findings))


def configure_sync(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `sync`."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.epilog = "Exit status: 0 when nothing is left, 1 when something could not be sent, 2 without a server."


def run_sync(arguments: argparse.Namespace) -> int:
    """Send what was kept while the tracking server was away, and say what came of it; 1 where something is left."""
    from glass_ml.stages.sync import destination, sync

    done = []
    for delivery in sync():
        done.append(delivery)
        if delivery.sent:
            print(f"sent to {destination()}: {delivery.kind} {delivery.folder}", file=sys.stderr)
        else:
            print(f"kept: {delivery.kind or delivery.entry}: {delivery.reason}", file=sys.stderr)
    emit(arguments, done, "" if done else "nothing to send")
    return int(not all(delivery.sent for delivery in done))


def configure_registry(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-command of `registry` and its options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    rebuild = actions.add_parser("rebuild", help="record again what models, structures and DVC know; safe to repeat")
    rebuild.add_argument("paths", nargs="*", type=Path, help="where to look for inversions (default: the project)")
    rebuild.add_argument("--json", action="store_true", help="print one JSON document")
    rebuild.epilog = "Exit status: 1 where something that was found could not be recorded, else 0."


def run_registry(arguments: argparse.Namespace) -> int:
    """Make the records again where the database is lost, and say what was found; 1 where something is lost."""
    from glass_ml.stages.rebuild import UNKNOWABLE, rebuild

    found = []
    for item in rebuild(arguments.paths):
        found.append(item)
        print(f"{item.status}: {item.kind} {item.source}: {item.detail}", file=sys.stderr)
    lost = sum(item.status == "lost" for item in found)
    text = f"{len(found) - lost} recorded, {lost} lost. Not rebuilt: {UNKNOWABLE}."
    emit(arguments, {"found": found, "not_rebuilt": UNKNOWABLE}, text)
    return int(lost > 0)
