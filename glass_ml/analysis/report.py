"""The report of an inversion: one page that needs nothing else, and opens with the answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors
from ase.formula import Formula
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from glass_ml import __version__
from glass_ml.analysis import figures
from glass_ml.analysis.coordination import Bonds, coordination_fractions
from glass_ml.analysis.ensemble import Anatomy
from glass_ml.analysis.inversion import FittedSpectrum, Inversion, read_inversion
from glass_ml.analysis.names import GROUPS, label
from glass_ml.analysis.references import Level, References
from glass_ml.analysis.rings import describe_rings
from glass_ml.analysis.verdict import QUESTIONS, verdict
from glass_ml.files import sha256_file, write_text
from glass_ml.structures.state import Structures
from glass_ml.units import mass_density

MAX_ATOMS = 24_000
"""Atoms in a page, over all replicas shown: about 1 MB, and as many as a telephone still turns."""

_LIKE: dict[Level, str] = {"good": "yes", "fair": "partly", "poor": "no", "none": "not judged"}
_SURE: dict[Level, str] = {"good": "quite sure", "fair": "fairly", "poor": "not sure", "none": "not judged"}
_ANSWERS = {"fit": _LIKE, "realism": _LIKE, "certainty": _SURE}
_MARKS: dict[Level, str] = {"good": "✓", "fair": "~", "poor": "✕", "none": "i"}
_CAPTIONS = {
    "partial-gr": "Line and band: mean and spread over replicas. Dashed: the longest distance counted as a bond.",
    "bond-angles": "Apex in the middle of each name. Line and band: mean and spread over replicas.",
    "coordination": "Bars: mean over replicas, with their spread.",
    "rings": "Primitive rings (no shortcuts), mean over replicas with their spread.",
}
_FURTHER = {"e0": "E0 shift, eV", "sigma2": "σ², Å²", "outside": "beyond training", "doubt": "model's error"}
_FILES = ("structures.extxyz", "metrics.json", "spectra.csv", "lineage.json", "target.yaml")


@cache
def _templates() -> Environment:
    """The pages of `templates/`; every field is escaped."""
    loader = PackageLoader("glass_ml.analysis")
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    pages.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return pages


def write_report(inversion: Inversion | Path | str, images: Path | str | None = None) -> list[Path]:
    """Write `report.html` of an inversion, and its figures as PNG files too where a folder for `images` is given.

    Returns:
        The path of the report, which is written last, then those of the images.

    Raises:
        InputError: a file of the folder is missing or unreadable, or it cannot be written to.
    """
    if not isinstance(inversion, Inversion):
        inversion = read_inversion(inversion)
    spectra, structure = _spectrum_figures(inversion.spectra), _structure_figures(inversion.anatomy)
    page = _page(inversion, spectra, structure)
    paths = [inversion.folder / "report.html"]
    for name, (title, figure) in ({**spectra, **structure} if images is not None else {}).items():
        paths.append(Path(images or "") / f"{name}.png")
        figures.save_png(figure, paths[-1], title)
    write_text(paths[0], page)
    return paths


def _file_name(measurement: str) -> str:
    return f"spectrum-{re.sub(r'[^A-Za-z0-9_.]+', '-', measurement)}"


def _spectrum_figures(spectra: tuple[FittedSpectrum, ...]) -> dict[str, tuple[str, Figure]]:
    return {
        _file_name(s.name): (figures.named(s.name, s.kind), figures.spectrum_figure(s))
        for s in spectra
        if len(s.x) >= figures.FEW_POINTS
    }


def _structure_figures(anatomy: Anatomy) -> dict[str, tuple[str, Figure]]:
    result = {"partial-gr": ("Partial g(r)", figures.gr_figure(anatomy))}
    if not anatomy.angles.names:
        return result
    result["bond-angles"] = ("Bond angles", figures.angle_figure(anatomy))
    result["coordination"] = ("Coordination", figures.coordination_figure(anatomy))
    if rings := describe_rings(anatomy.bonds, anatomy.ring_counts):
        result["rings"] = ("Rings", figures.ring_figure(list(rings.values())))
    return result


def _page(
    inversion: Inversion, spectra: Mapping[str, tuple[str, Figure]], structure: Mapping[str, tuple[str, Figure]]
) -> str:
    structures, lineage, metrics = inversion.structures, inversion.lineage, inversion.metrics
    first = structures[0]
    symbols = [chemical_symbols[z] for z in first.numbers.tolist()]
    amounts = {s: symbols.count(s) for s in dict.fromkeys(symbols)}
    formula = Markup(Formula.from_dict(amounts).reduce()[0].format("html"))
    density = float(structures.density.mean())
    system = str(lineage.get("system", ""))
    n = structures.n_systems
    replicas = "one structure" if n == 1 else f"{n} structures"
    model = lineage.get("model_name") or metrics.get("model_uri")
    captions, columns, rows = _measurements(inversion)
    known, beside = _known(metrics)
    return _templates().get_template("report.html").render(
        title=system or "Inversion",
        version=__version__,
        heading=system or formula,
        facts=[
            Markup("{} of {} atoms{}").format(replicas, first.n_atoms, Markup(f" ({formula})") if system else ""),
            f"{density:.4f} atoms/Å³ ({mass_density(density, amounts):.2f} g/cm³)",
            f"{metrics['network_calls']} network calls" if "network_calls" in metrics else "",
            f"model {model}" if model else "",
            f"seed {lineage['seed']}" if "seed" in lineage else "",
            str(metrics.get("note") or ""),
        ],
        verdict=verdict(metrics),
        questions=QUESTIONS,
        answers=_ANSWERS,
        marks=_MARKS,
        viewer=viewer_data(structures, inversion.anatomy.bonds),
        spectra=_cards(spectra, captions),
        columns=columns,
        measurements=rows,
        anatomy=_cards(structure, _CAPTIONS),
        replicas=replicas,
        beside=beside,
        descriptors=_descriptors(metrics["structure"], known),
        lineage=[(key, *_pretty(value)) for key, value in lineage.items()],
        target=inversion.target,
        checksums=[(sha256_file(p), p.name) for name in _FILES if (p := inversion.folder / name).is_file()],
    )  # fmt: skip


def _cards(drawn: Mapping[str, tuple[str, Figure]], captions: Mapping[str, str]) -> list[dict[str, str]]:
    return [
        {"title": title, "caption": captions[name], "svg": Markup(figures.svg_text(figure, f"{title}: figure"))}
        for name, (title, figure) in drawn.items()
    ]


def _measurements(inversion: Inversion) -> tuple[dict[str, str], list[str], list[tuple[list[str], list[str]]]]:
    """Captions of the figures by file name; headings of the columns of numbers; words and numbers of every row."""
    measured = inversion.metrics["measurements"]
    opened = [key for key in _FURTHER if any(key in m for m in measured.values())]
    captions, rows = {}, []
    for spectrum in inversion.spectra:
        m = measured.get(spectrum.name, {})
        use = "fitted" if spectrum.use == "fit" else "held out"
        shown = (("R", "r_factor", 3), ("reduced χ²", "chi2_reduced", 2))
        numbers = [f"{word} {m[key]:.{digits}f}" for word, key, digits in shown if key in m]
        captions[_file_name(spectrum.name)] = ", ".join([use, *numbers])
        values = [f"{m[k]:.3g}" if k in m else "" for k in ("r_factor", "chi2_reduced")]
        values += [str(len(spectrum.x)), *(f"{m[k]:.4g}" if k in m else "" for k in ("scale", "offset", *opened))]
        rows.append(([spectrum.name, figures.kind_title(spectrum.kind), use], values))
    return captions, ["R", "χ²/point", "Points", "Scale", "Offset", *(_FURTHER[key] for key in opened)], rows


def _known(metrics: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The reference descriptors that structures were judged against, and what they are of."""
    references = References.read(metrics.get("references"))
    if references is None:
        return {}, ""
    group, _ = references.nearest(metrics["structure"])
    return group.descriptors, f"those of the {references.noun}, {group.file},"


def _descriptors(described: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, list[tuple[str, ...]]]:
    """Words, name, value and reference value of every descriptor, by group."""
    groups: dict[str, list[tuple[str, ...]]] = {group: [] for group in GROUPS}
    for name, value in described.items():
        shown = label(name)
        texts = (
            shown.value(v["mean"], v["std"] if v["std"] > 1e-9 else None) if v else "" for v in (value, known.get(name))
        )
        groups[shown.group].append((shown.text, name, *texts))
    return groups


def _pretty(value: Any) -> tuple[str, bool]:
    """A value of the lineage as text, and whether it is to be unfolded: JSON inside of text is, laid out."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.dumps(json.loads(value), indent=1, ensure_ascii=False), True
        except ValueError:
            return value, False
    return str(value), False


def viewer_data(structures: Structures, bonds: Bonds) -> dict[str, Any]:
    """The data of `viewer.js`: `elements`, `usual` (most frequent coordination of each) and `replicas`.

    Replicas are taken in order while their atoms fit into MAX_ATOMS; of a first replica that is larger, a slice of
    that many atoms at the bottom of the cell along its third vector. `left_out` says in words what is missing.
    """
    structures = structures.wrapped()
    fractions = coordination_fractions(bonds)
    elements = list(fractions)
    kind_of = np.zeros(max(elements) + 1, dtype=np.int64)
    kind_of[elements] = np.arange(len(elements))
    counts = structures.counts.tolist()
    number = max(1, int(np.searchsorted(np.cumsum(counts), MAX_ATOMS, side="right")))
    frames = structures.split()[:number]
    start = np.concatenate([[0], np.cumsum(counts)])
    degree = bonds.degree
    replicas = []
    for s, frame in enumerate(frames):
        position, cell = frame.positions.cpu().double().numpy(), frame.cell[0].cpu().double().numpy()
        height = (position @ np.linalg.inv(cell))[:, 2]
        kept = np.sort(np.argsort(height, kind="stable")[:MAX_ATOMS])
        place = np.full(len(position), -1)
        place[kept] = np.arange(len(kept))
        chosen = (bonds.system[bonds.i] == s) & (bonds.i < bonds.j)
        i, j = place[bonds.i[chosen] - start[s]], place[bonds.j[chosen] - start[s]]
        both = (i >= 0) & (j >= 0)
        i, j, shift = i[both], j[both], bonds.shift[chosen][both]
        across = shift.any(1)
        replicas.append(
            {
                "cell": cell.round(3).tolist(),
                "kind": kind_of[frame.numbers.cpu().numpy()[kept]].tolist(),
                "count": degree[kept + start[s]].tolist(),
                "position": position[kept].round(2).ravel().tolist(),
                "bonds": np.stack([i[~across], j[~across]], axis=1).ravel().tolist(),
                "crossing": np.column_stack([i[across], j[across], shift[across]]).ravel().tolist(),
            }
        )
    left_out = ""
    if number < len(counts):
        left_out = f"The first {number} of {len(counts)} replicas are shown."
    if counts[0] > MAX_ATOMS:
        left_out = f"{MAX_ATOMS} of the {counts[0]} atoms of the first replica are shown, from the bottom of its cell."
    return {
        "elements": [
            {
                "symbol": chemical_symbols[z],
                "colour": "#" + "".join(f"{round(255 * c):02x}" for c in jmol_colors[z]),
                "radius": round(0.22 + 0.27 * float(covalent_radii[z]), 3),
            }
            for z in elements
        ],
        "usual": [int(np.nanmean(table, axis=0).argmax()) for table in fractions.values()],
        "replicas": replicas,
        "left_out": left_out,
    }
