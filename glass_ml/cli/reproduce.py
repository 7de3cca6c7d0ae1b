"""glass-ml reproduce STRUCTURES: make them again, and say whether they are identical."""

import argparse
from pathlib import Path

from glass_ml.cli.output import emit


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("structures", type=Path, help="structure file of an inversion, or some frames of it")
    parser.add_argument("--project", type=Path, help="project with the history (default: the one around here)")
    parser.add_argument("--out", type=Path, help="keep the inversion in this folder (default: it goes)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.epilog = "Exit status: 0 if all are identical, 1 if one differs, 2 if something recorded is nowhere."


def run(arguments: argparse.Namespace) -> int:
    """Make them again; 1 where one differs."""
    from glass_ml.provenance.project import worktree
    from glass_ml.provenance.reproduce import reproduce
    from glass_ml.tracking.versions import records_of

    root = worktree(arguments.project)
    done = reproduce(arguments.structures, project=root, out=arguments.out, records=records_of(root))
    identical = all(r.identical for r in done)
    lines = []
    for found in done:
        lines.append(f"{found.lineage.system}, seed {found.lineage.seed}, made again by {found.code}")
        for c in found.compared:
            moved = "another cell or composition" if c.displacement is None else f"up to {c.displacement:.2g} Å off"
            lines.append(
                f"  frame {c.frame}, replica {c.replica}: {'identical' if c.identical else f'differs, {moved}'}"
            )
        lines += [f"  {difference}" for difference in found.differences]
    lines.append("identical" if identical else "NOT identical")
    emit(arguments, {"identical": identical, "reproductions": done}, lines)
    return int(not identical)
