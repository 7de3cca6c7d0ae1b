"""A picture of a graph of what was made of what: from data at the left to structures at the right."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glass_ml.analysis.figures import AMBER, BLUE, GREEN, INK, MUTED, PURPLE, SKY
from glass_ml.errors import InputError
from glass_ml.files import atomic_path
from glass_ml.provenance.graph import Graph, Kind, Node

ENDINGS = (".svg", ".png", ".pdf")
COLOURS: dict[Kind, str] = {"data": GREEN, "measurement": AMBER, "model": BLUE, "sweep": PURPLE, "structures": SKY}
COLUMN: dict[Kind, int] = {"data": 0, "model": 1, "measurement": 1, "sweep": 2, "structures": 2}
MOST = 24
"""Nodes of a column that are drawn; of the others only the number is."""
WIDTH, HEIGHT, GAP = 3.3, 0.62, 0.9
"""Size of a box and room between columns, inches."""
LETTERS, SMALL_LETTERS = 40, 52
"""Letters of the two lines in a box."""


def draw_graph(graph: Graph, path: Path) -> None:
    """Draw a graph, whole or not at all; the ending of the file, .svg, .png or .pdf, decides the format.

    Raises:
        InputError: another ending, or the folder cannot be written to.
    """
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"'{path.suffix}' is no format of a picture", str(path), f"choose {', '.join(ENDINGS)}")
    columns: list[list[Node]] = [[], [], []]
    for node in graph.nodes.values():
        columns[COLUMN[node.kind]].append(node)
    columns = [column for column in columns if column]
    rows = min(max(map(len, columns), default=1), MOST + 1)
    size = (len(columns) * (WIDTH + GAP) - GAP + 0.2, rows * (HEIGHT + 0.14) + 0.2)
    figure = Figure(size)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(-0.1, size[0] - 0.1), ylim=(-size[1] / 2, size[1] / 2))
    axes.axis("off")
    places: dict[str, tuple[float, float]] = {}
    for k, column in enumerate(columns):
        shown = column[:MOST]
        count = len(shown) + (len(column) > MOST)
        for row, node in enumerate(shown):
            places[node.key] = (k * (WIDTH + GAP), ((count - 1) / 2 - row) * (HEIGHT + 0.14))
            _box(axes, *places[node.key], node)
        if len(column) > MOST:
            y = -(count - 1) / 2 * (HEIGHT + 0.14)
            axes.text(k * (WIDTH + GAP), y, f"and {len(column) - MOST} more", color=MUTED, fontsize=9, va="center")
    for source, result in graph.edges():
        if source in places and result in places:
            _arrow(axes, places[source], places[result])
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, facecolor="white")


def _box(axes: Axes, x: float, y: float, node: Node) -> None:
    from matplotlib.patches import FancyBboxPatch

    colour = COLOURS[node.kind]
    style = "round,pad=0,rounding_size=0.08"
    box = FancyBboxPatch((x, y - HEIGHT / 2), WIDTH, HEIGHT, boxstyle=style, facecolor=f"{colour}1c", edgecolor=colour)
    axes.add_patch(box)
    axes.text(x + 0.1, y + 0.13, _cut(node.title, LETTERS), color=INK, fontsize=9, va="center", weight="bold")
    axes.text(
        x + 0.1, y - 0.14, _cut(f"{node.kind}, {node.note}", SMALL_LETTERS), color=MUTED, fontsize=7.5, va="center"
    )


def _arrow(axes: Axes, source: tuple[float, float], result: tuple[float, float]) -> None:
    begin, end = (source[0] + WIDTH, source[1]), (result[0], result[1])
    curve = {
        "arrowstyle": "-|>",
        "color": MUTED,
        "linewidth": 0.9,
        "connectionstyle": "arc3,rad=0",
        "shrinkA": 0,
        "shrinkB": 0,
    }
    axes.annotate("", xy=end, xytext=begin, arrowprops=curve)


def _cut(text: str, letters: int) -> str:
    """A text as long as there is room: of a path the end counts, of anything else the beginning."""
    if len(text) <= letters:
        return text
    return f"…{text[1 - letters :]}" if "/" in text else f"{text[: letters - 1]}…"
