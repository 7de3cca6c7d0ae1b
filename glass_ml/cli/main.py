"""The glass-ml command: one module per subcommand, errors and exit statuses in one place."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from glass_ml import __version__
from glass_ml.errors import InputError

COMMANDS = {
    "simulate": "low-fidelity structures into data/SYSTEM",
    "train": "the prior of a system, or a learned observable",
    "invert": "an ensemble of structures from measured spectra",
    "study": "which probe knows most of a material",
    "tune": "the best settings of a system, by trial",
    "evaluate": "fit and realism of an inversion",
    "spectrum": "any forward model on any structure file",
    "analyse": "coordination, angles and rings of structures",
    "xas-table": "EXAFS scattering table of an absorption edge, by FEFF",
    "data": "check, convert and list measured files",
    "models": "registered models: list, show, promote, roll back, exchange",
    "trace": "the lineage of a structure, verified",
    "reproduce": "make structures again from their lineage, and compare",
    "registry": "rebuild the records from models, structures and DVC",
    "sync": "record what was kept while the tracking server was away",
    "report": "the report of an inversion",
    "ui": "the MLflow page",
    "doctor": "what works on this machine",
}


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
    parser = argparse.ArgumentParser(prog="glass-ml", description="Amorphous structures from measured spectra.")
    parser.add_argument("--version", action=_Version, nargs=0, help="version, and in a clone the commit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    wanted = next((word for word in sys.argv[1:] if word in COMMANDS), None)
    for name, summary in COMMANDS.items():
        sub = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name == wanted:
            module = importlib.import_module(f"glass_ml.cli.{name.replace('-', '_')}")
            module.configure(sub)
            sub.set_defaults(run=module.run)
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
