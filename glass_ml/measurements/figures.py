"""The picture of one measured file."""

from pathlib import Path

from glass_ml.files import atomic_path
from glass_ml.measurements.inspection import Inspection
from glass_ml.observables.base import KINDS


def plot_inspection(found: Inspection, path: Path | str) -> None:
    """Write a PNG: the data with their uncertainty, and G(r) with the line of the density that it implies."""
    from matplotlib.figure import Figure

    spectrum, panels = found.spectrum, 2 if found.reduced else 1
    figure = Figure(figsize=(5.2 * panels, 3.6), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    x, y, sigma = spectrum.x.numpy(), spectrum.y.numpy(), spectrum.sigma.numpy()
    axes[0].fill_between(x, y - sigma, y + sigma, alpha=0.3, linewidth=0)
    axes[0].plot(x, y, linewidth=1.0)
    axes[0].axhline(found.high_mean, color="0.6", linewidth=0.7, zorder=0)
    axes[0].set(xlabel=KINDS[spectrum.kind][0], ylabel=KINDS[spectrum.kind][1].split(",")[0], title=spectrum.name)
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
