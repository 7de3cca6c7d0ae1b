"""Figure: held-out loss against core-minutes, a panel per noise level."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from networks.budget import LEVELS

from glass_ml.analysis.figures import GRID, INK, MUTED, SERIES
from glass_ml.files import atomic_path


def draw(path: Path, system: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw the curves of all networks into a file `*.svg`."""
    figure = Figure(figsize=(8.4, 5.0), layout="constrained")
    panels = figure.subplots(2, 3, sharex=True)
    for panel, level in zip(panels.flat, LEVELS, strict=True):
        for k, row in enumerate(rows):
            minutes = [seconds / 60 for seconds, _, _ in row["curve"]]
            losses = [by_level[level] for _, _, by_level in row["curve"]]
            style = "-" if k < len(SERIES) else "--"
            panel.plot(minutes, losses, style, color=SERIES[k % len(SERIES)], lw=1.6, marker=".", label=row["name"])
        low, high = panel.get_ylim()
        if high > 2 * low > 0:
            panel.set_yscale("log")
            panel.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
            panel.yaxis.set_minor_locator(NullLocator())
            panel.yaxis.set_major_formatter("{x:.3g}")
        panel.set_title(f"noise {level} Å", fontsize=9, color=INK)
        panel.grid(True, color=GRID, lw=0.5)
        panel.tick_params(labelsize=8, colors=MUTED)
        panel.set_xlim(left=0)
    figure.supxlabel("core-minutes of training", fontsize=9, color=INK)
    figure.supylabel(f"held-out denoising loss, {system}", fontsize=9, color=INK)
    handles, names = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=min(4, len(names)), fontsize=8, frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, metadata={"Date": None})  # the same curves give the same file
