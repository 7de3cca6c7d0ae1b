"""glass-ml tune SYSTEM."""

import argparse
import json


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("system", help="a system; the section `tuning` of materials/SYSTEM.yaml declares the sweep")
    parser.add_argument("--trials", type=int, help="in all, those that are done included (default: as declared)")
    parser.add_argument("--workers", type=int, help="processes, each on one core (default: as declared)")
    parser.add_argument(
        "--storage", help="postgresql://host/name or another database, grpc://host:port (default: a journal file)"
    )
    parser.add_argument("--prior", action="store_true", help="tune the training of the prior instead")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Do the sweep, or finish it, and say what came out."""
    from glass_ml.stages.tune import tune
    from glass_ml.tuning.results import result_text

    result = tune(
        arguments.system,
        trials=arguments.trials,
        workers=arguments.workers,
        storage=arguments.storage,
        prior=arguments.prior,
    )
    print(json.dumps(result, indent=2) if arguments.json else result_text(result))
    return 0
