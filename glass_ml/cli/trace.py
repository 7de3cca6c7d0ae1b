"""glass-ml trace: what made a structure, and whether that still holds."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

MARKS = {"ok": "ok", "changed": "CHANGED", "not verified": "not verified"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("structures", type=Path, help="structure file of an inversion, or a copy of it")
    parser.add_argument("--project", type=Path, help="project to verify against (default: the one around here)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.epilog = (
        "Exit status: 1 if anything has changed, 0 if nothing has. What cannot be reached is 'not verified', "
        "which is not a change and not an approval."
    )


def run(arguments: argparse.Namespace) -> int:
    """Print lineage and checks; 1 when anything has changed."""
    from glass_ml.tracking.verify import lineages, verify

    checks = verify(arguments.structures, arguments.project)
    records = [asdict(lineage) for lineage in lineages(arguments.structures)]
    statuses = {check.status for check in checks}
    verdict = next(status for status in ("changed", "not verified", "ok") if status in statuses)
    if arguments.json:
        document = {
            "file": str(arguments.structures),
            "verdict": verdict,
            "lineage": records,
            "checks": [asdict(check) for check in checks],
        }
        print(json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False))
    else:
        for record in records:
            _print_lineage(record)
        _print_checks(checks)
        print(
            {"changed": "CHANGED", "ok": "all verified", "not verified": "nothing changed; not all verified"}[verdict]
        )
    return 1 if verdict == "changed" else 0


def _print_lineage(record: dict[str, Any]) -> None:
    dirty = " + uncommitted changes" if record["git_dirty"] else ""
    lines = {
        "system": record["system"],
        "model": f"{record['model_uri'] or record['model_name']}  sha256 {record['model_sha256']}",
        "data": f"{record['data_path']}  md5 {record['data_md5'] or 'not recorded'}",
        "target": f"sha256 {record['target_sha256']}",
        "code": f"glass_ml {record['glass_ml_version']}, commit {record['git_commit']}{dirty}",
        "seed": f"{record['seed']} (torch {record['torch_version']} on {record['device']})",
        "params": record["params"],
    }
    try:
        for entry in json.loads(record["measurements"]):
            lines[f"measurement {entry['name']}"] = f"{entry['kind']}, {entry['use']}, {entry['file']}"
    except (ValueError, TypeError, KeyError):
        lines["measurements"] = record["measurements"]
    width = max(map(len, lines))
    for key, text in lines.items():
        print(f"{key.ljust(width)}  {text}")
    print()


def _print_checks(checks: list[Any]) -> None:
    width = max(len(check.name) for check in checks)
    for check in sorted(checks, key=_order):
        print(f"{check.name.ljust(width)}  {MARKS[check.status].ljust(12)}  {check.detail}")


def _order(check: Any) -> tuple[int, str]:
    names = ["structure", "duplicates", "lineage", "lineage.json", "model", "data", "target"]
    return (names.index(check.name) if check.name in names else len(names), check.name)
