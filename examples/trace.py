"""From a structure back to what made it: prior, training data, measurements, settings, seed and code."""

import sys
from pathlib import Path

import ase.io

import glass_ml as gm

path = Path(sys.argv[1] if sys.argv[1:] else Path(__file__).parent.parent / "inversions/a-Si/structures.extxyz")
lineage = gm.lineage(ase.io.read(path, index=0))
print(f"prior {lineage.model_name} ({lineage.model_sha256[:12]}), trained on data {lineage.data_md5}")
print(f"seed {lineage.seed}, commit {lineage.git_commit[:12]}")
for measurement in lineage.measurements:
    print(f"{measurement.use}: {measurement.name}, {measurement.kind}, sha256 {measurement.sha256[:12]}")
