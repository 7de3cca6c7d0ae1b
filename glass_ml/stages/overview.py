"""What a run of the pipeline gave: one table, and where to look further."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from glass_ml.settings.recipe import system_names


def overview() -> str:
    """A line for each evaluated inversion, then the places of reports and of the MLflow page."""
    lines = ["", f"{'system':<10} {'measurement':<22} {'use':<9} {'R':>7} {'chi2/n':>8}"]
    reports = []
    for system in system_names():
        folder = Path("inversions") / system
        if not (folder / "evaluation.json").is_file():
            continue
        evaluation = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
        for name, m in evaluation["measurements"].items():
            lines.append(
                f"{system:<10} {name + ' (' + m['kind'] + ')':<22} {m['use']:<9} "
                f"{m['r_factor']:>7.3f} {m['chi2_reduced']:>8.2f}"
            )
        lines += _realism(system, evaluation)
        reports.append(folder / "report.html")
    lines += ["", *(f"report   {report}" for report in reports), "MLflow   make ui, then http://127.0.0.1:5000"]
    return "\n".join(lines)


def _realism(system: str, evaluation: dict[str, Any]) -> list[str]:
    floor = evaluation.get("reference_floor", {})
    lines = []
    for name in ("angle.rmse", "coordination.emd", "rings.emd"):
        if name in evaluation.get("reference", {}):
            value = evaluation["reference"][name]
            least = f", between structures behind the target {floor[name]['mean']:.3f}" if name in floor else ""
            lines.append(f"{system:<10} {name:<22} not fitted {value['mean']:.3f} +- {value['std']:.3f}{least}")
    return lines


if __name__ == "__main__":
    print(overview())
