"""glass-ml trace: what made a structure, and whether that still holds; or everything that descends from a thing."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from glass_ml.errors import InputError

MARKS = {"ok": "ok", "changed": "CHANGED", "not verified": "not verified"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("structures", type=Path, nargs="?", help="structure file of an inversion, or a copy of it")
    parser.add_argument("--data", help="everything that descends from data: their md5, or a folder or file")
    parser.add_argument(
        "--model", help="everything that descends from a model: models:/glass-a-Si/1, a folder or checksum"
    )
    parser.add_argument("--graph", type=Path, help="draw it: a file .svg, .png or .pdf")
    parser.add_argument("--project", type=Path, help="project to look into (default: the one around here)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.epilog = (
        "Exit status: 1 if anything has changed, 0 if nothing has. What cannot be reached is 'not verified', "
        "which is not a change and not an approval."
    )


def run(arguments: argparse.Namespace) -> int:
    """Print lineage and checks, 1 when anything has changed; or what descends from data or a model."""
    given = [name for name in ("structures", "data", "model") if getattr(arguments, name) is not None]
    if len(given) != 1:
        mend = "give a structure file, --data or --model"
        raise InputError(f"{len(given)} things to trace" if given else "nothing to trace", "glass-ml trace", mend)
    return _backward(arguments) if given == ["structures"] else _forward(arguments)


def _backward(arguments: argparse.Namespace) -> int:
    from glass_ml.files import sha256_file
    from glass_ml.provenance.descent import add_lineage
    from glass_ml.provenance.graph import Graph
    from glass_ml.provenance.verify import lineages, verify

    checks = verify(arguments.structures, arguments.project)
    found = lineages(arguments.structures)
    records = [asdict(lineage) for lineage in found]
    graph = Graph()
    structures = graph.add("structures", sha256_file(arguments.structures), str(arguments.structures))
    for lineage in found:
        add_lineage(graph, lineage, structures)
    statuses = {check.status for check in checks}
    verdict = next(status for status in ("changed", "not verified", "ok") if status in statuses)
    _draw(graph, arguments.graph)
    if arguments.json:
        document = {
            "file": str(arguments.structures),
            "verdict": verdict,
            "lineage": records,
            "checks": [asdict(check) for check in checks],
            "graph": graph.as_dict(),
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


def _forward(arguments: argparse.Namespace) -> int:
    from glass_ml.provenance.descent import find_data, find_model, project_graph
    from glass_ml.provenance.project import project_root, worktree
    from glass_ml.tracking.reach import StoreUnreachable
    from glass_ml.tracking.store import Store, open_store, store_exists

    root = worktree(arguments.project)
    place = root if arguments.project else project_root()
    store: Store | None = None
    try:
        store = open_store(place) if store_exists(place) else None
        graph = project_graph(root, store)
    except StoreUnreachable as error:
        print(f"without its records: {error}", file=sys.stderr)
        store = None
        graph = project_graph(root, store)
    keys = find_data(graph, root, arguments.data) if arguments.data else find_model(graph, root, arguments.model, store)
    graph = graph.descendants(keys)
    _draw(graph, arguments.graph)
    if arguments.json:
        document = {"of": keys, "registry": store.uri if store else None, "graph": graph.as_dict()}
        print(json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False))
        return 0
    print("\n".join(graph.tree(keys)))
    counts = {
        kind: sum(n.kind == kind for k, n in graph.nodes.items() if k not in keys)
        for kind in ("model", "sweep", "structures")
    }
    words = {"model": "model", "sweep": "sweep", "structures": "structure file"}
    print(
        ", ".join(f"{n} {word}{'s' if n > 1 else ''}" for kind, word in words.items() if (n := counts[kind]))
        or "nothing descends from it"
    )
    return 0


def _draw(graph: Any, path: Path | None) -> None:
    if path:
        from glass_ml.provenance.graph_figure import draw_graph

        draw_graph(graph, path)
        print(f"drawn: {path}", file=sys.stderr)


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
