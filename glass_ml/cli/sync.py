"""glass-ml sync: record what was kept while the tracking server was away."""

import argparse
import json
import sys
from dataclasses import asdict


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.epilog = "Exit status: 0 when nothing is left, 1 when something could not be sent, 2 without a server."


def run(arguments: argparse.Namespace) -> int:
    """Send every entry and say what came of it; 1 where something is left."""
    from glass_ml.stages.sync import destination, sync

    done = []
    for delivery in sync():
        done.append(delivery)
        if delivery.sent:
            print(f"sent to {destination()}: {delivery.kind} {delivery.folder}", file=sys.stderr)
        else:
            print(f"kept: {delivery.kind or delivery.entry}: {delivery.reason}", file=sys.stderr)
    if arguments.json:
        print(json.dumps([asdict(delivery) for delivery in done], indent=2, sort_keys=True))
    elif not done:
        print("nothing to send")
    return int(not all(delivery.sent for delivery in done))
