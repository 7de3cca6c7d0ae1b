"""glass-ml trace: what made a structure, and whether that still holds; or everything that descends from a thing."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from glass_ml.cli.output import table
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
    import networkx as nx

    from glass_ml.files import sha256_file
    from glass_ml.provenance.descent import add_lineage
    from glass_ml.provenance.graph import add, as_dict
    from glass_ml.provenance.project import worktree
    from glass_ml.provenance.verify import find_project, lineages, verify
    from glass_ml.tracking.versions import records_of

    root = worktree(arguments.project) if arguments.project else find_project(arguments.structures)
    checks = verify(arguments.structures, root, records_of(root) if root else None)
    found = lineages(arguments.structures)
    graph = nx.DiGraph()
    structures = add(graph, "structures", sha256_file(arguments.structures), str(arguments.structures))
    for lineage in found:
        add_lineage(graph, lineage, structures)
    statuses = {check.status for check in checks}
    verdict = next(status for status in ("changed", "not verified", "ok") if status in statuses)
    _draw(graph, arguments.graph)
    if arguments.json:
        document = {
            "file": str(arguments.structures),
            "verdict": verdict,
            "lineage": [asdict(lineage) for lineage in found],
            "checks": [asdict(check) for check in checks],
            "graph": as_dict(graph),
        }
        print(json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False))
    else:
        for lineage in found:
            _print_lineage(lineage)
        _print_checks(checks)
        print(
            {"changed": "CHANGED", "ok": "all verified", "not verified": "nothing changed; not all verified"}[verdict]
        )
    return 1 if verdict == "changed" else 0


def _forward(arguments: argparse.Namespace) -> int:
    from glass_ml.provenance.descent import find_data, find_model, project_graph
    from glass_ml.provenance.graph import as_dict, descendants, tree
    from glass_ml.provenance.models import Records, RecordsAway
    from glass_ml.provenance.project import project_root, worktree
    from glass_ml.tracking.versions import records_of

    root = worktree(arguments.project)
    records: Records = records_of(root if arguments.project else project_root())
    try:
        graph = project_graph(root, records)
    except RecordsAway as error:
        print(f"without its records: {error}", file=sys.stderr)
        records = Records()
        graph = project_graph(root, records)
    keys = (
        find_data(graph, root, arguments.data) if arguments.data else find_model(graph, root, arguments.model, records)
    )
    graph = descendants(graph, keys)
    _draw(graph, arguments.graph)
    if arguments.json:
        document = {"of": keys, "registry": records.uri, "graph": as_dict(graph)}
        print(json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False))
        return 0
    print("\n".join(tree(graph, keys)))
    words = {"model": "model", "sweep": "sweep", "structures": "structure file"}
    kinds = [node["kind"] for key, node in graph.nodes.items() if key not in keys]
    counts = [f"{n} {word}{'s' if n > 1 else ''}" for kind, word in words.items() if (n := kinds.count(kind))]
    print(", ".join(counts) or "nothing descends from it")
    return 0


def _draw(graph: Any, path: Path | None) -> None:
    if path:
        from glass_ml.provenance.graph import draw_graph

        draw_graph(graph, path)
        print(f"drawn: {path}", file=sys.stderr)


def _print_lineage(lineage: Any) -> None:
    from glass_ml.provenance.lineage import canonical_json

    dirty = " + uncommitted changes" if lineage.git_dirty else ""
    lines = {
        "system": lineage.system,
        "model": f"{lineage.model_uri or lineage.model_name}  sha256 {lineage.model_sha256}",
        "data": f"{lineage.data_path}  md5 {lineage.data_md5 or 'not recorded'}",
        "target": f"sha256 {lineage.target_sha256}",
        "code": f"glass_ml {lineage.glass_ml_version}, commit {lineage.git_commit}{dirty}",
        "seed": f"{lineage.seed} (torch {lineage.torch_version} on {lineage.device})",
        "params": canonical_json(lineage.params),
        **{f"measurement {m.label}": f"{m.kind}, {m.use}, {m.file}" for m in lineage.measurements},
    }
    print(table(lines.items()), end="\n\n")


def _print_checks(checks: list[Any]) -> None:
    print(table([(check.name, MARKS[check.status], check.detail) for check in sorted(checks, key=_order)]))


def _order(check: Any) -> tuple[int, str]:
    names = ["structure", "duplicates", "lineage", "lineage.json", "model", "data", "target"]
    return (names.index(check.name) if check.name in names else len(names), check.name)
