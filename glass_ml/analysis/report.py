"""The report of an inversion: one page that needs nothing else, and opens with the answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from ase.data import chemical_symbols
from ase.formula import Formula
from matplotlib.figure import Figure

from glass_ml import __version__
from glass_ml.analysis import figures
from glass_ml.analysis.ensemble import Anatomy
from glass_ml.analysis.inversion import Inversion, read_inversion
from glass_ml.analysis.labels import GROUPS, label
from glass_ml.analysis.rings import describe_rings
from glass_ml.analysis.verdict import QUESTIONS, Level, Verdict, verdict
from glass_ml.analysis.viewer import viewer_data
from glass_ml.files import sha256_file, write_text
from glass_ml.units import mass_density

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
<header>
<p class="quiet">glass_ml $version · report of an inversion</p>
<h1>$heading</h1>
<p class="quiet">$facts</p>
</header>
$verdict
<h2>The structures</h2>
$viewer
<h2>The measurements</h2>
<p class="quiet">Line and band: mean and spread over replicas. Below: fit minus data, and in grey the stated
uncertainty.</p>
$measurements
<h2>What the structures look like</h2>
$anatomy
<h2>Descriptors</h2>
<div class="card">
<p class="quiet">Mean ± standard deviation over $replicas.</p>
<div class="columns descriptors">$descriptors</div>
</div>
<h2>Where this comes from</h2>
$lineage
</main>
<script type="application/json" id="viewer-data">$data</script>
<script>$script</script>
</body>
</html>
""")

_VIEWER = Template("""<div class="card">
<div class="controls">
<label>Replica <select id="viewer-replica">$replicas</select></label>
<label>Colour by <select id="viewer-colour"><option value="element">element</option>
<option value="coordination">coordination</option></select></label>
<label><input type="checkbox" id="viewer-bonds" checked> bonds</label>
<label>Cut <input type="range" id="viewer-cut" min="0" max="1" step="0.01" value="1"></label>
<button type="button" id="viewer-reset">Reset</button>
</div>
<canvas id="viewer" tabindex="0" role="img" aria-label="The atoms of a replica in three dimensions"></canvas>
<div class="legend" id="viewer-legend"></div>
<p class="quiet screen">Drag to turn, wheel or pinch to zoom, two fingers or shift to move. $left_out
<span id="viewer-atom"></span></p>
</div>""")

_ANSWERS: dict[Level, str] = {"good": "yes", "fair": "partly", "poor": "no", "none": "not judged"}
_CERTAINTY: dict[Level, str] = {"good": "quite sure", "fair": "fairly", "poor": "not sure", "none": "not judged"}
_MARKS: dict[Level, str] = {"good": "✓", "fair": "~", "poor": "✕", "none": "i"}


def write_report(folder: Path | str) -> Path:
    """Write `report.html` from the other files of an inversion folder; returns its path.

    Raises:
        InputError: a file is missing or unreadable, or the folder cannot be written to.
    """
    inversion = read_inversion(folder)
    anatomy = Anatomy.of(inversion.structures, _used_cutoffs(inversion.metrics))
    path = inversion.folder / "report.html"
    write_text(path, _page(inversion, anatomy))
    return path


def write_figures(folder: Path | str, out: Path | str) -> list[Path]:
    """Write every figure of the report as a PNG file into `out`; returns their paths. Errors as `write_report`."""
    inversion = read_inversion(folder)
    anatomy = Anatomy.of(inversion.structures, _used_cutoffs(inversion.metrics))
    paths = []
    for name, (title, figure) in {**_spectrum_figures(inversion), **_structure_figures(anatomy)}.items():
        paths.append(Path(out) / f"{name}.png")
        figures.save_png(figure, paths[-1], title)
    return paths


def _used_cutoffs(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The cutoffs that the recorded descriptors were made with."""
    recorded = metrics["structure"]
    return {name[7:]: recorded[name]["mean"] for name in recorded if name.startswith("cutoff.")}


def _file_name(measurement: str) -> str:
    return f"spectrum-{re.sub(r'[^A-Za-z0-9_.]+', '-', measurement)}"


def _spectrum_figures(inversion: Inversion) -> dict[str, tuple[str, Figure]]:
    return {
        _file_name(spectrum.name): (
            figures.named(spectrum.name, spectrum.kind),
            figures.spectrum_figure(spectrum),
        )
        for spectrum in inversion.spectra
        if len(spectrum.x) >= figures.FEW_POINTS
    }


def _structure_figures(anatomy: Anatomy) -> dict[str, tuple[str, Figure]]:
    result = {"partial-gr": ("Partial g(r)", figures.gr_figure(anatomy))}
    if not anatomy.angles.names:
        return result
    result["bond-angles"] = ("Bond angles", figures.angle_figure(anatomy))
    result["coordination"] = ("Coordination", figures.coordination_figure(anatomy))
    rings = describe_rings(anatomy.bonds)
    if rings:
        result["rings"] = ("Rings", figures.ring_figure(list(rings.values())))
    return result


_CAPTIONS = {
    "partial-gr": "Line and band: mean and spread over replicas. Dashed: the longest distance counted as a bond.",
    "bond-angles": "Apex in the middle of each name. Line and band: mean and spread over replicas.",
    "coordination": "Bars: mean over replicas, with their spread.",
    "rings": "Primitive rings (no shortcuts), mean over replicas with their spread.",
}


def _page(inversion: Inversion, anatomy: Anatomy) -> str:
    structures, lineage = inversion.structures, inversion.lineage
    first = structures[0]
    symbols = [chemical_symbols[z] for z in first.numbers.tolist()]
    amounts = {s: symbols.count(s) for s in dict.fromkeys(symbols)}
    formula = Formula.from_dict(amounts).reduce()[0].format("html")
    density = float(structures.density.mean())
    system = str(lineage.get("system", "")) or formula
    n = structures.n_systems
    replicas = "one structure" if n == 1 else f"{n} structures"
    model = lineage.get("model_name") or inversion.metrics.get("model_uri")
    facts = [
        f"{replicas} of {first.n_atoms} atoms" + (f" ({formula})" if system != formula else ""),
        f"{density:.4f} atoms/Å³ ({mass_density(density, amounts):.2f} g/cm³)",
        f"{inversion.metrics['network_calls']} network calls" if "network_calls" in inversion.metrics else "",
        f"model {escape(str(model))}" if model else "",
        f"seed {lineage['seed']}" if "seed" in lineage else "",
        escape(str(inversion.metrics.get("note") or "")),
    ]
    data = viewer_data(structures, anatomy.bonds)
    options = "".join(f'<option value="{k}">{k}</option>' for k in range(len(data["replicas"])))
    package = files("glass_ml.analysis")
    return _PAGE.substitute(
        title=escape(f"{system if system != formula else 'Inversion'} · glass_ml report"),
        style=package.joinpath("report.css").read_text(encoding="utf-8"),
        version=__version__,
        heading=escape(system) if system != formula else formula,
        facts=" · ".join(fact for fact in facts if fact),
        verdict=_verdict(verdict(inversion.metrics)),
        viewer=_VIEWER.substitute(replicas=options, left_out=data["left_out"]),
        measurements=_measurements(inversion),
        anatomy='<div class="grid">' + _figure_cards(_structure_figures(anatomy)) + "</div>",
        replicas=replicas,
        descriptors=_descriptors(inversion.metrics["structure"]),
        lineage=_lineage(inversion),
        data=json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
        script=package.joinpath("viewer.js").read_text(encoding="utf-8"),
    )


def _verdict(judged: Verdict) -> str:
    columns = []
    for question, title in QUESTIONS.items():
        level = judged.levels[question]
        answer = (_CERTAINTY if question == "certainty" else _ANSWERS)[level]
        points = "".join(
            f'<li class="{s.level}"><span class="mark" aria-label="{s.level}">{_MARKS[s.level]}</span>'
            f"{escape(s.text)}</li>"
            for s in judged.about(question)
        )
        columns.append(
            f'<div><h3 class="{level}">{title}<span class="answer">{answer}</span></h3><ul>{points}</ul></div>'
        )
    fitted = ", ".join(judged.fitted) or "nothing"
    held_out = ", ".join(judged.held_out) or "nothing"
    return (
        f'<section class="card verdict {judged.level}"><p>{escape(judged.headline)}</p>'
        f'<div class="questions">{"".join(columns)}</div>'
        f'<p class="quiet">Fitted: {escape(fitted)}. Only compared with: {escape(held_out)}.</p></section>'
    )


def _figure_cards(drawn: Mapping[str, tuple[str, Figure]], extra: Mapping[str, str] | None = None) -> str:
    cards = []
    for name, (title, figure) in drawn.items():
        caption = (extra or _CAPTIONS).get(name, "")
        cards.append(
            f'<figure class="card"><h3>{escape(title)}</h3><figcaption>{caption}</figcaption>'
            f"{figures.svg_text(figure, f'{title}: figure')}</figure>"
        )
    return "\n".join(cards)


def _measurements(inversion: Inversion) -> str:
    captions, rows = {}, []
    further = {"e0": "E0 shift, eV", "sigma2": "σ², Å²", "outside": "beyond training", "doubt": "model's error"}
    opened = [key for key in further if any(key in m for m in inversion.metrics["measurements"].values())]
    for spectrum in inversion.spectra:
        m = inversion.metrics.get("measurements", {}).get(spectrum.name, {})
        use = "fitted" if spectrum.use == "fit" else "held out"
        numbers = [
            f"{word} {m[key]:.{digits}f}"
            for word, key, digits in (("R", "r_factor", 3), ("reduced χ²", "chi2_reduced", 2))
            if key in m
        ]
        captions[_file_name(spectrum.name)] = ", ".join([use, *numbers])
        cells = [escape(spectrum.name), escape(figures.kind_title(spectrum.kind)), use]
        values = [*(f"{m[k]:.3g}" if k in m else "" for k in ("r_factor", "chi2_reduced")), f"{len(spectrum.x)}"]
        values += [f"{m[k]:.4g}" if k in m else "" for k in ("scale", "offset", *opened)]
        rows.append(
            "<tr>"
            + "".join(f"<td>{cell}</td>" for cell in cells)
            + "".join(f'<td class="number">{value}</td>' for value in values)
            + "</tr>"
        )
    heads = "".join(f"<th>{word}</th>" for word in ("Measurement", "Kind", "Use"))
    columns = ("R", "χ²/point", "Points", "Scale", "Offset", *(further[key] for key in opened))
    heads += "".join(f'<th class="number">{word}</th>' for word in columns)
    table = f'<div class="card wide"><table><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    return f'<div class="grid">{_figure_cards(_spectrum_figures(inversion), captions)}</div><br>{table}'


def _descriptors(described: Mapping[str, Any]) -> str:
    groups: dict[str, list[str]] = {group: [] for group in GROUPS}
    for name, value in described.items():
        shown = label(name)
        number = shown.value(value["mean"], value["std"] if value["std"] > 1e-9 else None)
        groups[shown.group].append(
            f'<tr><td>{escape(shown.text)}<br><code class="name">{escape(name)}</code></td>'
            f'<td class="number">{number}</td></tr>'
        )
    return "".join(
        f'<table><thead><tr><th colspan="2">{group}</th></tr></thead><tbody>{"".join(rows)}</tbody></table>'
        for group, rows in groups.items()
        if rows
    )


def _lineage(inversion: Inversion) -> str:
    rows = []
    for key, value in inversion.lineage.items():
        rows.append(f'<tr><td>{escape(key)}</td><td class="value">{_pretty(value)}</td></tr>')
    names = ("structures.extxyz", "metrics.json", "spectra.csv", "lineage.json", "target.yaml")
    sums = "\n".join(f"{sha256_file(p)}  {p.name}" for n in names if (p := inversion.folder / n).is_file())
    record = (
        f'<div class="wide"><table class="lineage"><tbody>{"".join(rows)}</tbody></table></div>'
        if rows
        else "<p>There is no lineage.json in this folder: nothing says which model and data made these structures.</p>"
    )
    target = f"<details><summary>The target as it was given</summary><pre>{escape(inversion.target)}</pre></details>"
    return f"""<div class="card">{record}{target if inversion.target else ""}</div>
<h2>How to verify it</h2>
<div class="card together"><p>Every structure carries this record. Anywhere, with the file alone:</p>
<pre>glass-ml trace structures.extxyz</pre>
<p>It checks the structure's own checksum, the model, the data, the measurements and the code, and says what it cannot
reach. The files beside this report were, by SHA-256 (<code>sha256sum -c</code> takes these lines):</p>
<pre>{sums}</pre></div>"""


def _pretty(value: Any) -> str:
    """A lineage value as HTML; what is nested, also as JSON in a text, is laid out, to be unfolded."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        with suppress(ValueError):
            value = json.loads(value)
    if isinstance(value, dict | list):
        laid_out = json.dumps(value, indent=1, ensure_ascii=False)
        return f"<details><summary>unfold</summary>{escape(laid_out)}</details>"
    return escape(str(value))
