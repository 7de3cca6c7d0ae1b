"""glass-ml doctor: what works on this machine."""

import argparse
import json
from dataclasses import asdict


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.epilog = "Exit status: 1 if anything is wrong, else 0; a note is not wrong."


def run(arguments: argparse.Namespace) -> int:
    """Look at everything and say it; 1 when something is wrong."""
    from glass_ml.tracking.health import examine

    findings = examine()
    if arguments.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2, sort_keys=True))
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            print(f"{finding.name.ljust(width)}  {finding.status.upper().ljust(5)}  {finding.detail}")
    return int(any(finding.status == "wrong" for finding in findings))
