"""glass-ml evaluate DIR."""

import argparse
import json
from pathlib import Path
from typing import Any


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("folder", type=Path, help="what 'glass-ml invert' wrote")
    parser.add_argument("--reference", type=Path, help="structures to compare with")
    parser.add_argument("--no-track", action="store_true", help="do not record the evaluation in MLflow")
    parser.add_argument("--json", action="store_true", help="print the evaluation as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Evaluate and print the table."""
    from glass_ml.stages.evaluate import evaluate

    result = evaluate(arguments.folder, arguments.reference, track=not arguments.no_track)
    print(json.dumps(result, indent=2) if arguments.json else table(result))
    return 0


def table(evaluation: dict[str, Any]) -> str:
    """An evaluation as lines of text: misfits, descriptors, distances from the reference."""
    lines = [evaluation["verdict"], ""]
    lines.append(f"{'measurement':<34} {'use':<9} {'R':>7} {'chi2/n':>8}")
    for name, m in evaluation["measurements"].items():
        label = f"{name} ({m['kind']})"
        lines.append(f"{label:<34} {m['use']:<9} {m['r_factor']:>7.3f} {m['chi2_reduced']:>8.2f}")
    lines += ["", f"{'structure, ' + str(evaluation['n_structures']) + ' replicas':<34} {'mean':>9} {'spread':>9}"]
    for name, value in evaluation["structure"].items():
        lines.append(f"{name:<34} {value['mean']:>9.3f} {value['std']:>9.3f}")
    lines += ["", *_originality(evaluation)]
    if "reference" in evaluation:
        floor = evaluation.get("reference_floor", {})
        lines += ["", f"{'distance from the reference':<34} {'mean':>9} {'spread':>9} {'floor':>9}"]
        for name, value in evaluation["reference"].items():
            least = f"{floor[name]['mean']:>9.3f}" if name in floor else ""
            lines.append(f"{name:<34} {value['mean']:>9.3f} {value['std']:>9.3f} {least}")
    return "\n".join(lines)


def _originality(evaluation: dict[str, Any]) -> list[str]:
    lines = []
    if diversity := evaluation.get("diversity"):
        text = f"{diversity['mean']:.2f} on average, {diversity['min']:.2f} at least (0: copies, 1: independent)"
        if "relative" in diversity:
            text += f"; {diversity['relative']:.2f} of the reference's"
        lines.append(f"distance between replicas: {text}")
    copied = evaluation["copies"]
    if "max" in copied:
        text = f"{copied['mean']:.1%} of the surroundings on average, {copied['max']:.1%} at most"
        lines.append(f"copied from {copied['training']}: {text}")
    else:
        lines.append(f"copies of training data: not checked, {copied['not_checked']}")
    return lines
