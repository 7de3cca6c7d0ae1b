"""How structures are judged in benchmarks/realism.py, and the picture of realism against misfit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from baselines.cases import Case, Hidden
from glass_ml.analysis.comparison import compare
from glass_ml.analysis.diversity import diversity as ensemble_diversity
from glass_ml.analysis.ensemble import describe
from glass_ml.files import atomic_path
from glass_ml.structures.state import Structures, concatenate

Array = NDArray[np.float64]

COLUMNS = {
    "gr_rmse": ("g(r) RMSE", 1.0, 4),
    "angle_rmse": ("angle RMSE", 1.0, 3),
    "coordinated.Si": ("Si right, %", 100.0, 1),
    "coordinated.O": ("O right, %", 100.0, 1),
    "coordination_emd": ("coord. EMD", 1.0, 3),
    "rings_emd": ("ring EMD", 1.0, 3),
    "below75": ("< 75°, %", 100.0, 2),
    "shortest": ("shortest, Å", 1.0, 2),
    "diversity": ("diversity", 1.0, 3),
    "calls": ("calls", 1.0, 0),
    "core_s": ("core-s", 1.0, 1),
}
"""Heading, factor and decimals of every number. The first is fitted; those up to the shortest distance are not."""


OURS = ("tab:blue", "tab:red", "tab:cyan")
"""Colours of our methods in the picture; the others share what the map below has beside these."""

OTHERS = ("tab:orange", "tab:green", "tab:olive", "tab:gray", "tab:purple", "tab:brown", "tab:pink")

TICKS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Marks of the misfit axis."""


def scores(structures: Structures, case: Case, reference: Structures, *, rings: bool = True) -> dict[str, Array]:
    """What is wrong with every structure, (S,) each: the distances of `compare` and the counts of `describe`."""
    distance = compare(structures, reference, case.cutoffs, rings=rings)
    found = describe(structures, case.cutoffs, rings=False)
    none = np.zeros(structures.n_systems)
    (bond,) = case.cutoffs
    return {
        "gr_rmse": distance["gr.rmse"],
        "angle_rmse": distance["angle.rmse"],
        **{f"coordinated.{el}": found.get(f"nfold.{el}.{n}", none) for el, n in case.neighbours.items()},
        "coordination_emd": distance["coordination.emd"],
        **({"rings_emd": distance["rings.emd"]} if "rings.emd" in distance else {}),
        "below75": found.get("angle.below75", none),
        "shortest": found[f"shortest.{bond}"],
    }


def diversity(structures: Structures) -> float:
    """Mean pairwise distance of the surroundings in an ensemble: 0 for copies, about 1 for independent glasses."""
    return ensemble_diversity(structures)["mean"] if structures.n_systems > 1 else float("nan")


def floor(case: Case, hidden: Hidden) -> dict[str, Array]:
    """Scores of the hidden structures against the mean of those of the other melt-quenches."""
    every = hidden.structures.split()
    tables = []
    for quench in dict.fromkeys(hidden.quench):
        mine = [s for s, q in zip(every, hidden.quench, strict=True) if q == quench]
        others = [s for s, q in zip(every, hidden.quench, strict=True) if q != quench]
        tables.append(scores(concatenate(mine), case, concatenate(others)))
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def one_of_each(hidden: Hidden) -> Structures:
    """One hidden structure of every melt-quench."""
    every = dict(zip(hidden.quench, hidden.structures.split(), strict=True))
    return concatenate(list(every.values()))


def summary(values: Sequence[float] | Array) -> dict[str, float]:
    """Mean and sample standard deviation, without what is not a number; 0 spread for a single value."""
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    if not known.size:
        return {"mean": float("nan"), "std": float("nan"), "n": 0}
    return {"mean": float(known.mean()), "std": float(known.std(ddof=1)) if known.size > 1 else 0.0, "n": known.size}


def table(rows: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """The rows as text, mean and spread."""
    names = [c for c in COLUMNS if any(c in row for row in rows.values())]
    width = max(len(label) for label in rows) + 1
    lines = [" " * width + "".join(f"{COLUMNS[c][0]:>17}" for c in names)]
    for label, row in rows.items():
        cells = []
        for c in names:
            _, factor, digits = COLUMNS[c]
            value = row.get(c, {"mean": float("nan")})
            text = f"{factor * value['mean']:.{digits}f} ± {factor * value['std']:.{digits}f}" if c in row else "-"
            cells.append(f"{text:>17}")
        lines.append(f"{label:<{width}}" + "".join(cells))
    return "\n".join(lines)


def save(path: Path, structures: Structures) -> None:
    """Keep structures as arrays, whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            positions=structures.positions.double().numpy(),
            cell=structures.cell.double().numpy(),
            numbers=structures.numbers.numpy(),
            system=structures.system.numpy(),
        )


def load(path: Path) -> Structures:
    """Structures that `save` kept."""
    with np.load(path, allow_pickle=False) as stored:
        return Structures(*(torch.from_numpy(stored[name]) for name in ("positions", "cell", "numbers", "system")))


def draw(path: Path, name: str, curves: Mapping[str, Sequence[Mapping[str, Any]]], floors: Mapping[str, Array]) -> None:
    """Angles and coordination against the misfit of g(r), a line per method, into a picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    shown = (("angle_rmse", "angle RMSE, % per degree", 1.0), ("coordinated.Si", "Si with four neighbours, %", 100.0))
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), constrained_layout=True)
    ours = [method for method in curves if method.startswith("ours")]
    others = [method for method in curves if method not in ours]
    colour = dict(zip([*ours, *others], [*OURS[: len(ours)], *OTHERS], strict=False))
    for axis, (key, label, factor) in zip(axes, shown, strict=True):
        for method, points in curves.items():
            x = [max(p["gr_rmse"]["mean"], TICKS[0]) for p in points]
            y = [factor * p[key]["mean"] for p in points]
            shape = "D" if method in ours else "o"
            axis.plot(x, y, "-" if len(x) > 1 else "", color=colour[method], lw=1.2, alpha=0.8, zorder=2)
            size = [60 if p["main"] else 16 for p in points]
            axis.scatter(
                x, y, s=size, color=colour[method], marker=shape, label=method, zorder=3, edgecolor="white", lw=0.6
            )
        best = (floors["gr_rmse"].mean(), factor * floors[key].mean())
        axis.scatter(*best, marker="*", s=170, color="black", zorder=4, label="floor: one hidden structure")
        axis.axhline(best[1], color="black", lw=0.6, ls=":", zorder=1)
        axis.set(xlabel="RMSE of g(r), fitted", ylabel=label, xscale="log")
        axis.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
        axis.minorticks_off()
    axes[0].set_ylim(bottom=0)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8, frameon=False)
    figure.suptitle(f"{name}: what was not fitted against what was", fontsize=11)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)


def rescaled(structures: Structures, density: float) -> Structures:
    """The structures at another number density (atoms/Å^3), all lengths by one factor."""
    factor = (float(structures.density[0]) / density) ** (1 / 3)
    return replace(structures, positions=structures.positions * factor, cell=structures.cell * factor)
