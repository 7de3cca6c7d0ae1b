"""Uncertain data leave the structures free: ten times the sigma, a wider ensemble."""

import csv
from pathlib import Path

import numpy as np
from small_project import TARGET, write_material, write_target

from glass_ml.cli.main import main


def spread_of_fit(folder: str, name: str) -> float:
    """Root-mean-square standard deviation of a spectrum over the replicas."""
    with Path(folder, "spectra.csv").open() as stream:
        rows = [float(row["spread"]) for row in csv.DictReader(stream) if row["measurement"] == name]
    return float(np.sqrt(np.mean(np.square(rows))))


def test_ten_times_the_uncertainty_gives_a_wider_ensemble(project: Path) -> None:
    sampling = "{schedule: {steps: 60, sigma_max: 1.5, rho: 7.0}, temperature: {structure: 1}}"
    write_material(project, f"{{target: {{reference: none}}, sampling: {sampling}, inversion: {{processes: 1}}}}")
    for folder, sigma in (("sharp", "0.05"), ("vague", "0.5")):
        target = write_target(
            project / "targets" / folder, TARGET.replace("sigma: 0.05, broad", f"sigma: {sigma}, broad")
        )
        assert (
            main(["invert", str(target), "-n", "6", "--atoms", "48", "--seed", "1", "--no-track", "--out", folder]) == 0
        )
    assert spread_of_fit("vague", "gr") > 1.4 * spread_of_fit("sharp", "gr")  # what was fitted
    assert spread_of_fit("vague", "sq") > 1.2 * spread_of_fit("sharp", "sq")  # what was not
