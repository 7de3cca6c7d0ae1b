"""Spectra per atom from a learned surrogate: errors on densities, labels and cells that it has not seen.

    python benchmarks/xanes.py [--name aC-xanes] [--splits density label within]

Three ways of holding out, on the data and with the recipe of params.yaml (surrogates.NAME):

    density   every mass density in turn: nothing of the trajectory of a held-out cell is trained on;
    label     every label of the file names in turn. Where one label holds several densities, as d0.0 does, cells of the
              same trajectory stand on both sides: beside "density", this says what such a leak is worth;
    within    every fifth cell of each density: interpolation.

Reported for each held-out group: root mean square error of the atoms' spectra and of the cell averages, beside the
spread of the data (standard deviation of single spectra; of cell averages over all cells); the rank correlation of
the stated uncertainty with the error over the atoms, and the error of the tenth of the atoms that is most uncertain
over that of the tenth that is least; and the same error over the stated uncertainty of fold after fold, calibrated on
the other folds (1 where it is right).

The tables on stdout, the same numbers in benchmarks/results/xanes.json. Finished trainings are kept in build/xanes:
the same command goes on.
"""

import argparse
import os
import platform
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from glass_ml.errors import InputError
from glass_ml.files import sha256_text, write_json
from glass_ml.settings.recipe import SurrogateRecipe, surrogate_config
from glass_ml.surrogates.dataset import SpectraData, read_spectra
from glass_ml.surrogates.errors import Predicted, calibration, fold_errors, pooled_errors
from glass_ml.surrogates.training import held_out

RESULTS = Path("benchmarks/results")
SPLITS = ("density", "label", "within")
EVERY = 5  # cell of a density that the split "within" holds out


def folds_of(data: SpectraData, split: str) -> dict[str, list[int]]:
    """Name -> indices that are held out together."""
    if split != "within":
        return data.folds(split)
    return {
        "every fifth cell": sorted(k for cells in data.folds("density").values() for k in cells[EVERY // 2 :: EVERY])
    }


def run_split(data: SpectraData, split: str, recipe: SurrogateRecipe, scratch: Path) -> dict[str, Any]:
    """Errors of every fold of a split and of all together, and the time that it took."""
    key = sha256_text(repr([asdict(recipe.surrogate), asdict(replace(recipe.training, hold_out="density"))]))[:12]
    start = time.process_time()
    predicted = held_out(data, folds_of(data, split), recipe.surrogate, recipe.training, scratch / key, progress=False)
    rows = {fold: {**fold_errors(cells), **stated(fold, predicted)} for fold, cells in predicted.items()}
    return {"folds": rows, "pooled": pooled_errors(predicted.values()), "minutes": (time.process_time() - start) / 60}


def stated(fold: str, predicted: Mapping[str, Sequence[Predicted]]) -> dict[str, float]:
    """Error over stated uncertainty of a fold, of atoms and of cells, by the calibration of the others."""
    if len(predicted) < 2:
        return {}
    own = calibration([predicted[fold]])
    others = calibration([cells for name, cells in predicted.items() if name != fold])
    return {f"{of}_over_stated": mine / theirs for of, mine, theirs in zip(("atom", "cell"), own, others, strict=True)}


def table(split: str, result: dict[str, Any]) -> list[str]:
    """The rows of a split as text."""
    title = (
        f"{'held out':>18} {'cells':>5} {'atom':>7} {'spread':>7} {'cell':>7} {'spread':>7} {'rank':>6} {'decile':>6}"
    )
    lines = [f"\n{split}, {result['minutes']:.1f} core-minutes in this run", f"{title} error/stated: atom, cell"]
    for name, e in [*result["folds"].items(), ("all", result["pooled"])]:
        cell = f"{result['pooled']['cell_spread']:7.4f}" if name == "all" else " " * 7
        lines.append(
            f"{name:>18} {e['structures']:5.0f} {e['atom_rmse']:7.4f} {e['atom_spread']:7.4f} {e['cell_rmse']:7.4f} "
            f"{cell} {e['correlation']:6.2f} {e['decile_ratio']:6.1f} "
            + " ".join(f"{e[key]:6.2f}" for key in ("atom_over_stated", "cell_over_stated") if key in e)
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--name", default="aC-xanes", help="a surrogate of params.yaml")
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=list(SPLITS))
    parser.add_argument("--scratch", type=Path, default=Path("build/xanes"), help="finished trainings")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the table")
    parser.add_argument("--quick", action="store_true", help="a smoke run: a few steps, nothing recorded")
    options = parser.parse_args()
    torch.set_num_threads(1)
    recipe = surrogate_config(options.name)
    if options.quick:
        recipe = replace(recipe, training=replace(recipe.training, steps=10, epoch_steps=10))
        options.results = options.scratch if options.results == RESULTS else options.results
    data = read_spectra(recipe.data, recipe.absorber)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, {platform.platform()}"
    results: dict[str, Any] = {}
    for split in options.splits:
        results[split] = run_split(data, split, recipe, options.scratch)
        print("\n".join(table(split, results[split])), flush=True)
    command = shlex.join(["python", *sys.argv])
    print(f"\n{machine}, torch {torch.__version__}, one thread; {command}")
    header = {"command": command, "machine": machine, "torch": torch.__version__, "recipe": asdict(recipe)}
    write_json(options.results / "xanes.json", {"splits": results, **header})


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
