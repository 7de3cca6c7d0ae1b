"""glass-ml study complementarity SYSTEM."""

import argparse
import json


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    studies = parser.add_subparsers(dest="study", metavar="complementarity", required=True)
    study = studies.add_parser(
        "complementarity", help="hidden structures, inverted from every probe alone and together"
    )
    study.add_argument("system", help="a system; the section `study` of materials/SYSTEM.yaml says what is measured")
    study.add_argument("--json", action="store_true", help="print the result as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Do the study, or finish it, and say what came out."""
    from glass_ml.analysis.complementarity import study_text
    from glass_ml.stages.study import FOLDER, complementarity

    result = complementarity(arguments.system)
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        print(study_text(result))
        print(f"{FOLDER / arguments.system / 'results' / 'complementarity.png'}")
    return 0
