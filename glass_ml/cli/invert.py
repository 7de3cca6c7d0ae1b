"""glass-ml invert, evaluate and report: ensembles from measured spectra, judged and shown."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glass_ml.cli.output import emit, table

if TYPE_CHECKING:
    from glass_ml.execution.devices import Devices

REALISM = ("angle.rmse", "coordination.emd", "rings.emd")


def add_devices(parser: argparse.ArgumentParser) -> None:
    """Declare what `devices_of` reads."""
    parser.add_argument("--accelerator", choices=("auto", "cpu", "gpu"), default="auto", help="default: GPUs if any")
    parser.add_argument("--devices", type=int, help="GPUs or CPU cores of each node (default: all GPUs, or one core)")
    parser.add_argument("--nodes", type=int, help="machines, with srun or torchrun: docs/clusters.md")


def devices_of(arguments: argparse.Namespace) -> Devices:
    """The devices that a command line names."""
    from glass_ml.execution.devices import Devices

    return Devices(arguments.accelerator, arguments.devices, arguments.nodes)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `invert`."""
    parser.add_argument("target", type=Path, help="TARGET.yaml; 'glass-ml data check FILE' writes one")
    parser.add_argument("-n", "--structures", type=int, help="replicas (default: params.yaml)")
    parser.add_argument("--atoms", type=int, help="atoms of each (default: params.yaml)")
    parser.add_argument("--seed", type=int, help="of all random choices (default: params.yaml)")
    parser.add_argument("--model", help="models:/glass-a-Si@production, or a folder (default: models/SYSTEM)")
    parser.add_argument("--out", type=Path, help="folder to write (default: inversions/NAME of the target's file)")
    parser.add_argument("--processes", type=int, help="replicas side by side (default: params.yaml)")
    add_devices(parser)
    parser.add_argument(
        "--cross-validate", action="store_true", help="invert again without each measurement in turn; prints the matrix"
    )
    parser.add_argument("--no-track", action="store_true", help="do not record the run in MLflow")
    parser.add_argument("--json", action="store_true", help="print the metrics as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Invert and say what came out."""
    from glass_ml.analysis.verdict import verdict
    from glass_ml.stages.cross_validation import RESULT, cross_validate
    from glass_ml.stages.invert import invert

    out = arguments.out or Path("inversions") / arguments.target.stem
    result = (cross_validate if arguments.cross_validate else invert)(
        arguments.target,
        out,
        model=arguments.model,
        n_structures=arguments.structures,
        n_atoms=arguments.atoms,
        seed=arguments.seed,
        processes=arguments.processes,
        devices=devices_of(arguments),
        track=not arguments.no_track,
    )
    if not result:  # another process of this command speaks
        return 0
    if arguments.cross_validate:
        text = f"{matrix(result)}\n\nEach inversion has its report in {out}; the numbers: {out / RESULT}"
    else:
        places = f"Structures, spectra and report: {out}\nWho made them: glass-ml trace {out / 'structures.extxyz'}"
        text = f"{verdict(result).text()}\n\n{places}"
    emit(arguments, result, text)
    return 0


def matrix(result: Mapping[str, Any]) -> str:
    """R of every measurement, a column each, in every inversion of a cross-validation; what was not fitted starred."""
    names = list(result["rows"][0]["measurements"])
    rows = [["", *(f"{name} " for name in names)]]
    for row in result["rows"]:
        found = [row["measurements"][name] for name in names]
        cells = [f"{m['r_factor']:.3f}{' ' if m['use'] == 'fit' else '*'}" for m in found]
        rows.append(["all fitted" if row["left_out"] is None else f"without {row['left_out']}", *cells])
    return f"{table(rows, 'l' + 'r' * len(names))}\nR-factor; * not fitted in that inversion"


def configure_evaluate(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `evaluate`."""
    parser.add_argument("folder", type=Path, help="what 'glass-ml invert' wrote")
    parser.add_argument("--reference", type=Path, help="structures to compare with")
    parser.add_argument("--no-track", action="store_true", help="do not record the evaluation in MLflow")
    parser.add_argument("--json", action="store_true", help="print the evaluation as JSON")


def run_evaluate(arguments: argparse.Namespace) -> int:
    """Evaluate and print the tables."""
    from glass_ml.stages.evaluate import evaluate

    result = evaluate(arguments.folder, arguments.reference, track=not arguments.no_track)
    emit(arguments, result, evaluation_text(result))
    return 0


def evaluation_text(evaluation: Mapping[str, Any]) -> str:
    """An evaluation as text: misfits, descriptors, originality, distances from the reference."""
    fits = [("measurement", "use", "R", "chi2/n"), *_fits(evaluation)]
    described: list[list[str]] = [[f"structure, {evaluation['n_structures']} replicas", "mean", "spread"]]
    described += [[name, *_mean_and_spread(v)] for name, v in evaluation["structure"].items()]
    parts = [evaluation["verdict"], table(fits, "llrr"), table(described, "lrr"), "\n".join(_originality(evaluation))]
    if "reference" in evaluation:
        floor = {name: f"{v['mean']:.3f}" for name, v in evaluation.get("reference_floor", {}).items()}
        distances = [["distance from the reference", "mean", "spread", "floor"]]
        distances += [[n, *_mean_and_spread(v), floor.get(n, "")] for n, v in evaluation["reference"].items()]
        parts.append(table(distances, "lrrr"))
    return "\n\n".join(parts)


def _fits(evaluation: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, m in evaluation["measurements"].items():
        yield f"{name} ({m['kind']})", m["use"], f"{m['r_factor']:.3f}", f"{m['chi2_reduced']:.2f}"


def _mean_and_spread(value: Mapping[str, float]) -> tuple[str, str]:
    return f"{value['mean']:.3f}", f"{value['std']:.3f}"


def _originality(evaluation: Mapping[str, Any]) -> Iterator[str]:
    if diversity := evaluation.get("diversity"):
        text = f"{diversity['mean']:.2f} on average, {diversity['min']:.2f} at least (0: copies, 1: independent)"
        if "relative" in diversity:
            text += f"; {diversity['relative']:.2f} of the reference's"
        yield f"distance between replicas: {text}"
    copied = evaluation["copies"]
    if "max" in copied:
        text = f"{copied['mean']:.1%} of the surroundings on average, {copied['max']:.1%} at most"
        yield f"copied from {copied['training']}: {text}"
    else:
        yield f"copies of training data: not checked, {copied['not_checked']}"


def configure_report(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `report`."""
    parser.add_argument("folder", metavar="DIR", help="folder that 'glass-ml invert' wrote")
    parser.add_argument("--figures", metavar="FOLDER", help="also write every figure as a PNG file here")
    parser.add_argument("--json", action="store_true", help="print one JSON document: the files and the verdict")


def run_report(arguments: argparse.Namespace) -> int:
    """Write the report again, from the files of the inversion, and say what it says."""
    from glass_ml.analysis.inversion import read_inversion
    from glass_ml.analysis.report import write_report
    from glass_ml.analysis.verdict import verdict

    inversion = read_inversion(arguments.folder)
    path, *images = write_report(inversion, arguments.figures)
    judged = verdict(inversion.metrics)
    findings = [{"question": s.question, "level": s.level, "text": s.text} for s in judged.statements]
    answer = {"headline": judged.headline, "level": judged.level, "findings": findings}
    emit(arguments, {"report": path, "figures": images, "verdict": answer}, f"{judged.text()}\n{path}")
    return 0


def overview() -> str:
    """A table of the evaluated inversions of the project's systems, then the places of reports and the MLflow page."""
    from glass_ml.settings.recipe import system_names

    folders = [folder for system in system_names() if (folder := Path("inversions") / system).is_dir()]
    files = [file for folder in folders if (file := folder / "evaluation.json").is_file()]
    rows: list[tuple[str, ...]] = [("system", "measurement", "use", "R", "chi2/n")]
    distances: list[tuple[str, ...]] = []
    for file in files:
        evaluation = json.loads(file.read_text(encoding="utf-8"))
        rows += [(file.parent.name, *fit) for fit in _fits(evaluation)]
        floor = evaluation.get("reference_floor", {})
        for name in REALISM:
            if value := evaluation.get("reference", {}).get(name):
                least = f"between reference structures {floor[name]['mean']:.3f}" if name in floor else ""
                mean, spread = _mean_and_spread(value)
                distances.append((file.parent.name, name, "not fitted", f"{mean} +- {spread}", least))
    reports = [f"report   {file.parent / 'report.html'}" for file in files]
    parts = [table(rows, "lllrr"), *([table(distances)] if distances else []), "\n".join(reports)]
    return "\n" + "\n\n".join(parts) + "\nMLflow   make ui, then http://127.0.0.1:5000"


if __name__ == "__main__":
    print(overview())
