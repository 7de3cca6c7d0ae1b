"""What was made of what: data, models, measurements, sweeps and structures as a graph of networkx, a text, a picture.

A node has the attributes `kind`, `identity` (DVC's md5 of data, SHA-256 of a measurement or structure file,
`model_sha256` of a model, the study of a sweep), `names` (what people call it, the best first) and `facts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import networkx as nx

from glass_ml.errors import InputError
from glass_ml.files import atomic_path

Kind = Literal["data", "measurement", "model", "sweep", "structures"]
ENDINGS = (".svg", ".png", ".pdf")
MOST = 24
"""Nodes of a column that are drawn; of the others only the number is."""
WIDTH, HEIGHT, GAP = 3.3, 0.62, 0.9
"""Size of a box and room between columns, inches."""
LETTERS, SMALL_LETTERS = 40, 52
"""Letters of the two lines in a box."""


def add(graph: nx.DiGraph, kind: Kind, identity: str, *names: str, **facts: str) -> str:
    """The key of a node, made or completed; names and facts that are there already stay first."""
    key = f"{kind}:{identity}"
    if key not in graph:
        graph.add_node(key, kind=kind, identity=identity, names=[], facts={})
    node = graph.nodes[key]
    node["names"] += [name for name in dict.fromkeys(names) if name and name not in node["names"]]
    for name, fact in facts.items():
        if fact:
            node["facts"].setdefault(name, fact)
    return key


def title(node: dict[str, Any]) -> str:
    """What to call a node in one line."""
    return str(node["names"][0] if node["names"] else node["identity"][:12])


def note(node: dict[str, Any]) -> str:
    """Identity and facts of a node in one line."""
    label = {"data": "md5 ", "sweep": "study "}.get(node["kind"], "sha256 ")
    return ", ".join([label + node["identity"][:12], *(f"{k} {v}" for k, v in node["facts"].items())])


def as_dict(graph: nx.DiGraph) -> dict[str, list[Any]]:
    """Nodes and edges as JSON takes them."""
    nodes = [{"key": key, **node} for key, node in graph.nodes.items()]
    return {"nodes": nodes, "edges": [{"source": source, "result": result} for source, result in graph.edges]}


def descendants(graph: nx.DiGraph, keys: Iterable[str]) -> nx.DiGraph:
    """The part that descends from some nodes, themselves included, in the order of the whole."""
    found = {result for key in keys for result in (key, *nx.descendants(graph, key))}
    part = graph.copy()
    part.remove_nodes_from([key for key in graph if key not in found])
    return part


def tree(graph: nx.DiGraph, keys: Iterable[str]) -> Iterator[str]:
    """Lines of text: the nodes, and what was made of them below; what stands above already is named only."""
    shown = set[str]()
    for key in keys:
        yield from _branch(graph, key, "", "", shown)


def _branch(graph: nx.DiGraph, key: str, first: str, rest: str, shown: set[str]) -> Iterator[str]:
    node, results = graph.nodes[key], list(graph[key])
    if key in shown:
        yield f"{first}{title(node)}  (above)"
        return
    shown.add(key)
    yield f"{first}{title(node)}  {note(node)}"
    for name in node["names"][1:]:
        yield f"{rest}{'│' if results else ' '}  also {name}"
    for k, result in enumerate(results):
        corner, line = ("└─ ", "   ") if k == len(results) - 1 else ("├─ ", "│  ")
        yield from _branch(graph, result, rest + corner, rest + line, shown)


def draw_graph(graph: nx.DiGraph, path: Path) -> None:
    """Draw a graph, whole or not at all, what was made right of what it was made of; the file's ending is its format.

    Raises:
        InputError: another ending than .svg, .png and .pdf, or the folder cannot be written to.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyBboxPatch

    from glass_ml.analysis.figures import AMBER, BLUE, GREEN, INK, MUTED, PURPLE, SKY

    colours = {"data": GREEN, "measurement": AMBER, "model": BLUE, "sweep": PURPLE, "structures": SKY}
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"'{path.suffix}' is no format of a picture", str(path), f"choose {', '.join(ENDINGS)}")
    columns = list(nx.topological_generations(graph))
    rows = min(max(map(len, columns), default=1), MOST + 1)
    size = (max(len(columns), 1) * (WIDTH + GAP) - GAP + 0.2, rows * (HEIGHT + 0.14) + 0.2)
    figure = Figure(size)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(-0.1, size[0] - 0.1), ylim=(-size[1] / 2, size[1] / 2))
    axes.axis("off")
    # Names are of files and people: no formulas.
    large: dict[str, Any] = {"color": INK, "fontsize": 9, "va": "center", "weight": "bold", "parse_math": False}
    small: dict[str, Any] = {"color": MUTED, "fontsize": 7.5, "va": "center", "parse_math": False}
    places: dict[str, tuple[float, float]] = {}
    for k, column in enumerate(columns):
        x, shown = k * (WIDTH + GAP), column[:MOST]
        top = (len(shown) + (len(column) > MOST) - 1) / 2
        for row, key in enumerate(shown):
            node, y = graph.nodes[key], (top - row) * (HEIGHT + 0.14)
            places[key], colour = (x, y), colours[node["kind"]]
            style = "round,pad=0,rounding_size=0.08"
            corner = (x, y - HEIGHT / 2)
            axes.add_patch(
                FancyBboxPatch(corner, WIDTH, HEIGHT, boxstyle=style, facecolor=f"{colour}1c", edgecolor=colour)
            )
            axes.text(x + 0.1, y + 0.13, _cut(title(node), LETTERS), **large)
            axes.text(x + 0.1, y - 0.14, _cut(f"{node['kind']}, {note(node)}", SMALL_LETTERS), **small)
        if len(column) > MOST:
            axes.text(x, -top * (HEIGHT + 0.14), f"and {len(column) - MOST} more", **small)
    curve = {"arrowstyle": "-|>", "color": MUTED, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}
    for source, result in graph.edges:
        if source in places and result in places:
            begin = (places[source][0] + WIDTH, places[source][1])
            axes.annotate("", xy=places[result], xytext=begin, arrowprops=curve)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, facecolor="white")


def _cut(text: str, letters: int) -> str:
    """A text as long as there is room: of a path the end counts, of anything else the beginning."""
    if len(text) <= letters:
        return text
    return f"…{text[1 - letters :]}" if "/" in text else f"{text[: letters - 1]}…"
