"""glass-ml simulate MATERIAL."""

import argparse
from pathlib import Path

from glass_ml.cli.output import emit


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("material", help="a name of materials/, such as a-Si; or the path of such a YAML file")
    parser.add_argument("--out", type=Path, help="folder to write (default: data/NAME)")
    parser.add_argument("--processes", type=int, default=2, help="melt-quenches side by side (default: 2)")
    parser.add_argument("--limit", type=int, help="at most this many runs of each batch; needs --out")
    parser.add_argument("--seed", type=int, default=0, help="of all random choices (default: 0)")
    parser.add_argument("--json", action="store_true", help="print the recipe card as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Simulate."""
    from glass_ml.errors import InputError
    from glass_ml.simulation.generate import generate
    from glass_ml.simulation.materials import recipe_of

    if arguments.limit is not None and arguments.out is None:
        raise InputError("a limited set would replace the whole one", "--limit", "give --out FOLDER with it")
    recipe = recipe_of(arguments.material)
    folder = arguments.out or Path("data") / recipe.system
    card = generate(recipe, folder, processes=arguments.processes, seed=arguments.seed, limit=arguments.limit)
    files = card["files"].items()
    emit(arguments, card, (f"{folder / name}: {f['frames']} frames of {f['quenches']} quenches" for name, f in files))
    return 0
