"""The baselines of the benchmarks can be imported as the scripts there do it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
