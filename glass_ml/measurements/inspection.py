"""What a measured file looks like: ranges, limits, the convention it seems to be in, the density it implies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glass_ml.errors import InputError
from glass_ml.files import atomic_path
from glass_ml.measurements.absorption import column_names
from glass_ml.measurements.conventions import REAL, convert
from glass_ml.measurements.readers import Spectrum, read_spectrum
from glass_ml.measurements.tables import read_table
from glass_ml.observables.kinds import find_kind

SUFFIXES = {".gr": "pdf", ".sq": "xray-sq", ".fq": "xray-fq", ".mint01": "neutron-fq"}
SKIPPED = {".vasp", ".xyz", ".extxyz", ".cif", ".py", ".md", ".yaml", ".yml", ".json", ".png", ".pdf", ".gz", ".zip"}
GRID = np.arange(0.02, 15.0, 0.02)


@dataclass(frozen=True)
class Inspection:
    """Findings about one file.

    Attributes:
        spectrum: the data as read.
        columns: number of columns in the file.
        header: its first header lines.
        guesses: kinds that fit its looks, the likeliest first, each with the reason.
        high_mean, high_scatter: mean of y and its standard deviation over the last fifth.
        low_value: mean of the first points.
        peaks: x of the most prominent maxima.
        density: atoms/Å^3 from the slope of G(r) = -4 pi rho r below the first distance; None where it cannot be had.
        distances: r of the first maxima of G(r), Å.
        reduced: r and G(r) of the data, two arrays of one length; None where they cannot be had.
        notes: remarks in plain words.
    """

    spectrum: Spectrum
    columns: int
    header: list[str]
    guesses: list[tuple[str, str]]
    high_mean: float
    high_scatter: float
    low_value: float
    peaks: list[float]
    density: float | None
    distances: list[float]
    reduced: tuple[np.ndarray, np.ndarray] | None
    notes: list[str]

    def summary(self) -> dict:
        """The findings as plain numbers and texts, for JSON."""
        x, s = self.spectrum.x, self.spectrum
        return {
            "file": s.source,
            "kind": s.kind,
            "guesses": [{"kind": kind, "because": why} for kind, why in self.guesses],
            "points": len(x),
            "columns": self.columns,
            "header": self.header,
            "x_min": float(x[0]),
            "x_max": float(x[-1]),
            "y_min": float(s.y.min()),
            "y_max": float(s.y.max()),
            "low_x_value": self.low_value,
            "high_x_mean": self.high_mean,
            "high_x_scatter": self.high_scatter,
            "sigma_median": float(s.sigma.median()),
            "peaks": self.peaks,
            "density_from_low_r": self.density,
            "distances": self.distances,
            "notes": [*s.notes, *self.notes],
            "sha256": s.sha256,
        }


def inspect(
    path: Path | str,
    kind: str | None = None,
    density: float | None = None,
    composition: Mapping[str, float] | None = None,
    k_weight: float = 0.0,
) -> Inspection:
    """Look at a file as `kind`, or as the likeliest kind; of chi(k) as multiplied by k to the power of `k_weight`.

    Raises:
        InputError: as `read_spectrum`; nothing fits its looks and no kind is given.
    """
    table = read_table(path)
    names = column_names(table)
    if "energy" in names and "k" not in names:
        raise InputError("this is mu(E)", str(path), f"reduce it to chi(k) first: glass-ml data reduce {path}")
    x, y = table.values[:, 0], table.values[:, 1]
    guesses = guess_kinds(path, table.header, x, y)
    if {"k", "chi"} <= set(names):
        guesses = [("exafs", "its columns are called k and chi")]
    if kind is None and not guesses:
        raise InputError("looks like no kind that is known", str(path), "state the kind")
    spectrum = read_spectrum(path, kind or guesses[0][0], k_weight=k_weight)
    x, y = spectrum.x.numpy(), spectrum.y.numpy()
    tail = y[-max(len(y) // 5, 4) :]
    notes: list[str] = []
    reduced = None if spectrum.kind == "exafs" else _reduced(spectrum, density, composition, notes)
    slope, distances = _low_r(*reduced, spectrum.kind) if reduced else (None, [])
    if slope is not None and density is not None and abs(slope / density - 1) > 0.05:
        notes.append(
            f"the low-r slope gives {slope:.4f} atoms/Å^3, {100 * (slope / density - 1):+.0f} % of the density given: "
            "the normalisation or the density is off by that much"
        )
    header = table.header[:5]
    low = float(y[: max(len(y) // 100, 2)].mean())
    return Inspection(
        spectrum, table.values.shape[1], header, guesses, float(tail.mean()), float(tail.std()), low,
        maxima(x, y), slope, distances, reduced, notes,
    )  # fmt: skip


def maxima(x: np.ndarray, y: np.ndarray, at_most: int = 6) -> list[float]:
    """x of the most prominent maxima, ascending, each above a tenth of the range of y."""
    from scipy.signal import find_peaks

    found, properties = find_peaks(y, prominence=0.1 * np.ptp(y))
    best = np.sort(found[np.argsort(properties["prominences"])[::-1][:at_most]])
    return [round(float(v), 3) for v in x[best]]


def guess_kinds(path: Path | str, header: list[str], x: np.ndarray, y: np.ndarray) -> list[tuple[str, str]]:
    """Kinds that a table looks like, the likeliest first, each with the reason; none if it looks like no spectrum."""
    if len(x) < 20 or not np.isfinite(y).all() or (np.diff(x) <= 0).any() or x[-1] > 200 or x[0] < 0:
        return []
    trimmed = np.flatnonzero(y != 0)
    if not len(trimmed):
        return []
    x, y = x[: trimmed[-1] + 1], y[: trimmed[-1] + 1]
    text = " ".join(header).lower().replace(" ", "")
    neutron = "neutron" in text or "nimrod" in text or ".mint" in str(path).lower()
    radiation = "neutron" if neutron else "xray"
    guesses = _named(Path(path).suffix.lower(), text, radiation)
    return guesses + [g for g in _shaped(x, y, radiation) if g[0] not in dict(guesses)]


def _named(suffix: str, text: str, radiation: str) -> list[tuple[str, str]]:
    """Guesses from the file's ending and its header."""
    found = {}
    if suffix in SUFFIXES:
        found[SUFFIXES[suffix]] = f"files ending in {suffix} hold it"
    words = {"s(q)": f"{radiation}-sq", "g_r": "gr", "t(r)": "tr", "d(r)": "dr"}
    words["f(q)"] = "neutron-fq" if radiation == "neutron" else "xray-fq"
    for word, kind in words.items():
        if word in text:
            found.setdefault(kind, f"the header says {word}")
    return list(found.items())


def _shaped(x: np.ndarray, y: np.ndarray, radiation: str) -> list[tuple[str, str]]:
    """Guesses from the limits of the curve."""
    tail = slice(-max(len(y) // 5, 4), None)
    mean, scale = float(y[tail].mean()), float(np.abs(y).max())
    first = int(np.argmax(y > 0.6 * y.max()))
    if mean > 0.4 * scale and np.corrcoef(x[first:], y[first:])[0, 1] > 0.8:
        return [("tr", "it grows like a straight line")]
    if abs(mean - 1) < 0.1:
        below = (x > 0.1 * x[first]) & (x < 0.7 * x[first])
        if np.abs(y[below]).max(initial=0.0) < 0.005 * y[first]:
            return [("gr", "it tends to 1 and is zero right up to its first peak")]
        return [(f"{radiation}-sq", "it tends to 1 and rises gradually to its first peak")]
    if abs(mean) < 0.1 * scale:
        start = float(np.interp(0.2 * x[first], x, y))
        if start < -0.25 * scale and abs(np.interp(0.1 * x[first], x, y) / start - 1) < 0.3:
            return [("neutron-fq", "it tends to 0 and starts at a negative constant")]
        inner = x < 0.5 * x[first]
        rise = float((x[inner] * y[inner]).sum() / (x[inner] ** 2).sum()) if inner.any() else 0.0
        pair = [("xray-fq", "near -Q at low Q"), ("pdf", f"it starts as {rise:.2f} x, which is -4 pi rho r")]
        return pair if -1.15 < rise < -0.85 else pair[::-1]
    return []


def _reduced(
    spectrum: Spectrum, density: float | None, composition: Mapping[str, float] | None, notes: list[str]
) -> tuple[np.ndarray, np.ndarray] | None:
    """r and G(r) of the data, if what is known suffices."""
    positive = (spectrum.x > 0).numpy()
    x, y = spectrum.x.numpy()[positive], spectrum.y.numpy()[positive]
    real = spectrum.kind in REAL
    try:
        r, g, _ = convert(
            x, y, spectrum.kind, "pdf", density=density, composition=composition, grid=None if real else GRID,
            lorch=not real,
        )  # fmt: skip
    except InputError as error:
        notes.append(f"no G(r): {error}")
        return None
    return r, g


def _low_r(r: np.ndarray, g: np.ndarray, kind: str) -> tuple[float | None, list[float]]:
    """Density from the slope below the first distance (not of g(r), where it was put in), and the first distances."""
    inner = (r > 0.7) & (r < 5)
    if inner.sum() < 10:
        return None, []
    first = float(r[inner][np.argmax(g[inner] > 0.6 * g[inner].max())])
    distances = [d for d in maxima(r[inner], g[inner]) if d >= first]
    below = (r > 0.1 * first) & (r < 0.7 * first)
    if kind == "gr" or below.sum() < 3:
        return None, distances
    slope = float((r[below] * g[below]).sum() / (r[below] ** 2).sum())
    return (-slope / (4 * np.pi) if slope < 0 else None), distances


def plot_inspection(found: Inspection, path: Path | str) -> None:
    """Write a PNG: the data with their uncertainty, and G(r) with the line of the density that it implies."""
    from matplotlib.figure import Figure

    spectrum, panels = found.spectrum, 2 if found.reduced else 1
    kind = find_kind(spectrum.kind)
    figure = Figure(figsize=(5.2 * panels, 3.6), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    x, y, sigma = spectrum.x.numpy(), spectrum.y.numpy(), spectrum.sigma.numpy()
    axes[0].fill_between(x, y - sigma, y + sigma, alpha=0.3, linewidth=0)
    axes[0].plot(x, y, linewidth=1.0)
    axes[0].axhline(found.high_mean, color="0.6", linewidth=0.7, zorder=0)
    axes[0].set(xlabel=kind.x, ylabel=kind.y, title=spectrum.name)
    if found.reduced:
        r, g = found.reduced
        axes[1].plot(r, g, linewidth=1.0)
        if found.density:
            line = -4 * 3.141592653589793 * found.density * r
            below = line > 1.2 * min(g.min(), -1e-9)
            axes[1].plot(r[below], line[below], "--", linewidth=1.0, label=f"{found.density:.4f} atoms/Å³")
            axes[1].legend(frameon=False)
        axes[1].set(xlabel="r (Å)", ylabel="G(r) (Å$^{-2}$)", xlim=(0, min(12.0, float(r[-1]))))
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def find_spectra(folder: Path | str) -> list[dict]:
    """Every table below a folder that looks like a spectrum: file, points, columns, range of x, likeliest kind.

    Raises:
        InputError: no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError("no such folder", str(folder), "give the folder that holds measured spectra")
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix.lower() not in SKIPPED):
        if path.stat().st_size > 20_000_000:
            continue
        try:
            table = read_table(path)
        except InputError:
            continue
        x = table.values[:, 0]
        if len(x) < 20 or not 2 <= table.values.shape[1] <= 8 or not (np.diff(x) > 0).all():
            continue
        guesses = guess_kinds(path, table.header, x, table.values[:, 1])
        found.append(
            {
                "file": str(path),
                "points": len(x),
                "columns": table.values.shape[1],
                "x_min": float(x[0]),
                "x_max": float(x[-1]),
                "kind": guesses[0][0] if guesses else None,
            }
        )
    return found


def target_stub(
    found: Inspection, density: float | None, composition: Mapping[str, float] | None, k_weight: float = 0.0
) -> str:
    """The text of a TARGET.yaml for this file; what is not known is left for the user, and load_target asks for it."""
    spectrum = found.spectrum
    formula = "".join(f"{el}{'' if n == 1 else f'{n:g}'}" for el, n in (composition or {}).items())
    amounts = ", ".join(f"{el}: {n:g}" for el, n in (composition or {}).items())
    rho, origin = (density, "") if density else (found.density, "  # from the low-r slope: check it")
    low, high = float(spectrum.x[spectrum.x > 0][0]), float(spectrum.x[-1])
    low = max(low, 3.0) if spectrum.kind == "exafs" else low  # below, atoms scatter more than once
    estimated = any("no uncertainty given" in note for note in spectrum.notes)
    lines = [
        f"system: {f'a-{formula}' if formula else ''}",
        f"composition: {{{amounts}}}" + ("" if amounts else "  # such as {Si: 1, O: 2}"),
        f"density: {f'{rho:.4f}{origin}' if rho else '  # atoms/Å^3, or a text such as 2.20 g/cm3'}",
        "measurements:",
        f"  - file: {Path(spectrum.source).resolve()}",
        f"    kind: {spectrum.kind}",
        f"    x_range: [{np.ceil(low * 100) / 100:g}, {np.floor(high * 100) / 100:g}]",
    ]
    if spectrum.kind == "exafs":
        lines += [f"    k_weight: {k_weight:g}"] if k_weight else []
        lines += [
            "    edge:                      # such as Si K",
            "    scale: [0.7, 1.0]          # amplitude factor S0²",
        ]
        lines += [
            "    e0: [-10, 10]              # shift of the edge energy E0, eV",
            "    # r_range: [1.2, 3.5]      # Fourier filter, Å",
        ]
    if estimated:
        lines.append(f"    sigma: {float(spectrum.sigma[0]):.3g}  # scatter at the end of the range: check it")
    return "\n".join(lines) + "\n"
