"""What every forward model costs, forward and with its gradient, beside the dense N x N form of the pair spectra.

    python benchmarks/observables.py                       # 216 to 100 000 atoms of silica, one thread; 6 GiB
    python benchmarks/observables.py --quick               # a smoke run: small cells
    python benchmarks/observables.py --kinds gr exafs --sizes 216 1000 --skip-dense

The atoms are a random packing of SiO2 at 0.066 atoms/Å^3, pushed apart from overlaps, in single precision: as many
pairs as in the glass. Its closest atoms are 2.3 Å apart, so that bonds are counted up to 2.7 Å, where Si has the four O
of the glass. Functions of r: 0.5 to 10 Å (or half the cell) in steps of 0.05, broadened by 0.1 Å; of Q: 200 points, 0.5
to 20 1/Å, Lorch's window to 13 Å (or half the cell); EXAFS: k^2 chi(k) of the Si K edge, 200 points, 3 to 14 1/Å;
O-Si-O angles: 60 points; O around Si: 0 to 8, and their number up to 2.7 Å; Si-Si closer than 2.6 Å. The sum over
reciprocal vectors, 2 to 4 1/Å, grows like N^2 and stops at 1000 atoms. XANES needs a surrogate; all atoms are then its
absorbers.

Every row comes from a process of its own. Times are the medians of --repeats calls (three, where one takes more than
ten seconds) after one that also prepares the tables of the model; a call includes the search of the neighbours. `core`
is the processor time of the same calls, which other work on the machine does not change; ratios are of it. `gradient`
is the spectrum and the derivative of the sum of its squares in the positions. `peak` is the resident memory of the
process at its highest, `added` what the measurement added to it. `dense`: see
baselines/dense.py; it is left out where one call would take more than a minute or 8 GB, with the reason. `differs` is
the norm of the difference of the two spectra over that of the oscillating part.

A run of everything writes benchmarks/results/observables.json and observables.png; another one writes where --out says.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from baselines import dense
from baselines.score import load, save
from timed import apart, machine, reset_peak, resident, wall_and_core
from torch import Tensor

from glass_ml.errors import InputError
from glass_ml.files import atomic_path, write_json
from glass_ml.observables.kinds import has_role, kinds, make_observable
from glass_ml.observables.linear import PairObservable
from glass_ml.observables.scattering import ScatteringSettings
from glass_ml.observables.scattering_table import find_table, load_table
from glass_ml.structures.neighbours import neighbour_pairs
from glass_ml.structures.random import generator, random_packing
from glass_ml.structures.state import Structures

Model = Callable[[Structures], Tensor]

SIZES = (216, 1000, 4000, 10_000, 100_000)
QUICK = (120, 216)
RATIOS = (1000, 10_000, 100_000)
RECIPROCAL = "xray-sq reciprocal"
RECIPROCAL_ATOMS = 1000
ROWS = (*kinds(), RECIPROCAL)
DENSE = ("gr", "xray-sq", "neutron-fq", "exafs")
LONGEST, LARGEST = 60.0, 8e9  # s a call and bytes of the dense form
SLOW = 10.0  # s; three calls of this or more are enough
BOND, CLOSEST, BROADENING, K_WEIGHT = 2.7, 2.6, 0.1, 2.0
RESULTS, SCRATCH = Path("benchmarks/results"), Path("build/observables")


class Skip(Exception):
    """Why a row is left out."""


def half_cell(start: Structures, at_most: float) -> float:
    """A limit in Å, or half the cell."""
    return min(float(start.half_width.min()) * (1 - 1e-6), at_most)


def grid_of(kind: str, start: Structures) -> Tensor:
    """The usual points of a kind."""
    grids = {
        "exafs": torch.linspace(3, 14, 200),
        "adf": torch.linspace(3, 177, 60),
        "coordination": torch.arange(9.0),
        "pair-count": torch.tensor([BOND]),
        "distance-window": torch.tensor([CLOSEST]),
        RECIPROCAL: torch.arange(2.0, 4.0, 0.2),
    }
    if has_role(kind, "q"):
        return torch.linspace(0.5, 20, 200)
    return grids.get(kind, torch.arange(0.5, half_cell(start, 10.0), 0.05))


def own_model(kind: str, start: Structures, surrogate: str | None) -> Model:
    """Our forward model of a kind, which searches the neighbours in every call."""
    grid = grid_of(kind, start)
    cells = None
    options: dict[str, Any] = {"broadening": BROADENING} if kind in ("gr", "pdf", "dr", "tr") else {}
    if has_role(kind, "q"):
        options = {"window": "lorch", "limit": half_cell(start, ScatteringSettings.limit)}
    elif kind == RECIPROCAL:
        kind, cells, options = kind.split()[0], start, {"method": "reciprocal"}
    elif kind == "exafs":
        options = {"edge": "Si K", "table": find_table("Si K", ("Si", "O")), "k_weight": K_WEIGHT}
    elif kind == "adf":
        options = {"triplet": "O-Si-O", "cutoff": BOND}
    elif kind == "coordination":
        options = {"pair": "Si-O", "cutoff": BOND}
    elif kind in ("pair-count", "distance-window"):
        options = {"pair": "Si-O" if kind == "pair-count" else "Si-Si", "between": (0.0, float(grid[0]))}
    elif kind == "xanes":
        return xanes_model(surrogate)
    observable = make_observable(kind, grid, cells, **options)
    if isinstance(observable, PairObservable) or not hasattr(observable, "reach"):
        return lambda s: observable.forward(s)[0]
    # these keep their neighbours, and all that is made of them, where atoms have not moved
    return lambda s: observable.forward(s, neighbour_pairs(s, observable.reach))[0]


def xanes_model(surrogate: str | None) -> Model:
    """A surrogate, for which every atom is an absorber."""
    if surrogate is None:
        raise Skip("no surrogate given: --surrogate FOLDER")
    from glass_ml.observables.xanes import Xanes

    observable = Xanes(surrogate)
    absorber = observable.surrogate.absorber
    return lambda s: observable.forward(replace(s, numbers=torch.full_like(s.numbers, absorber)))[0]


def dense_model(kind: str, start: Structures, points: slice = slice(None)) -> Model:
    """The dense form of a kind, at some points of its grid."""
    grid = grid_of(kind, start)[points]
    if kind == "gr":
        return lambda s: dense.radial_distribution(s, grid, BROADENING)
    if kind == "exafs":
        table = load_table(find_table("Si K", ("Si", "O")))
        return lambda s: dense.exafs(s, grid, table, K_WEIGHT, float(table.r[-1]))
    return lambda s: dense.scattering(s, kind, grid, half_cell(start, ScatteringSettings.limit))


def forward(model: Model, start: Structures) -> Callable[[], object]:
    """A call of the model alone."""

    def call() -> None:
        with torch.no_grad():
            model(start)

    return call


def gradient(model: Model, start: Structures) -> Callable[[], object]:
    """A call of the model and the gradient of all its points."""

    def call() -> None:
        x = start.positions.clone().requires_grad_()
        model(start.at(x)).square().sum().backward()

    return call


def expected(kind: str, start: Structures, how: Callable[..., Callable[[], object]]) -> float:
    """Seconds that a dense call will take, from calls at one point and at three."""
    one, three = (wall_and_core(how(dense_model(kind, start, slice(0, n)), start), 2)[1] for n in (1, 3))
    return one + 0.5 * max(three - one, 0.0) * (len(grid_of(kind, start)) - 1)


def measure(kind: str, method: str, structure: str, repeats: int, surrogate: str | None) -> dict[str, Any]:
    """One row, in this process."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    start = load(Path(structure)).to(dtype=torch.float32)
    row: dict[str, Any] = {"kind": kind, "method": method, "atoms": start.n_atoms}
    try:
        if method == "dense" and (needed := dense.bytes_needed(kind, start.n_atoms)) > LARGEST:
            raise Skip(f"would need {1e-9 * needed:.0f} GB")
        resting = resident()["resident"]
        model = dense_model(kind, start) if method == "dense" else own_model(kind, start, surrogate)
        for name, how in (("forward", forward), ("gradient", gradient)):
            if method == "dense" and (needed := expected(kind, start, how)) > LONGEST:
                raise Skip(f"{name} would take {needed:.0f} s")
            reset_peak()
            action = how(model, start)
            _, first = wall_and_core(action)
            row[f"{name}_s"], row[f"{name}_core_s"] = wall_and_core(
                action, repeats if first < SLOW else min(repeats, 3)
            )
            row[f"{name}_peak_MB"] = resident()["peak"]
            row[f"{name}_added_MB"] = row[f"{name}_peak_MB"] - resting
    except (Skip, InputError) as reason:
        row["skipped"] = str(reason)
    if method == "dense" and "forward_s" in row:
        row["differs"] = difference(kind, model(start.at(start.positions)), own_model(kind, start, None)(start))
    return row


def difference(kind: str, a: Tensor, b: Tensor) -> float:
    """Norm of a - b over that of the part of b that oscillates."""
    rest = 1.0 if kind == "gr" or kind.endswith("-sq") else 0.0
    return float((a - b).norm() / (b - rest).norm())


def line(row: dict[str, Any]) -> str:
    """A row as text."""
    cells = [f"{row['kind']:<19}{row['method']:<6}{row['atoms']:>8}"]
    for name in ("forward", "gradient"):
        if f"{name}_s" in row:
            cells.append(f"{1e3 * row[f'{name}_s']:>11.4g}{1e3 * row[f'{name}_core_s']:>10.4g}")
            cells.append(f"{row[f'{name}_peak_MB']:>9.0f}{row[f'{name}_added_MB']:>9.1f}")
    if "differs" in row:
        cells.append(f"  differs {row['differs']:.1e}")
    return "".join(cells) + (f"  skipped: {row['skipped']}" if "skipped" in row else "")


def seconds(rows: list[dict[str, Any]], kind: str, method: str, key: str = "gradient_core_s") -> dict[int, float]:
    """Number of atoms -> seconds (or another number) of a kind."""
    return {r["atoms"]: r[key] for r in rows if (r["kind"], r["method"]) == (kind, method) and key in r}


def summary(rows: list[dict[str, Any]]) -> str:
    """Processor time per atom between sizes, and how much longer the dense form takes."""
    lines = [f"processor time per atom with the gradient, {RATIOS[0]} atoms = 1, and dense : ours"]
    for kind in dict.fromkeys(r["kind"] for r in rows):
        own, other = seconds(rows, kind, "ours"), seconds(rows, kind, "dense")
        base = own[RATIOS[0]] / RATIOS[0] if RATIOS[0] in own else math.nan
        ratios = [f"{n}: {own[n] / n / base:.2f}" for n in RATIOS if n in own and not math.isnan(base)]
        slower = [f"{n}: {other[n] / own[n]:.3g} times" for n in other if n in own]
        if ratios or slower:
            lines.append(f"  {kind:<19}{'   '.join(ratios):<44}{'   '.join(slower)}")
    return "\n".join(lines)


def draw(path: Path, rows: list[dict[str, Any]]) -> None:
    """Processor time and added memory of spectra with their gradients against the number of atoms, both logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    shown = [k for k in ("gr", "xray-sq", "exafs", "adf", "coordination", "xanes") if seconds(rows, k, "ours")]
    panels = (("gradient_core_s", "spectrum and gradient (s of one core)"), ("gradient_added_MB", "memory added (MB)"))
    for axis, (key, label) in zip(figure.subplots(1, 2), panels, strict=True):
        for k, kind in enumerate(shown):
            for method, style in (("ours", "o-"), ("dense", "s--")):
                points = seconds(rows, kind, method, key)
                if points:
                    name = kind if method == "ours" else f"{kind}, dense N × N"
                    axis.plot(list(points), list(points.values()), style, color=f"C{k}", ms=4, lw=1.2, label=name)
        axis.set(xscale="log", yscale="log", xlabel="atoms", ylabel=label)
        axis.grid(alpha=0.3)
    figure.axes[0].legend(frameon=False, fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, help=f"atoms (default {' '.join(map(str, SIZES))})")
    parser.add_argument("--kinds", nargs="+", choices=ROWS, help="default: all")
    parser.add_argument("--repeats", type=int, default=7, help="calls of which the median counts (%(default)s)")
    parser.add_argument("--skip-dense", action="store_true", help="only our forward models")
    parser.add_argument("--surrogate", help="surrogate of kind xanes: its folder")
    parser.add_argument("--quick", action="store_true", help=f"a smoke run: {QUICK} atoms, one call")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=f"folder (default {RESULTS}, of a partial run {SCRATCH})")
    arguments = parser.parse_args()
    if arguments.job:
        write_json(arguments.out, measure(**json.loads(arguments.job)))
        return

    partial = arguments.quick or arguments.sizes or arguments.kinds or arguments.skip_dense
    out = arguments.out or (SCRATCH if partial else RESULTS)
    sizes = arguments.sizes or (QUICK if arguments.quick else SIZES)
    repeats = 1 if arguments.quick else arguments.repeats
    rows: list[dict[str, Any]] = []
    columns = "".join(f"{name:>11}{'core-ms':>10}{'peak, MB':>9}{'added':>9}" for name in ("forward, ms", "gradient"))
    print(f"{'':<25}{'atoms':>8}{columns}")
    with tempfile.TemporaryDirectory() as folder:
        packings = {n: Path(folder) / f"{n}.npz" for n in sizes}
        for n, path in packings.items():
            save(path, random_packing({"Si": 1, "O": 2}, 0.066, n, [generator(0, "observables")]))
        for kind in arguments.kinds or ROWS:
            for method in ("ours", "dense")[: 2 if kind in DENSE and not arguments.skip_dense else 1]:
                for n, path in packings.items():
                    if kind == RECIPROCAL and n > RECIPROCAL_ATOMS:
                        continue
                    job = {"kind": kind, "method": method, "structure": str(path), "repeats": repeats}
                    rows.append(apart(__file__, **job, surrogate=arguments.surrogate))
                    print(line(rows[-1]), flush=True)
                    if "surrogate given" in rows[-1].get("skipped", ""):
                        break
    print(f"\n{summary(rows)}\n\n{machine()}; load {os.getloadavg()[0]:.1f}")
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "observables.json", {"machine": machine(), "load": round(os.getloadavg()[0], 1), "rows": rows})
    draw(out / "observables.png", rows)


if __name__ == "__main__":
    main()
