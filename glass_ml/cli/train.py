"""glass-ml train NAME."""

import argparse
import json

from glass_ml.cli.options import add_devices, devices_of
from glass_ml.errors import InputError


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("system", metavar="name", help="a system, or with --observable a surrogate, of params.yaml")
    parser.add_argument("--observable", choices=("xanes",), help="train a learned observable instead of a prior")
    parser.add_argument("--data", help="with --observable: folder of spectra per atom (default: as params.yaml says)")
    add_devices(parser)
    parser.add_argument("--json", action="store_true", help="print the held-out losses or errors as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Prepare the data and train, or finish training; then make the card of the prior, and register it."""
    if arguments.observable:
        return _train_observable(arguments)
    if arguments.data is not None:
        raise InputError("a folder of data for a prior", "--data", "leave it out, or add --observable xanes")
    from glass_ml.stages.card import make_card
    from glass_ml.stages.prepare import prepare
    from glass_ml.stages.register import register
    from glass_ml.stages.train import train

    prepare(arguments.system)
    losses = train(arguments.system, devices_of(arguments))
    if not losses:  # another process of this command speaks
        return 0
    make_card(arguments.system)
    register(arguments.system)
    if arguments.json:
        print(json.dumps(losses))
    else:
        print(f"models/{arguments.system}: held-out loss per noise level (1 = nothing learned)")
        for level, loss in losses.items():
            print(f"  {level:>5}  {loss:.3f}")
    return 0


def _train_observable(arguments: argparse.Namespace) -> int:
    if (arguments.devices, arguments.nodes) != (None, None) or arguments.accelerator == "gpu":
        raise InputError(
            "a surrogate trains in one process on the CPU", "--accelerator, --devices, --nodes", "leave out"
        )
    from glass_ml.stages.train_xanes import train_xanes

    errors = train_xanes(arguments.system, arguments.data)
    if arguments.json:
        print(json.dumps(errors))
    else:
        print(
            f"models/{arguments.system}: error of held-out structures (root mean square; spread of the atoms beside it)"
        )
        for fold, e in errors.items():
            print(f"  {fold:>12}  atom {e['atom_rmse']:.4f} ({e['atom_spread']:.4f})  cell {e['cell_rmse']:.4f}")
    return 0
