"""An inversion of your own spectrum: arrays in, an ensemble of structures out.

Run it in a clone after `make run`, which brings the prior of a-Si. The spectrum here is the g(r) that comes with the
project; put two columns of your own in its place.
"""

import sys
from pathlib import Path

import numpy as np

import glass_ml as gm

ROOT = Path(__file__).parent.parent
ATOMS, REPLICAS = (int(text) for text in (sys.argv[1:] or ("216", "2")))

r, g = np.loadtxt(ROOT / "targets/a-Si/gr.csv", delimiter=",", unpack=True)
target = gm.Target({"Si": 1}, "2.30 g/cm3", [gm.gr(r, g, sigma=0.02)])
ensemble = gm.invert(target, prior=ROOT / "models/a-Si", n=REPLICAS, atoms=ATOMS)

print(ensemble.compare().table())
print(ensemble.describe().filter(like="nfold", axis="index"))
ensemble.plot().savefig("own-spectrum.png")
ensemble.save("own-spectrum")
