"""Two measurements fitted together, a third held out: what the structures predict without having seen it.

The three spectra are simulated here, from a quench that the prior has not seen.
"""

import sys
from pathlib import Path

import ase.io
import numpy as np

import glass_ml as gm

ROOT = Path(__file__).parent.parent
ATOMS, REPLICAS = (int(text) for text in (sys.argv[1:] or ("216", "2")))

truth = ase.io.read(ROOT / "data/a-SiO2/reference-bks.extxyz", index=0)
noise = np.random.default_rng(0)


def measured(kind, x, sigma):
    """A spectrum of the true structure, with noise."""
    return gm.spectrum(truth, kind, x).mean(axis=0) + sigma * noise.standard_normal(len(x))


r, q = np.linspace(1.0, 7.0, 241), np.linspace(1.0, 20.0, 381)
target = gm.Target(
    {"Si": 1, "O": 2},
    len(truth) / truth.cell.volume,
    [
        gm.gr(r, measured("gr", r, 0.02), sigma=0.02),
        gm.xray_sq(q, measured("xray-sq", q, 0.02), sigma=0.02),
        gm.neutron_fq(q, measured("neutron-fq", q, 0.005), sigma=0.005, use="validate"),
    ],
)
ensemble = gm.invert(target, prior=ROOT / "models/a-SiO2", n=REPLICAS, atoms=ATOMS)
print(ensemble.compare().table())
print(ensemble.verdict().text())
