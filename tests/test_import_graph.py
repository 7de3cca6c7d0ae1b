"""The modules of the package as a graph of imports: rooms in one order, and no circle among the modules."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import networkx as nx
import pytest

import glass_ml

ROOT = Path(glass_ml.__file__).parent
BASE = ("errors", "files", "units", "config", "checkpoint")
ABOVE = {
    "settings": (),
    "structures": ("settings",),
    "observables": ("structures",),
    "measurements": ("observables",),
    "sampling": ("measurements",),
    "execution": ("sampling",),
    "analysis": ("execution",),
    "priors": ("settings", "structures"),
    "simulation": ("structures",),
    "surrogates": ("observables", "priors"),
    "provenance": ("analysis",),
    "tracking": ("provenance", "priors", "surrogates"),
    "tuning": ("tracking", "execution"),
    "stages": ("tuning", "simulation"),
    "api": ("stages",),
    "cli": ("stages",),
}
"""Room -> those directly below it; whatever is below these is below it, too."""
ROOMS = nx.DiGraph([(room, below) for room, rooms in ABOVE.items() for below in rooms])
ELSEWHERE = {
    "mlflow": {"tracking", "tuning", "stages"},
    "dvc": {"provenance", "stages"},
    "optuna": {"tuning", "stages"},
    "wandb": {"tracking"},
}
"""Library -> rooms that may import it."""


def modules() -> dict[str, ast.Module]:
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = ("glass_ml", *path.relative_to(ROOT).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


MODULES = modules()


def imported(tree: ast.Module) -> set[str]:
    """Every module that a module imports anywhere, lazily and for its annotations alone, too."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            inside = {f"{module}.{alias.name}" for alias in node.names}
            found |= {module} | (inside & set(MODULES))
    return found


def room_of(module: str) -> str:
    return (*module.split("."), "", "")[1]


GRAPH = nx.DiGraph(
    [(name, other) for name, tree in MODULES.items() for other in imported(tree) & set(MODULES) if other != name]
)
GRAPH.remove_nodes_from(["glass_ml"])  # the front door: what it offers is imported by name


def test_the_graph_is_of_the_package():
    assert set(ABOVE) | set(BASE) >= {room_of(m) for m in GRAPH}, "a room without a place in the order"
    assert len(GRAPH) > 100 and GRAPH.has_edge("glass_ml.provenance.lineage", "glass_ml.provenance.models")


def test_no_circle_among_modules():
    circles = [sorted(part) for part in nx.strongly_connected_components(GRAPH) if len(part) > 1]
    assert not circles, circles


def test_no_room_climbs():
    assert nx.is_directed_acyclic_graph(ROOMS)
    for source, target in GRAPH.edges:
        room, other = room_of(source), room_of(target)
        below = {room, *BASE, *(nx.descendants(ROOMS, room) if room in ROOMS else ())}
        assert other in below, f"{source} imports {target}"


@pytest.mark.parametrize("library", ELSEWHERE)
def test_a_library_stays_in_its_rooms(library):
    for name, tree in MODULES.items():
        if library in {module.split(".")[0] for module in imported(tree)}:
            assert room_of(name) in ELSEWHERE[library], f"{name} imports {library}"


def test_provenance_needs_no_mlflow():
    """Neither the word nor the room."""
    for name in MODULES:
        if room_of(name) == "provenance":
            assert "tracking" not in {room_of(module) for module in imported(MODULES[name])}
            assert "mlflow" not in {module.split(".")[0] for module in imported(MODULES[name])}


MOST_CROSSED = 46
"""Files that the walk from a target's file to its structures may cross, lineage and settings included."""


def test_the_walk_of_an_inversion_stays_short(project):
    """Which files of the package take part is seen by what is called, not by what is imported."""
    glass_ml.invert, glass_ml.kinds()  # what is loaded once is no part of the walk
    crossed: set[str] = set()

    def note(frame, event, _):
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(f"{ROOT}/") and not code.co_name.startswith("<"):
            crossed.add(Path(code.co_filename).relative_to(ROOT).as_posix())

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        target = glass_ml.load_target("targets/a-Si/target.yaml")
        glass_ml.invert(target, n=1, atoms=24, settings={"schedule.steps": 4}, progress=False)
    finally:
        sys.setprofile(before)
    assert {"measurements/target.py", "sampling/sampler.py", "priors/network.py"} <= crossed
    assert len(crossed) <= MOST_CROSSED, f"{len(crossed)} files: {', '.join(sorted(crossed))}"
