"""Which probe knows most: the matrix of a complementarity study as a heat map, a table and sentences.

What a choice of probes leaves of an error is a ratio: (error - floor) / (error of the prior alone - floor). The floor
of a descriptor is what one reference structure differs by from the mean of the others, that of a spectrum is 0. 1 means
that the data said nothing, 0 that nothing is left to know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glass_ml.files import atomic_path

DESCRIPTORS = {"angle.rmse": "bond angles", "coordination.emd": "coordination", "rings.emd": "rings"}
"""What no scattering probe is fitted to, by its name in `compare`."""

ANGLES = "angles"
"""Name of the probe that measures bond angles: they are no unfitted descriptor to it."""


def title(row: Mapping[str, Any]) -> str:
    """The fitted probes of a row in words."""
    return " + ".join(row["fitted"]) or "prior alone"


def left(result: Mapping[str, Any], row: Mapping[str, Any], name: str) -> tuple[float, float]:
    """What a row leaves of the error in a descriptor: the ratio and its standard error."""
    nothing = next(r for r in result["rows"] if not r["fitted"])
    least = result["floor"].get(name, {"mean": 0.0})["mean"]
    scale = max(nothing["descriptors"][name]["mean"] - least, 1e-9)
    found = row["descriptors"][name]
    n = max(1, int(result["settings"]["n_structures"]))
    return (found["mean"] - least) / scale, found["std"] / n**0.5 / scale


def unknown(result: Mapping[str, Any]) -> list[str]:
    """The descriptors in which the prior alone is further from the reference structures than these from each other.

    Where it is not, by twice the standard error, data have nothing to add, and ratios mean nothing.
    """
    nothing = next(r for r in result["rows"] if not r["fitted"])["descriptors"]
    n = max(1, int(result["settings"]["n_structures"]))
    excess = {}
    for name in (name for name in DESCRIPTORS if name in nothing):
        least = result["floor"].get(name, {"mean": 0.0})["mean"]
        excess[name] = nothing[name]["mean"] - least - 2 * nothing[name]["std"] / n**0.5
    return [name for name, value in excess.items() if value > 0]


def unfitted(result: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    """The descriptors that the prior alone does not know and that a row has not fitted."""
    there = [name for name in unknown(result) if name in row["descriptors"]]
    return [name for name in there if not (ANGLES in row["fitted"] and name.startswith("angle"))]


def ignorance(result: Mapping[str, Any], row: Mapping[str, Any]) -> tuple[float, float]:
    """Mean of `left` over the descriptors that a row has not fitted, and its standard error."""
    parts = [left(result, row, name) for name in unfitted(result, row)]
    if not parts:
        return float("nan"), float("nan")
    return float(np.mean([p[0] for p in parts])), float(np.sqrt(np.sum([p[1] ** 2 for p in parts])) / len(parts))


def study_text(result: Mapping[str, Any]) -> str:
    """The result as Markdown: what the numbers say, then the numbers."""
    settings = result["settings"]
    singles = [row for row in result["rows"] if len(row["fitted"]) == 1]
    lines = [
        f"# Which probe knows most of {result['system']}",
        "",
        f"{result['note']} Noise {100 * settings['noise']:g} % of the range; {settings['n_structures']} replicas of "
        f"{settings['n_atoms']} atoms, {settings['steps']} network calls each, the same seeds for every choice.",
        "",
        *_sentences(result, singles),
        "",
        "`left` is the part of the prior's error that remains in the unfitted descriptors: 1, the data said nothing; "
        "0, nothing is left to know (± standard error). R of a spectrum; * it was fitted. The other ± are standard "
        "deviations over replicas.",
        "",
        *_table(result),
    ]
    return "\n".join([*lines, ""])


def _sentences(result: Mapping[str, Any], singles: Sequence[Mapping[str, Any]]) -> list[str]:
    if not unknown(result):
        return ["- In no descriptor is the prior alone worse than chance: this study cannot tell the probes apart."]
    rated = sorted(((*ignorance(result, row), row) for row in singles if unfitted(result, row)), key=lambda r: r[0])
    shown = [f"{title(row)} {value:.2f} ± {error:.2f}" for value, error, row in rated]
    lines = [f"- Alone, the probes leave of the prior's error in what was not fitted: {', '.join(shown)}."]
    scattering = [r for r in rated if r[2]["fitted"] != [ANGLES]]
    if len(scattering) > 1 and any(r[2]["fitted"] == ["g(r)"] for r in scattering):
        lines.append(f"- {_verdict_on_gr(scattering)}")
    for name, words in DESCRIPTORS.items():
        if name in result["floor"] and name not in unknown(result):
            lines.append(f"- Of {words} the prior alone knows as much as one reference structure says of the others.")
        known = [(left(result, row, name), row) for row in singles if name in unfitted(result, row)]
        if known:
            (value, error), best = min(known, key=lambda k: k[0][0])
            lines.append(f"- Of {words} {title(best)} says most: {value:.2f} ± {error:.2f} of the error is left.")
    pairs = [row for row in result["rows"] if len(row["fitted"]) == 2 and ANGLES not in row["fitted"]]
    if pairs and scattering:
        value, error, best = min(((*ignorance(result, row), row) for row in pairs), key=lambda r: r[0])
        gain = scattering[0][0] - value
        beyond = gain > 2 * np.hypot(error, scattering[0][1])
        more = "more than either" if beyond else "no more, within twice the standard error, than the best alone"
        lines.append(f"- The best two are {title(best)}, which leave {value:.2f} ± {error:.2f}: {more}.")
    everything = max(result["rows"], key=lambda row: len(row["fitted"]))
    if len(everything["fitted"]) > 2:
        value, error = ignorance(result, everything)
        lines.append(f"- All together leave {value:.2f} ± {error:.2f}.")
    return lines


def _verdict_on_gr(rated: Sequence[tuple[float, float, Mapping[str, Any]]]) -> str:
    """Whether g(r) is the most informative single probe, as Guo and Schwalbe-Koda found (arXiv:2603.23210)."""
    own = next(r for r in rated if r[2]["fitted"] == ["g(r)"])
    best = next(r for r in rated if r[2]["fitted"] != ["g(r)"])
    apart = abs(own[0] - best[0]) > 2 * np.hypot(own[1], best[1])
    if not apart:
        return f"g(r) and {title(best[2])} say about as much (within twice the standard error of their difference)."
    if own[0] < best[0]:
        return f"g(r) is the most informative single probe; {title(best[2])} comes next."
    return f"g(r) is not the most informative single probe here: {title(best[2])} says more."


def _columns(result: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Family ('spectra' or 'descriptors'), name and heading of what is shown."""
    first = result["rows"][0]
    spectra = [("spectra", name, f"R {name}") for names in result["probes"].values() for name in names]
    angles = [n for n in first["descriptors"] if n.startswith("angle.rmse.")]
    shown = [("descriptors", n, n.removeprefix("angle.rmse.") + " angles") for n in angles if len(angles) > 1]
    return (
        spectra + shown + [("descriptors", n, words) for n, words in DESCRIPTORS.items() if n in first["descriptors"]]
    )


def _is_fitted(result: Mapping[str, Any], row: Mapping[str, Any], family: str, name: str) -> bool:
    if family == "spectra":
        return any(name in result["probes"][probe] for probe in row["fitted"])
    return ANGLES in row["fitted"] and name.startswith("angle")


def _table(result: Mapping[str, Any]) -> list[str]:
    columns = _columns(result)
    lines = [
        f"| fitted | left | {' | '.join(heading for _, _, heading in columns)} |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for row in result["rows"]:
        value, error = ignorance(result, row)
        cells = []
        for family, name, _ in columns:
            cell = row[family][name]
            star = "*" if _is_fitted(result, row, family, name) else ""
            cells.append(f"{cell['mean']:.3f} ± {cell['std']:.3f}{star}")
        lines.append(f"| {title(row)} | {value:.2f} ± {error:.2f} | {' | '.join(cells)} |")
    floors = [f"{result['floor'][n]['mean']:.3f}" if n in result["floor"] else "" for _, n, _ in columns]
    return [*lines, f"| one reference structure | | {' | '.join(floors)} |"]


def plot_study(result: Mapping[str, Any], path: Path) -> None:
    """Write the heat map (PNG): a row for every choice of probes, a column for every spectrum and descriptor.

    The colour is what is left of the error of the prior alone, the number the error itself; what was fitted has
    a frame.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    columns, rows = _columns(result), result["rows"]
    nothing = next(r for r in rows if not r["fitted"])
    shade = np.zeros((len(rows), len(columns)))
    for i, row in enumerate(rows):
        for j, (family, name, _) in enumerate(columns):
            if family == "descriptors":
                shade[i, j] = left(result, row, name)[0]
            else:
                shade[i, j] = row[family][name]["mean"] / max(nothing[family][name]["mean"], 1e-9)
    figure = Figure(figsize=(3.2 + 1.05 * len(columns), 1.9 + 0.36 * len(rows)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(np.clip(shade, 0, 1.25), cmap="viridis_r", vmin=0, vmax=1.25, aspect="auto")
    for i, row in enumerate(rows):
        for j, (family, name, _) in enumerate(columns):
            colour = "white" if shade[i, j] > 0.65 else "black"
            axes.text(j, i, f"{row[family][name]['mean']:.3f}", ha="center", va="center", color=colour, fontsize=9)
            if _is_fitted(result, row, family, name):
                axes.add_patch(
                    Rectangle((j - 0.46, i - 0.43), 0.92, 0.86, fill=False, edgecolor="#d55e00", linewidth=2)
                )
    axes.set_xticks(range(len(columns)), [h.replace(" ", "\n", 1) for _, _, h in columns], fontsize=9)
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(rows)), [title(row) for row in rows], fontsize=9)
    axes.tick_params(length=0)
    spectra = sum(family == "spectra" for family, _, _ in columns)
    axes.axvline(spectra - 0.5, color="white", linewidth=4)
    for i in range(1, len(rows)):
        if len(rows[i]["fitted"]) != len(rows[i - 1]["fitted"]):
            axes.axhline(i - 0.5, color="white", linewidth=4)
    for spine in axes.spines.values():
        spine.set_visible(False)
    bar = figure.colorbar(image, ax=axes, pad=0.02, fraction=0.04)
    bar.set_label("part of the prior's error that is left", fontsize=9)
    axes.set_title(
        f"{result['system']}: which probe knows most. Rows: what was fitted (framed). Left: R of every spectrum;\n"
        "right: distance of unfitted descriptors from the reference structures (rmse, earth mover's distance).",
        fontsize=10, loc="left", pad=14,
    )  # fmt: skip
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130)
