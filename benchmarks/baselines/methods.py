"""The methods of benchmarks/realism.py: each turns one target into structures, and says what they cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines.cases import BROADENING, GRID, SIGMA, Case, Hidden
from baselines.published import reverse
from baselines.relaxation import CONVERGED, relaxed
from baselines.rmc import Problem, ReverseMonteCarlo
from glass_ml.measurements.likelihood import build_likelihood
from glass_ml.priors.checkpoint import load_prior
from glass_ml.sampling.guidance import Denoiser
from glass_ml.sampling.run import batches_of, invert_target, sample_prior
from glass_ml.settings.recipe import system_config
from glass_ml.settings.sampling import SamplingConfig
from glass_ml.structures.random import generator, random_packing
from glass_ml.structures.state import Structures, concatenate

CALLS = 180
"""Network calls of one structure in the rows of ours."""

SETTINGS: dict[str, dict[str, Any]] = {
    "posterior": {"schedule": {"steps": CALLS}, "temperature": {"structure": 1.0}},
    "tempered": {"schedule": {"steps": CALLS}},
    "optimiser": {"schedule": {"steps": CALLS}, "temperature": {"structure": 0.0, "vibration": 0.0}},
}
"""What the rows of ours change in the sampling settings of params.yaml."""

STEPS = (45, 90, 180, 360)
"""Noise levels of the curves of realism against misfit."""

MOVES = (20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 1_500_000)
"""Moves for 216 atoms after which reverse Monte Carlo is judged; the last is the row of the table."""

STOPS = {4: None, 8: "8", 15: "15", 30: "30", 60: "60", CONVERGED: "converged"}
"""L-BFGS iterations after which a relaxation is judged, and what its row is called."""

PUBLISHED_STEPS = 512
WEIGHTS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Guidance weights among which the published recipe may choose."""


@dataclass(frozen=True)
class Point:
    """Structures at one point of a method's path.

    Attributes:
        row: name in the table; None where it belongs to the curve alone.
        curve: name in the figure; None where it belongs to the table alone.
        setting: what distinguishes it along the curve.
        structures: the ensemble of one seed.
        core_s: CPU seconds of one structure.
        calls: network calls of one structure.
    """

    row: str | None
    curve: str | None
    setting: float
    structures: Structures
    core_s: float
    calls: float = 0.0


@dataclass(frozen=True)
class Contest:
    """All that a method may know: one target, one seed.

    Attributes:
        case, hidden: the target.
        starts: low-fidelity structures of the target's density, one per structure asked for.
        start_s: CPU seconds of simulation that one of them took.
        seed: of all random numbers.
        curves: whether to make the points of the figure too.
        quick: a smoke run, with little of everything.
        weight: guidance weight of the published recipe, once it is chosen.
    """

    case: Case
    hidden: Hidden
    starts: Structures
    start_s: float
    seed: int
    curves: bool
    quick: bool
    weight: float | None = None

    @property
    def count(self) -> int:
        """Structures asked for."""
        return self.starts.n_systems

    def random_starts(self) -> list[Structures]:
        """Random packings, one per structure."""
        target, n = self.hidden.target, self.hidden.n_atoms
        streams = [generator(self.seed, "realism", k) for k in range(self.count)]
        return random_packing(target.composition, target.density, n, streams).split()


class Counted:
    """A denoiser that counts its calls."""

    def __init__(self, denoiser: Denoiser):
        self.denoiser, self.calls = denoiser, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.denoiser, name)

    def denoise(self, *arguments: Any, **options: Any) -> Tensor:
        """The denoiser's answer."""
        self.calls += 1
        return self.denoiser.denoise(*arguments, **options)


def changed(config: Any, changes: Mapping[str, Any]) -> Any:
    """A dataclass with some fields, also of dataclasses inside it, replaced."""
    return replace(
        config,
        **{
            name: changed(getattr(config, name), value) if is_dataclass(getattr(config, name)) else value
            for name, value in changes.items()
        },
    )


def settings(case: Case, row: str) -> SamplingConfig:
    """The sampling settings of a row; not those of a sweep, which was judged by structures of the same references."""
    return changed(system_config(case.system, tuned=False).sampling, SETTINGS[row])


def _prior(contest: Contest) -> Denoiser:
    return load_prior(Path("models") / contest.case.system)


def _sampled(contest: Contest, name: str, *, guided: bool = True, settings_of: str = "posterior") -> list[Point]:
    config = settings(contest.case, settings_of)
    if contest.quick:
        config = changed(config, {"schedule": {"steps": 20}})
    own = config.schedule.steps
    levels = {own} | (set((5, 10) if contest.quick else STEPS) if contest.curves else set())
    points = []
    for steps in sorted(levels):
        denoiser = Counted(_prior(contest))
        used = changed(config, {"schedule": {"steps": steps}})
        target, n, count = contest.hidden.target, contest.hidden.n_atoms, contest.count
        began = time.process_time()
        if guided:
            structures = invert_target(target, denoiser, count, n, contest.seed, used)
        else:
            structures = sample_prior(denoiser, target.composition, target.density, n, count, contest.seed, used)
        core_s = (time.process_time() - began) / count
        calls = denoiser.calls / len(batches_of(count, used))
        points.append(Point(name if steps == own else None, name, steps, structures, core_s, calls))
    return points


def posterior(contest: Contest) -> list[Point]:
    """Samples of the posterior as it is, T = 1."""
    return _sampled(contest, "ours, posterior, T = 1")


def tempered(contest: Contest) -> list[Point]:
    """Samples of the tempered posterior, at the temperature of params.yaml."""
    temperature = settings(contest.case, "tempered").temperature.structure
    return _sampled(contest, f"ours, tempered posterior, T = {temperature:g}", settings_of="tempered")


def optimiser(contest: Contest) -> list[Point]:
    """No noise but that of the start, T = 0."""
    return _sampled(contest, "ours, optimiser, T = 0", settings_of="optimiser")


def unguided(contest: Contest) -> list[Point]:
    """The prior alone, sampled as `posterior`."""
    return _sampled(contest, "prior without data", guided=False)


def low_fidelity(contest: Contest) -> list[Point]:
    """The training recipe at the target's density."""
    row = "low-fidelity simulation (training)"
    return [Point(row, row, 0, contest.starts, contest.start_s)]


def relaxation(contest: Contest) -> list[Point]:
    """Low-fidelity structures moved onto the data by L-BFGS."""
    stops = (4, 8) if contest.quick else tuple(STOPS)
    found: dict[int, list[tuple[Structures, float]]] = {stop: [] for stop in stops}
    for start in contest.starts.split():
        likelihood = build_likelihood(contest.hidden.target, start)
        for stop, structures, seconds in relaxed(start, likelihood, stops):
            found[stop].append((structures, seconds))
    return [
        Point(
            f"low fidelity + L-BFGS, {STOPS[stop]}" if STOPS[stop] else None,
            "low fidelity + L-BFGS",
            stop,
            concatenate([s for s, _ in made]),
            contest.start_s + float(np.mean([t for _, t in made])),
        )
        for stop, made in found.items()
    ]


def rmc_random(contest: Contest) -> list[Point]:
    """Reverse Monte Carlo from random packings."""
    return _rmc(contest, contest.random_starts(), "RMC from a random start", 0.0)


def rmc_low_fidelity(contest: Contest) -> list[Point]:
    """Reverse Monte Carlo from low-fidelity structures."""
    return _rmc(contest, contest.starts.split(), "RMC from low fidelity", contest.start_s)


def _rmc(contest: Contest, starts: list[Structures], name: str, start_s: float) -> list[Point]:
    spectrum = contest.hidden.target.spectra[0]
    shortest = _prior(contest).shortest
    problem = Problem(GRID.numpy(), spectrum.y.numpy(), SIGMA, BROADENING, shortest)
    ReverseMonteCarlo(problem, starts[0], 0).advance(10)  # compiles
    moves = (2_000, 5_000) if contest.quick else tuple(round(m * contest.hidden.n_atoms / 216) for m in MOVES)
    found: dict[int, list[tuple[Structures, float]]] = {m: [] for m in moves}
    for k, start in enumerate(starts):
        run, done, seconds = ReverseMonteCarlo(problem, start, 1000 * contest.seed + k), 0, 0.0
        for goal in moves:
            began = time.process_time()
            run.advance(goal - done)
            seconds += time.process_time() - began
            done = goal
            found[goal].append((run.structures, seconds))
    return [
        Point(
            name if goal == moves[-1] else None,
            name,
            goal,
            concatenate([s for s, _ in made]),
            start_s + float(np.mean([t for _, t in made])),
        )
        for goal, made in found.items()
    ]


def published_scan(contest: Contest) -> list[Point]:
    """The published recipe at several guidance weights, for the choice of one."""
    count = min(2, contest.count)
    weights = WEIGHTS[::3] if contest.quick else WEIGHTS
    return [p for w in weights if (p := _published(contest, w, count, None)) is not None]


def published(contest: Contest) -> list[Point]:
    """The published recipe at the weight that was chosen."""
    if contest.weight is None:
        raise ValueError("the guidance weight is not chosen")
    point = _published(contest, contest.weight, contest.count, "published recipe, our network")
    return [] if point is None else [point]


def _published(contest: Contest, weight: float, count: int, row: str | None) -> Point | None:
    denoiser = Counted(_prior(contest))
    steps = 16 if contest.quick else PUBLISHED_STEPS
    made: list[Structures] = []
    began = time.process_time()
    for k, start in enumerate(contest.random_starts()[:count]):
        # The scan draws other numbers than the row, so that the choice is not fitted to them.
        stream = generator(contest.seed, "published", k, row is None)
        likelihood = build_likelihood(contest.hidden.target, start)
        unconditional = reverse(start, denoiser, steps, stream)
        found = None if unconditional is None else reverse(unconditional, denoiser, steps, stream, likelihood, weight)
        if found is None:
            return None
        made.append(found)
    seconds = (time.process_time() - began) / count
    return Point(row, "published recipe, our network", weight, concatenate(made), seconds, denoiser.calls / count)


METHODS: dict[str, Callable[[Contest], list[Point]]] = {
    "low-fidelity": low_fidelity,
    "rmc-random": rmc_random,
    "rmc-low-fidelity": rmc_low_fidelity,
    "relaxation": relaxation,
    "published-scan": published_scan,
    "published": published,
    "unguided": unguided,
    "optimiser": optimiser,
    "tempered": tempered,
    "posterior": posterior,
}
"""In the order of the table; `published` chooses its weight by the results of `published-scan`."""


def prepare() -> None:
    """Settings of torch that every timed process shares."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
