"""A sweep by hand: the same target at several temperatures of the posterior, judged by a spectrum that is held out.

`glass-ml tune` does this with Optuna over many settings at once, in several processes, and records it.
"""

import sys
from pathlib import Path

import glass_ml as gm

ROOT = Path(__file__).parent.parent
ATOMS, STEPS = (int(text) for text in (sys.argv[1:] or ("216", "300")))

target = gm.load_target(ROOT / "targets/a-Si/target.yaml")
prior = gm.load_prior(ROOT / "models/a-Si")
for temperature in (0.05, 0.2, 1.0):
    settings = {"schedule.steps": STEPS, "temperature.structure": temperature}
    ensemble = gm.invert(target, prior=prior, n=1, atoms=ATOMS, settings=settings, progress=False)
    held_out = ensemble.compare().table().query("use == 'validate'")["R"].iloc[0]
    print(f"T = {temperature}: R of the held-out spectrum {held_out:.3f}")
