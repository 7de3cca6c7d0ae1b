"""glass-ml train SYSTEM."""

import argparse
import json

from glass_ml.cli.options import add_devices, devices_of


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("system", help="a system of params.yaml")
    add_devices(parser)
    parser.add_argument("--json", action="store_true", help="print the held-out losses as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Prepare the data and train, or finish training."""
    from glass_ml.stages.prepare import prepare
    from glass_ml.stages.train import train

    prepare(arguments.system)
    losses = train(arguments.system, devices_of(arguments))
    if not losses:  # another process of this command speaks
        return 0
    if arguments.json:
        print(json.dumps(losses))
    else:
        print(f"models/{arguments.system}: held-out loss per noise level (1 = nothing learned)")
        for level, loss in losses.items():
            print(f"  {level:>5}  {loss:.3f}")
    return 0
