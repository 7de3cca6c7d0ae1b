"""glass-ml report: write the report of an inversion again, from its files."""

import argparse
import json


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("folder", metavar="DIR", help="folder that 'glass-ml invert' wrote")
    parser.add_argument("--figures", metavar="FOLDER", help="also write every figure as a PNG file here")
    parser.add_argument("--json", action="store_true", help="print one JSON document: the files and the verdict")


def run(args: argparse.Namespace) -> int:
    """Write the report and say what it says."""
    from glass_ml.analysis.inversion import read_inversion
    from glass_ml.analysis.report import write_report
    from glass_ml.analysis.verdict import verdict

    inversion = read_inversion(args.folder)
    path, *images = write_report(inversion, args.figures)
    judged = verdict(inversion.metrics)
    if args.json:
        findings = [{"question": s.question, "level": s.level, "text": s.text} for s in judged.statements]
        answer = {"headline": judged.headline, "level": judged.level, "findings": findings}
        print(json.dumps({"report": str(path), "figures": [str(p) for p in images], "verdict": answer}, indent=2))
    else:
        print(judged.text())
        print(path)
    return 0
