"""From mu(E) to chi(k): edge, normalisation and background, by larch's autobk.

Source: Newville et al., Phys. Rev. B 47, 14126 (1993); larch (xraylarch), the reference program of the field.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glass_ml.errors import InputError
from glass_ml.files import atomic_path, write_text
from glass_ml.measurements.absorption import PRE_EDGE, Absorption
from glass_ml.observables.scattering_table import parse_edge
from glass_ml.units import EV_TO_K2

ABOVE_EDGE = 100.0
"""Energies above the edge that a background needs, eV: k up to 5 1/Å."""

FARTHEST_E0 = 25.0
"""How far an edge energy may be from the tabulated edge, eV."""

R_SHOWN = 6.0  # Å


@dataclass(frozen=True)
class Reduction:
    """chi(k) of a measured mu(E), and how it came about.

    Attributes:
        absorption: what was measured.
        edge: 'Cu K'.
        e0: edge energy, eV.
        edge_step: height of the edge, in the unit of mu.
        pre_edge, post_edge, background: lines below mu(E), (n,) each.
        k: (m,), 1/Å, in steps of 0.05.
        chi: (m,).
        noise: standard deviation of chi(k), from its Fourier transform between 15 and 30 Å.
        rbkg: distance below which the background takes all, Å.
    """

    absorption: Absorption
    edge: str
    e0: float
    edge_step: float
    pre_edge: np.ndarray
    post_edge: np.ndarray
    background: np.ndarray
    k: np.ndarray
    chi: np.ndarray
    noise: float
    rbkg: float


def reduce_absorption(
    measured: Absorption,
    where: str,
    *,
    e0: float | None = None,
    rbkg: float = 1.0,
    k_max: float | None = None,
) -> Reduction:
    """chi(k) of a measured mu(E).

    Args:
        measured: from `read_absorption`.
        where: the file, for errors.
        e0: edge energy, eV; found at the steepest rise near the tabulated edge by default.
        rbkg: distance (Å) below which oscillations are background: half the shortest bond or less.
        k_max: upper end, 1/Å; the data's by default.

    Raises:
        InputError: larch is not installed; the edge is unknown or not in the data; no pre-edge; too few points above.
    """
    try:
        from larch import Group
        from larch.xafs import autobk, estimate_noise, pre_edge
    except ImportError:
        raise InputError("larch is not installed", "xraylarch", "pip install 'glass_ml[xas]'") from None
    energy, mu = measured.energy, measured.mu
    edge, tabulated = _edge(measured, where)
    if not energy[0] < tabulated < energy[-1]:
        what = f"the {edge} edge at {tabulated:.0f} eV is not between {energy[0]:.0f} and {energy[-1]:.0f} eV"
        raise InputError(what, where, "name the edge with --edge, or give energies in eV")
    if tabulated - energy[0] < PRE_EDGE:
        what = f"no pre-edge: the data start {tabulated - energy[0]:.0f} eV below the {edge} edge"
        raise InputError(what, where, f"measure from {PRE_EDGE:.0f} eV below it, or give chi(k)")
    if energy[-1] - tabulated < ABOVE_EDGE:
        what = f"only {energy[-1] - tabulated:.0f} eV above the {edge} edge: no EXAFS"
        raise InputError(what, where, f"it needs {ABOVE_EDGE:.0f} eV")
    if e0 is not None and abs(e0 - tabulated) > FARTHEST_E0:
        what = f"{e0:g} eV is {abs(e0 - tabulated):.0f} eV off the {edge} edge at {tabulated:.0f} eV"
        raise InputError(what, "--e0", f"give it within {FARTHEST_E0:.0f} eV")
    highest = (EV_TO_K2 * (energy[-1] - tabulated)) ** 0.5
    if k_max is not None and not 4 < k_max < highest + 0.5:
        raise InputError(f"{k_max:g} 1/Å", "--k-max", f"the data end at {highest:.1f} 1/Å, and 4 is the least")
    group = Group(energy=energy, mu=mu)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pre_edge(group, e0=e0 if e0 is not None else _edge_energy(energy, mu, tabulated))
        autobk(group, rbkg=rbkg, kmax=k_max)
        estimate_noise(group, kmin=2.0, kmax=float(group.k[-1]), dk=1.0, kweight=1)
    return Reduction(
        measured, edge, float(group.e0), float(group.edge_step), group.pre_edge, group.post_edge, group.bkg,
        group.k, group.chi, float(group.epsilon_k), rbkg,
    )  # fmt: skip


def _edge(measured: Absorption, where: str) -> tuple[str, float]:
    """The edge and its tabulated energy, eV: the file's, or the K or L3 edge nearest to the steepest rise."""
    import xraydb

    if measured.edge:
        symbol, hole = parse_edge(measured.edge, where).split()
        return measured.edge, float(xraydb.xray_edge(symbol, hole).energy)
    steepest = float(measured.energy[np.gradient(measured.mu, measured.energy).argmax()])
    symbol, hole = xraydb.guess_edge(steepest, edges=["K", "L3"])
    return f"{symbol} {hole}", float(xraydb.xray_edge(symbol, hole).energy)


def _edge_energy(energy: np.ndarray, mu: np.ndarray, tabulated: float) -> float:
    """The steepest rise within `FARTHEST_E0` of the tabulated edge, eV."""
    near = np.flatnonzero(np.abs(energy - tabulated) < FARTHEST_E0)
    return float(energy[near[np.gradient(mu, energy)[near].argmax()]])


def fourier_transform(k: np.ndarray, chi: np.ndarray, k_weight: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """R (Å) and |chi(R)| of k^w chi(k) between k = 3 and its end, tapered over 1 1/Å (not corrected for phases)."""
    inside = np.clip(np.minimum(k - 3.0, k[-1] - k), 0, 1)
    weighted = chi * k**k_weight * 0.5 * (1 - np.cos(np.pi * inside)) * np.gradient(k)
    r = np.arange(0.0, R_SHOWN, 0.02)
    return r, np.abs(np.exp(2j * np.outer(r, k)) @ weighted) / np.sqrt(np.pi)


def write_reduction(found: Reduction, path: Path, source: str) -> None:
    """Write chi(k) as columns k, chi and uncertainty, with a header that says how it was made."""
    rows = (f"{k:.3f} {chi:.8f} {found.noise:.8f}" for k, chi in zip(found.k, found.chi, strict=True) if k > 0)
    head = (
        f"# chi(k) of {source}, {found.edge} edge, {found.absorption.signal}",
        f"# larch autobk: E0 {found.e0:.3f} eV, edge step {found.edge_step:.5g}, rbkg {found.rbkg:g} Å",
        "# k chi delta_chi",
    )
    write_text(path, "\n".join([*head, *rows, ""]))


def plot_reduction(found: Reduction, path: Path, k_weight: float = 2.0) -> None:
    """Write a PNG: mu(E) with its lines, k^w chi(k), and its Fourier transform."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 3.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    measured = found.absorption
    left.plot(measured.energy, measured.mu, linewidth=1.2, label="μ(E)")
    above = measured.energy > found.e0
    left.plot(measured.energy[above], found.background[above], linewidth=1.0, label="background")
    left.plot(measured.energy, found.pre_edge, "--", linewidth=0.8, label="pre-edge")
    left.plot(measured.energy[above], found.post_edge[above], "--", linewidth=0.8, label="post-edge")
    low, high = measured.mu.min(), measured.mu.max()
    margin = 0.1 * (high - low)
    left.set(xlabel="E (eV)", ylabel=f"μ(E), {measured.signal}", ylim=(low - margin, high + margin))
    left.set_title(f"{found.edge}, E0 {found.e0:.1f} eV, step {found.edge_step:.3g}")
    left.legend(frameon=False, loc="lower right", bbox_to_anchor=(1.0, 0.15))
    weighted = found.chi * found.k**k_weight
    band = found.noise * found.k**k_weight
    middle.fill_between(found.k, weighted - band, weighted + band, alpha=0.3, linewidth=0)
    middle.plot(found.k, weighted, linewidth=1.0)
    middle.axhline(0, color="0.6", linewidth=0.7, zorder=0)
    middle.set(xlabel="k (1/Å)", ylabel=f"k$^{k_weight:g}$ χ(k)", title=f"noise of χ(k) {found.noise:.1e}")
    right.plot(*fourier_transform(found.k, found.chi, k_weight), linewidth=1.2)
    right.axvspan(0, found.rbkg, color="0.9", zorder=0, label="background")
    right.set(xlabel="R (Å), phases not corrected", ylabel="|χ(R)|", xlim=(0, R_SHOWN), ylim=(0, None))
    right.legend(frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130)
