"""Figures of a report: colour-blind-safe, legible on a phone, as PNG files and as SVG that follows the page.

Colours are those of Okabe and Ito. In the SVG text each becomes a CSS variable, so that one figure serves a light
and a dark page; the page must define the variables of `CSS_COLOURS`.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from ase.data import chemical_symbols
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from glass_ml.analysis.coordination import coordination_fractions
from glass_ml.analysis.ensemble import Anatomy
from glass_ml.analysis.inversion import FittedSpectrum
from glass_ml.files import atomic_path
from glass_ml.observables.kinds import kinds

INK, MUTED, GRID = "#1b1f24", "#5b6470", "#d8dce2"
BLUE, ORANGE, GREEN, PURPLE, AMBER, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, AMBER, SKY)

CSS_COLOURS = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    BLUE: "--blue",
    ORANGE: "--orange",
    GREEN: "--green",
    PURPLE: "--purple",
    AMBER: "--amber",
    SKY: "--sky",
}
"""Colour in a figure -> CSS variable that takes its place in SVG."""

WIDTH = 5.0
"""Width of a figure, inches: about that of half a desktop page or of a phone held upright."""

SMEARING = 0.05
"""Smearing of the g(r) that is drawn (standard deviation, Å)."""

FEW_POINTS = 3
"""A target of fewer points than this is no curve, and is not drawn."""

MANY_POINTS = 400
"""A target of more points than this is drawn as a line."""

_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10.5,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
}


def kind_title(kind: str) -> str:
    """A kind of measurement as a person calls it: 'X-ray S(Q)'; a name that is none is itself."""
    known = kinds()
    return known[kind].title if kind in known else kind


def named(name: str, kind: str) -> str:
    """A measurement's name and, where it says more, its kind: 'held out: X-ray S(Q)'."""
    title = kind_title(kind)
    return name if name == title else f"{name}: {title}"


def spectra_figure(spectra: Sequence[FittedSpectrum]) -> Figure:
    """Of each measurement the data, the mean fit with the spread over replicas, and below it the residual.

    The grey band around the residual is the stated uncertainty.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, 4.0 * len(spectra)))
        parts = figure.subfigures(len(spectra), 1, squeeze=False)[:, 0]
        for part, spectrum in zip(parts, spectra, strict=True):
            _draw_spectrum(part, spectrum)
            if len(spectra) > 1:
                part.suptitle(named(spectrum.name, spectrum.kind))
        return figure


def _draw_spectrum(figure: Figure | SubFigure, spectrum: FittedSpectrum) -> None:
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    x, colour = spectrum.x, BLUE if spectrum.use == "fit" else ORANGE
    few = len(x) <= MANY_POINTS
    style: dict[str, Any] = {"marker": "o", "markersize": 2.6, "linestyle": "none"} if few else {"linewidth": 1.2}
    top.plot(x, spectrum.target, color=INK, label="data", **style)
    band = (spectrum.fit - spectrum.spread, spectrum.fit + spectrum.spread)
    top.fill_between(x, *band, color=colour, alpha=0.3, linewidth=0)
    label = "mean of the structures" if spectrum.use == "fit" else "predicted (held out)"
    top.plot(x, spectrum.fit, color=colour, label=label)
    top.legend(loc="best")
    known = kinds().get(spectrum.kind)
    top.set_ylabel(known.y if known else spectrum.kind)
    below.fill_between(x, -spectrum.sigma, spectrum.sigma, color=MUTED, alpha=0.25, linewidth=0)
    below.plot(x, spectrum.residual, color=colour, linewidth=1.2)
    below.axhline(0, color=INK, linewidth=0.8)
    below.set_ylabel("residual")
    below.set_xlabel(known.x if known else "x")
    below.set_xlim(x.min(), x.max())
    figure.align_ylabels()


def _band(axes: Axes, x: NDArray, values: NDArray, colour: str, label: str) -> None:
    """Mean over structures with its spread; values (S, n)."""
    mean, spread = values.mean(0), values.std(0)
    axes.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.28, linewidth=0)
    axes.plot(x, mean, color=colour, label=label, linewidth=1.6)


def gr_figure(anatomy: Anatomy) -> Figure:
    """Partial g(r), a panel per element pair; the cutoff of a bond as a dashed line."""
    distribution = anatomy.distribution
    with mpl.rc_context(_STYLE):
        n = len(distribution.names)
        figure = Figure(figsize=(WIDTH, 3.1 if n == 1 else 0.7 + 1.45 * n))
        panels = figure.subplots(n, 1, sharex=True, squeeze=False)[:, 0]
        inside = distribution.r <= 8.0
        values = distribution.g(SMEARING)
        for k, (axes, name) in enumerate(zip(panels, distribution.names, strict=True)):
            _band(axes, distribution.r[inside], values[:, k, inside], SERIES[k % len(SERIES)], name)
            axes.axhline(1.0, color=MUTED, linewidth=0.8)
            if name in anatomy.bonds.cutoffs:
                axes.axvline(anatomy.bonds.cutoffs[name], color=INK, linewidth=1.0, linestyle="--")
            axes.text(0.98, 0.86, name, transform=axes.transAxes, ha="right", va="top", weight="bold")
            axes.set_ylim(bottom=0)
            axes.set_ylabel("g(r)")
        panels[-1].set_xlabel("r (Å)")
        panels[-1].set_xlim(0, 8)
        return figure


def angle_figure(anatomy: Anatomy) -> Figure:
    """Bond-angle distributions of the most frequent triplets."""
    angles = anatomy.angles
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, 3.1))
        axes = figure.subplots()
        number = np.bincount(angles.triplet, minlength=len(angles.names))
        for colour, t in zip(SERIES, np.argsort(-number, kind="stable"), strict=False):
            name = angles.names[t]
            _band(axes, np.arange(180) + 0.5, angles.distribution(name), colour, name)
        axes.set_xlim(30, 180)
        axes.set_xticks(range(30, 181, 30))
        axes.set_ylim(bottom=0)
        axes.set_xlabel("bond angle (°)")
        axes.set_ylabel("% per degree")
        if angles.names:
            axes.legend(loc="upper left")
        return figure


def coordination_figure(anatomy: Anatomy) -> Figure:
    """Fractions of each element's atoms by number of neighbours, with the spread over structures."""
    fractions = coordination_fractions(anatomy.bonds)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, 3.0))
        panels = figure.subplots(1, len(fractions), sharey=True, squeeze=False)[0]
        for axes, (z, table), colour in zip(panels, fractions.items(), SERIES * 20, strict=False):
            mean, spread = np.nanmean(table, axis=0), np.nanstd(table, axis=0)
            seen = np.flatnonzero(mean)
            low, high = max(0, seen[0] - 1), seen[-1] + 2
            numbers = np.arange(low, high)
            mean, spread = (np.pad(v, (0, max(0, high - len(v))))[low:high] for v in (mean, spread))
            _bars(axes, numbers, 100 * mean, 100 * spread, colour, "{:.1f}")
            axes.set_title(f"{chemical_symbols[z]} atoms", fontsize=10.5, loc="left", weight="bold")
            axes.set_xlabel("neighbours")
            axes.set_ylim(0, 108)
        panels[0].set_ylabel("% of atoms")
        return figure


def ring_figure(per_atom: Sequence[NDArray]) -> Figure:
    """Primitive rings per network-forming atom by size: (S,) values for sizes from 3 on."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, 3.0))
        axes = figure.subplots()
        table = np.stack(per_atom)
        _bars(axes, np.arange(3, 3 + len(table)), table.mean(1), table.std(1), GREEN, "{:.2f}")
        axes.set_xlabel("ring size (network-forming atoms)")
        axes.set_ylabel("rings per atom")
        axes.set_ylim(0, 1.15 * max(float((table.mean(1) + table.std(1)).max()), 0.1))
        return figure


def noise_loss_figure(losses: Mapping[float, float]) -> Figure:
    """Held-out loss of a prior by noise level (Å); 1 is what a network that has learned nothing gives."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, 3.1))
        axes = figure.subplots()
        levels = sorted(losses)
        axes.axhline(1.0, color=MUTED, linewidth=1.0, linestyle="--", label="nothing learned")
        axes.plot(levels, [losses[level] for level in levels], color=BLUE, marker="o", label="held-out structures")
        for level in levels:
            place = (level, losses[level])
            axes.annotate(f"{place[1]:.2f}", place, (0, 6), textcoords="offset points", ha="center", fontsize=8.5)
        axes.set_xscale("log")
        axes.set_xticks(levels, [f"{level:g}" for level in levels])
        axes.xaxis.minorticks_off()
        axes.set_ylim(0, 1.15 * max(1.0, *losses.values()))
        axes.set_xlabel("noise sigma (Å)")
        axes.set_ylabel("loss")
        axes.legend(loc="best")
        return figure


def _bars(axes: Axes, x: NDArray, mean: NDArray, spread: NDArray, colour: str, form: str) -> None:
    axes.bar(x, mean, color=colour, width=0.72)
    axes.errorbar(x, mean, spread, fmt="none", ecolor=INK, elinewidth=1.0, capsize=2.5)
    for at, value, error in zip(x, mean, spread, strict=True):
        if value > 0:
            axes.annotate(
                form.format(value), (at, value + error), (0, 2), textcoords="offset points", ha="center", fontsize=8.5
            )
    axes.set_xticks(x)
    axes.grid(visible=False, axis="x")


def svg_text(figure: Figure, description: str) -> str:
    """The figure as an SVG element for a page: no fixed size, colours as CSS variables, described for readers."""
    stream = io.StringIO()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": description}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'\s(?:width|height)="[\d.]+pt"', "", text, count=2)
    text = text.replace("<svg", f'<svg role="img" aria-label="{html.escape(description)}"', 1)
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # not unique in a page of several figures
    text = re.sub(r"font-family: [^;\"]*;?", "", text)  # the font of the page
    text = re.sub(r"(\d\.\d\d)\d+", r"\1", text)
    for colour, variable in CSS_COLOURS.items():
        text = text.replace(colour, f"var({variable})")
    return text


def house_style() -> AbstractContextManager[None]:
    """The style of all figures, for the block in which one is drawn."""
    return mpl.rc_context(_STYLE)


def save_png(figure: Figure, path: Path, title: str = "") -> None:
    """Write a PNG of 150 dots per inch, with a title if there is one."""
    with mpl.rc_context(_STYLE):
        if title:
            figure.suptitle(title, fontsize=11)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=150)
