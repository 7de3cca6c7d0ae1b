"""glass-ml registry: the records, made again when the database is lost."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-command and its options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    rebuild = actions.add_parser("rebuild", help="record again what models, structures and DVC know; safe to repeat")
    rebuild.add_argument("paths", nargs="*", type=Path, help="where to look for inversions (default: the project)")
    rebuild.add_argument("--json", action="store_true", help="print one JSON document")
    rebuild.epilog = "Exit status: 1 where something that was found could not be recorded, else 0."


def run(arguments: argparse.Namespace) -> int:
    """Rebuild and say what was found; 1 where something is lost."""
    from glass_ml.stages.rebuild import UNKNOWABLE, rebuild

    found = []
    for item in rebuild(arguments.paths):
        found.append(item)
        print(f"{item.status}: {item.kind} {item.source}: {item.detail}", file=sys.stderr)
    if arguments.json:
        document = {"found": [asdict(item) for item in found], "not_rebuilt": UNKNOWABLE}
        print(json.dumps(document, indent=2, sort_keys=True))
    else:
        lost = sum(item.status == "lost" for item in found)
        print(f"{len(found) - lost} recorded, {lost} lost. Not rebuilt: {UNKNOWABLE}.")
    return int(any(item.status == "lost" for item in found))
