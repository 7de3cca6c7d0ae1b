"""The smallest distances from reference structures that count, wherever ratios of such distances are taken."""

from __future__ import annotations

LEAST = {"angle.rmse": 0.02, "coordination.emd": 0.01, "rings.emd": 0.01}
"""Name of a distance of `analysis.comparison` -> value below which it counts as this: copies of a crystal have none."""
