"""Figures of a sweep: what its trials came to, and which settings it was that mattered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from optuna.trial import FrozenTrial, TrialState

from glass_ml.analysis.figures import BLUE, INK, MUTED, ORANGE, SERIES, house_style
from glass_ml.tuning.finals import default_trial
from glass_ml.tuning.objective import feasible
from glass_ml.tuning.score import COMPARED

RATIOS = {"held_out": "held-out misfit", "realism": "distance from the reference structures"}
TITLES = {
    "held_out": "held-out misfit (R)",
    "realism": "distance from the reference structures\n(1: that of one of them)",
    "calls": "network calls a structure",
    "held_out_loss": "held-out loss",
}


def trial_figure(trials: Sequence[FrozenTrial], names: Sequence[str], winner: FrozenTrial | None) -> Figure:
    """Complete trials in the plane of their objectives, with the front of those that no other beats in all.

    With one objective: the value of every trial in turn, and the best so far.
    """
    with house_style():
        if len(names) == 1:
            return _history(trials, names[0], winner)
        figure = Figure(figsize=(10.0, 4.6))
        panels = figure.subplots(1, 2)
        for axes, (x, y), colour in zip(panels, ((0, 1), (2, 0)), (2, 1), strict=True):
            _scatter(axes, trials, names, (x, y, colour), winner)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        return figure


def _scatter(
    axes: Axes,
    trials: Sequence[FrozenTrial],
    names: Sequence[str],
    which: tuple[int, int, int],
    winner: FrozenTrial | None,
) -> None:
    x, y, colour = which
    complete = [t for t in trials if t.state == TrialState.COMPLETE]
    kept, broken = ([t for t in complete if feasible(t) is wanted] for wanted in (True, False))
    if broken:
        points = np.array([t.values for t in broken])
        axes.scatter(points[:, x], points[:, y], marker="x", s=36, color=MUTED, label="breaks a limit", zorder=2)
    if kept:
        points = np.array([t.values for t in kept])
        on_front = np.isin(np.arange(len(points)), front(points))
        norm = Normalize(points[:, colour].min(), points[:, colour].max())
        for mask, size, label in ((on_front, 64, "no other is better in all"), (~on_front, 18, "another is")):
            if mask.any():
                face = colormaps["viridis"](norm(points[mask, colour]))
                edge = INK if size > 20 else "none"
                at = (points[mask, x], points[mask, y])
                axes.scatter(*at, s=size, facecolors=face, edgecolors=edge, linewidths=1.1, label=label, zorder=3)
        assert axes.figure is not None
        axes.figure.colorbar(ScalarMappable(norm, "viridis"), ax=axes, label=TITLES.get(names[colour], names[colour]))
    for trial, marker, ring, label in ((default_trial(trials), "s", ORANGE, "default"), (winner, "o", BLUE, "winner")):
        if trial is not None:
            style: dict[str, Any] = {"facecolors": "none", "edgecolors": ring, "linewidths": 2.2}
            axes.scatter(trial.values[x], trial.values[y], marker=marker, s=210, label=label, zorder=4, **style)
    axes.set_xlabel(TITLES.get(names[x], names[x]))
    axes.set_ylabel(TITLES.get(names[y], names[y]))


def front(points: np.ndarray) -> np.ndarray:
    """Indices of the rows (n, m) that no other row beats: it is nowhere larger, and somewhere smaller."""
    no_larger = (points[None] <= points[:, None]).all(axis=2)
    smaller = (points[None] < points[:, None]).any(axis=2)
    return np.flatnonzero(~np.any(no_larger & smaller, axis=1))


def _history(trials: Sequence[FrozenTrial], name: str, winner: FrozenTrial | None) -> Figure:
    figure = Figure(figsize=(7.0, 4.2))
    axes = figure.subplots()
    complete = [t for t in trials if t.state == TrialState.COMPLETE]
    stopped = [t for t in trials if t.state == TrialState.PRUNED and t.values]
    axes.scatter([t.number for t in complete], [t.values[0] for t in complete], color=BLUE, label="trained to the end")
    if stopped:
        numbers = [t.number for t in stopped]
        axes.scatter(numbers, [t.values[0] for t in stopped], marker="x", color=MUTED, label="stopped early")
    best = np.minimum.accumulate([t.values[0] for t in complete])
    axes.step([t.number for t in complete], best, where="post", color=MUTED, linewidth=1.0, label="best so far")
    for trial, marker, edge, label in ((default_trial(trials), "s", ORANGE, "default"), (winner, "o", INK, "winner")):
        if trial is not None:
            style: dict[str, Any] = {"facecolors": "none", "edgecolors": edge, "linewidths": 2.0}
            axes.scatter(trial.number, trial.values[0], marker=marker, s=170, label=label, zorder=4, **style)
    axes.set_xlabel("trial")
    axes.set_ylabel(TITLES.get(name, name))
    axes.legend(loc="best")
    return figure


def finals_figure(finals: Mapping[str, Any]) -> Figure:
    """Every candidate of the finals beside the default: ratios, item by item, and their geometric means.

    Args:
        finals: what `FinalRound.hold` returns.
    """
    default, *others = finals["rows"]
    names = {item["target"]: None for item in default["items"]}
    with house_style():
        figure = Figure(figsize=(10.0, 2.3 + 0.6 * len(others)))
        for axes, name in zip(figure.subplots(1, 2, sharey=True), COMPARED, strict=True):
            for place, row in enumerate(others):
                _beside_default(axes, place, row, default, name, list(names))
            axes.axvline(1.0, color=MUTED, linewidth=1.0)
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 7.0, 8.0)))
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xlabel(f"{RATIOS[name]}, candidate / default")
            axes.grid(visible=False, axis="y")
        panel = figure.axes[0]
        panel.set_yticks(range(len(others)), [_candidate(row, finals["winner"]) for row in others])
        panel.set_ylim(len(others) - 0.4, -0.6)
        found = {label: handle for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)}
        figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=len(found))
        return figure


def _beside_default(
    axes: Axes, place: int, row: Mapping[str, Any], default: Mapping[str, Any], name: str, targets: Sequence[str]
) -> None:
    """A candidate's ratios in one number, at a place of the vertical axis: a dot for each item, a line for a target."""
    for mine, item in zip(row["items"], default["items"], strict=False):
        which = targets.index(item["target"])
        height = place + 0.12 * (which - (len(targets) - 1) / 2)
        colour = SERIES[which % len(SERIES)]
        axes.scatter(mine[name] / item[name], height, s=22, color=colour, alpha=0.8, label=item["target"], zorder=2)
    if "ratios" in row:
        mean, error = row["ratios"][name], row["errors"][name]
        spread = [[mean * (1 - np.exp(-error))], [mean * (np.exp(error) - 1)]]
        style: dict[str, Any] = {"fmt": "D", "color": INK, "markersize": 7, "capsize": 4, "linewidth": 1.6}
        axes.errorbar(mean, place, xerr=spread, **style, label="mean of all, standard error", zorder=3)
        chance = {"held_out": f"p {row['p']:.2g}", "realism": f"worse: p {row['p_worse']:.2g}"}[name]
        axes.annotate(chance, (0.99, place - 0.3), xycoords=("axes fraction", "data"), ha="right", color=MUTED)


def _candidate(row: Mapping[str, Any], winner: int | None) -> str:
    name = f"trial {row['trial']}"
    if "ratios" not in row:
        return f"{name}\nended early"
    if not row["keeps_limits"]:
        return f"{name}\nbreaks a limit"
    return f"{name}\nwins" if row["trial"] == winner else name


def importance_figure(importance: Mapping[str, Mapping[str, float]]) -> Figure:
    """Bars of every setting's share of the variation, a colour for each objective; the largest on top."""
    objectives = list(importance)
    keys = sorted(importance[objectives[0]], key=lambda key: max(importance[name][key] for name in objectives))
    with house_style():
        figure = Figure(figsize=(7.0, 1.6 + 0.42 * len(keys)))
        axes = figure.subplots()
        height = 0.8 / len(objectives)
        for k, (name, colour) in enumerate(zip(objectives, SERIES, strict=False)):
            at = np.arange(len(keys)) + 0.4 - (k + 0.5) * height
            values = [100 * importance[name][key] for key in keys]
            axes.barh(at, values, height=0.92 * height, color=colour, label=TITLES.get(name, name))
            for y, value in zip(at, values, strict=True):
                axes.annotate(f"{value:.0f}", (value, y), (3, 0), textcoords="offset points", va="center", fontsize=8.5)
        axes.set_yticks(range(len(keys)), keys)
        axes.grid(visible=False, axis="y")
        axes.set_xlim(0, 115 * max(max(values.values()) for values in importance.values()))
        axes.set_xlabel("share of the variation between trials, %")
        if len(objectives) > 1:
            axes.legend(loc="lower right")
        return figure
