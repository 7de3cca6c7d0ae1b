"""glass-ml train, tune and study: a prior, its best settings, and what the probes know."""

import argparse

from glass_ml.cli.invert import add_devices, devices_of
from glass_ml.cli.output import emit, table
from glass_ml.errors import InputError


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `train`."""
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
    if losses:  # else another process of this command speaks
        make_card(arguments.system)
        register(arguments.system)
        title = f"models/{arguments.system}: held-out loss per noise level (1 = nothing learned)"
        rows = [(f"  {level}", f"{loss:.3f}") for level, loss in losses.items()]
        emit(arguments, losses, [title, table(rows, "lr")])
    return 0


def _train_observable(arguments: argparse.Namespace) -> int:
    if (arguments.devices, arguments.nodes) != (None, None) or arguments.accelerator == "gpu":
        raise InputError(
            "a surrogate trains in one process on the CPU", "--accelerator, --devices, --nodes", "leave out"
        )
    from glass_ml.stages.train_xanes import train_xanes

    errors = train_xanes(arguments.system, arguments.data)
    title = f"models/{arguments.system}: root mean square error on held-out structures; spread of the atoms"
    rows: list[tuple[str, ...]] = [("  fold", "atom", "spread", "cell")]
    rows += [(f"  {k}", *(f"{e[n]:.4f}" for n in ("atom_rmse", "atom_spread", "cell_rmse"))) for k, e in errors.items()]
    emit(arguments, errors, [title, table(rows, "lrrr")])
    return 0


def configure_tune(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `tune`."""
    parser.add_argument("system", help="a system; the section `tuning` of materials/SYSTEM.yaml declares the sweep")
    parser.add_argument("--trials", type=int, help="in all, those that are done included (default: as declared)")
    parser.add_argument("--workers", type=int, help="processes, each on one core (default: as declared)")
    parser.add_argument(
        "--storage", help="postgresql://host/name or another database, grpc://host:port (default: a journal file)"
    )
    parser.add_argument("--prior", action="store_true", help="tune the training of the prior instead")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run_tune(arguments: argparse.Namespace) -> int:
    """Do the sweep, or finish it, and say what came out."""
    from glass_ml.stages.tune import tune
    from glass_ml.tuning.results import result_text

    names = ("trials", "workers", "storage", "prior")
    result = tune(arguments.system, **{name: getattr(arguments, name) for name in names})
    emit(arguments, result, result_text(result))
    return 0


def configure_study(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-command of `study` and its arguments."""
    studies = parser.add_subparsers(dest="study", metavar="complementarity", required=True)
    study = studies.add_parser(
        "complementarity", help="reference structures, inverted from every probe alone and together"
    )
    study.add_argument("system", help="a system; the section `study` of materials/SYSTEM.yaml says what is measured")
    study.add_argument("--json", action="store_true", help="print the result as JSON")


def run_study(arguments: argparse.Namespace) -> int:
    """Do the study, or finish it, and say what came out."""
    from glass_ml.analysis.complementarity import study_text
    from glass_ml.stages.study import FOLDER, complementarity

    result = complementarity(arguments.system)
    figure = FOLDER / arguments.system / "results" / "complementarity.png"
    emit(arguments, result, f"{study_text(result)}\n{figure}")
    return 0
