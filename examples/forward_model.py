"""A forward model on a trajectory: S(Q) and g(r) of every frame, and what the structures are like."""

import sys
from pathlib import Path

import ase.io
import numpy as np

import glass_ml as gm

ROOT = Path(__file__).parent.parent
frames = ase.io.read(sys.argv[1] if sys.argv[1:] else ROOT / "data/a-Si/reference-modified-sw.extxyz", index=":")

q = np.linspace(1.0, 20.0, 400)
s = gm.spectrum(frames, "xray-sq", q)  # one row a frame
print(f"first peak of S(Q): {s.max(axis=1).mean():.2f} at {q[s.mean(axis=0).argmax()]:.2f} 1/Å")
print(gm.describe(frames))
print(f"kinds of measurement: {', '.join(gm.kinds())}")
