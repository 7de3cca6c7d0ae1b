"""The glass-ml command: what there is to do, errors and exit statuses in one place."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from glass_ml import __version__
from glass_ml.cli.output import table
from glass_ml.errors import InputError

GROUPS = {
    "inversions": {
        "invert": ("invert", "an ensemble of structures from measured spectra"),
        "evaluate": ("invert", "fit and realism of an inversion"),
        "report": ("invert", "the report of an inversion"),
    },
    "spectra and structures": {
        "data": ("data", "check, convert and list measured files"),
        "spectrum": ("spectrum", "any forward model on any structure file"),
        "analyse": ("analyse", "coordination, angles and rings of structures"),
        "xas-table": ("analyse", "EXAFS scattering table of an absorption edge, by FEFF"),
    },
    "priors": {
        "simulate": ("simulate", "low-fidelity structures into data/SYSTEM"),
        "train": ("train", "the prior of a system, or a learned observable"),
        "tune": ("train", "the best settings of a system, by trial"),
        "study": ("train", "which probe knows most of a material"),
    },
    "models and provenance": {
        "models": ("models", "registered models: list, show, promote, roll back, exchange"),
        "trace": ("trace", "the lineage of a structure, verified"),
        "reproduce": ("reproduce", "make structures again from their lineage, and compare"),
    },
    "the project": {
        "ui": ("project", "the MLflow page"),
        "doctor": ("project", "what works on this machine"),
        "sync": ("project", "record what was kept while the tracking server was away"),
        "registry": ("project", "rebuild the records from models, structures and DVC"),
    },
}
"""Commands by what they are for: name -> module in glass_ml.cli and summary.

A module's own command is declared by `configure` and done by `run`; another one by `configure_NAME` and `run_NAME`.
"""
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}


class _Version(argparse.Action):
    """Prints the version when it is asked for: git is not run otherwise."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"glass-ml {version_text()}")
        parser.exit()


def version_text() -> str:
    """The version and, where the running code is tracked by git, its commit; "+changes" where it differs from that."""
    from glass_ml.provenance.project import PACKAGE, git

    commit = git(PACKAGE, "rev-parse", "--short=12", "HEAD")
    if commit is None or git(PACKAGE, "ls-files", "--error-unmatch", "__init__.py") is None:
        return __version__
    changed = git(PACKAGE, "status", "--porcelain", "--", ".")
    return f"{__version__}, commit {commit.decode().strip()}{'+changes' if changed else ''}"


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; a subcommand's module is imported only when it is used."""
    listed = [
        f"{title}:\n{table([(f'  {name}', summary) for name, (_, summary) in group.items()])}"
        for title, group in GROUPS.items()
    ]
    parser = argparse.ArgumentParser(
        prog="glass-ml",
        description="Amorphous structures from measured spectra.",
        epilog="\n\n".join([*listed, "glass-ml COMMAND --help says more."]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="version, and in a clone the commit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, help="one of those below")
    wanted = next((word for word in sys.argv[1:] if word in COMMANDS), None)
    for name, (place, summary) in COMMANDS.items():
        sub = commands.add_parser(name, description=summary[0].upper() + summary[1:] + ".")
        if name == wanted:
            module = importlib.import_module(f"glass_ml.cli.{place}")
            suffix = "" if name == place else f"_{name.replace('-', '_')}"
            getattr(module, f"configure{suffix}")(sub)
            sub.set_defaults(run=getattr(module, f"run{suffix}"))
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns 0 when done, 2 when the input is at fault, 1 on anything else."""
    if argv is not None:
        sys.argv = ["glass-ml", *argv]
    arguments = build_parser().parse_args()
    try:
        return arguments.run(arguments) or 0
    except InputError as error:
        print(f"glass-ml: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("glass-ml: interrupted; the same command resumes", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
