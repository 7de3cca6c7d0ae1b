"""glass-ml reproduce STRUCTURES: make them again, and say whether they are identical."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("structures", type=Path, help="structure file of an inversion, or some frames of it")
    parser.add_argument("--project", type=Path, help="project with the history (default: the one around here)")
    parser.add_argument("--out", type=Path, help="keep the inversion in this folder (default: it goes)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.epilog = "Exit status: 0 if all are identical, 1 if one differs, 2 if something recorded is nowhere."


def run(arguments: argparse.Namespace) -> int:
    """Make them again; 1 where one differs."""
    from glass_ml.provenance.reproduce import reproduce

    done = reproduce(arguments.structures, project=arguments.project, out=arguments.out)
    identical = all(r.identical for r in done)
    if arguments.json:
        document = {"identical": identical, "reproductions": [asdict(r) for r in done]}
        print(json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False))
        return int(not identical)
    for found in done:
        print(f"{found.lineage.system}, seed {found.lineage.seed}, made again by {found.code}")
        for c in found.compared:
            moved = "another cell or composition" if c.displacement is None else f"up to {c.displacement:.2g} Å off"
            print(f"  frame {c.frame}, replica {c.replica}: {'identical' if c.identical else f'differs, {moved}'}")
        for difference in found.differences:
            print(f"  {difference}")
    print("identical" if identical else "NOT identical")
    return int(not identical)
