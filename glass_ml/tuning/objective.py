"""What a trial of a sampling sweep does: small inversions in a fixed order, ended early where that is enough."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ase.data import atomic_numbers
from optuna import Study, Trial, TrialPruned
from optuna.trial import FrozenTrial, TrialState

from glass_ml.errors import InputError
from glass_ml.measurements.likelihood import build_likelihood
from glass_ml.priors.checkpoint import load_prior
from glass_ml.sampling.run import batches_of, sample_prior
from glass_ml.sampling.sampler import noise_levels
from glass_ml.settings.overrides import with_settings
from glass_ml.settings.sampling import SamplingConfig
from glass_ml.settings.tuning import Limits, Pruning
from glass_ml.structures.random import atom_counts, generator, random_packing
from glass_ml.tuning.score import Finished, Item, beaten_by, score, total
from glass_ml.tuning.trials import is_default

OBJECTIVES = ("held_out", "realism", "calls")


@dataclass(frozen=True)
class SamplingObjective:
    """A trial of sampling settings; picklable.

    Attributes:
        items: inversions, in the order in which they are made.
        base: settings of the system, with those that are the same in every trial.
        model: folder of the prior.
        n_structures: replicas of an inversion.
        n_atoms: atoms of each.
        limits: constraints.
        pruning: rules of early ends.
    """

    items: tuple[Item, ...]
    base: SamplingConfig
    model: Path
    n_structures: int
    n_atoms: int
    limits: Limits
    pruning: Pruning

    def __call__(self, study: Study, trial: Trial) -> Sequence[float]:
        """Values of `OBJECTIVES`; the numbers of each item are kept with the trial as soon as they are known.

        Raises:
            TrialPruned: another trial is significantly better, or the settings cannot be used.
        """
        try:
            config = self.settings(trial.params)
        except InputError as error:
            raise TrialPruned(f"impossible settings: {error}") from None
        prior = load_prior(self.model)
        calls = float(len(noise_levels(config.schedule)))
        done = items_of(trial.user_attrs)
        for number, item in enumerate(self.items[len(done) :], len(done)):
            try:
                structures = sample_prior(
                    prior,
                    item.target.composition,
                    item.target.density,
                    self.n_atoms,
                    self.n_structures,
                    item.seed,
                    config,
                    item.target,
                )
                numbers = score(item, structures, prior.shortest, self.limits)
            except RuntimeError as error:
                if not exploded(error):
                    raise
                raise TrialPruned(f"{item.name}, seed {item.seed}: {error}") from None
            if not all(map(math.isfinite, numbers.values())):
                raise TrialPruned(f"{item.name}, seed {item.seed}: no finite result")
            done.append(numbers)
            trial.set_user_attr(f"item {number}", {"target": item.name, "seed": item.seed, **numbers})
            if not is_default(trial) and number + 1 < len(self.items):
                other = beaten_by(calls, done, finished_of(study.get_trials(deepcopy=False)), self.pruning)
                if other is not None:
                    raise TrialPruned(f"trial {other} is better on the same {len(done)} items")
        numbers = total(done)
        for name, value in numbers.items():
            trial.set_user_attr(name, value)
        trial.set_constraint("too_close", numbers["too_close"] - self.limits.too_close)
        trial.set_constraint("defects", numbers["defects"] - self.limits.defects)
        return numbers["held_out"], numbers["realism"], calls

    def settings(self, chosen: Mapping[str, Any]) -> SamplingConfig:
        """The whole settings of a trial.

        Raises:
            InputError: they cannot be used together.
        """
        config = with_settings(self.base, chosen, "trial")
        noise_levels(config.schedule)
        return config

    def check(self, where: str) -> None:
        """See that its inversions can be made; what is refused here, once, no process of the sweep refuses.

        Args:
            where: section of materials/NAME.yaml that declares them.

        Raises:
            InputError: a prior, sizes, elements or spectra that no inversion can be made with.
        """
        with _placed(f"{where}.n_structures"):
            batches_of(self.n_structures, self.base)
        prior = load_prior(self.model)
        for item in {item.name: item for item in self.items}.values():  # seeds make no difference
            composition = item.target.composition
            with _placed(f"{where}.n_atoms"):
                elements = [atomic_numbers[symbol] for symbol in atom_counts(composition, self.n_atoms)]
            with _placed(f"{where}: target '{item.name}'"):
                prior.species(torch.tensor(elements))
            cell = random_packing(composition, item.target.density, self.n_atoms, [generator(item.seed)], rounds=0)
            for target in (item.target, item.judge):
                build_likelihood(target, cell)


@contextmanager
def _placed(where: str) -> Iterator[None]:
    """Name the place that is at fault for what an inversion refuses."""
    try:
        yield
    except InputError as error:
        raise InputError(error.what, where, error.mend) from None


def exploded(error: RuntimeError) -> bool:
    """Whether steps have led nowhere: to a matrix without decomposition, or to positions that vesin refuses."""
    return isinstance(error, torch.linalg.LinAlgError) or "non-finite coordinate" in str(error)


def items_of(attributes: Mapping[str, Any]) -> list[Mapping[str, float]]:
    """The numbers of the items that a trial has done, in order."""
    found: list[Mapping[str, float]] = []
    while (numbers := attributes.get(f"item {len(found)}")) is not None:
        found.append(numbers)
    return found


def finished_of(trials: Sequence[FrozenTrial]) -> list[Finished]:
    """The trials that others are compared with: complete ones that keep the limits, best first."""
    kept = [t for t in trials if t.state == TrialState.COMPLETE and feasible(t)]
    kept.sort(key=lambda t: t.values[0] * t.values[1])
    return [Finished(t.number, t.values[2], items_of(t.user_attrs)) for t in kept]


def feasible(trial: FrozenTrial) -> bool:
    """Whether a trial keeps all limits."""
    return all(value <= 0 for value in trial.constraints.values())


def outcome(trial: FrozenTrial, names: Sequence[str]) -> dict[str, Any]:
    """How a trial ended, as plain numbers: the values of its objectives, or why it has none."""
    state = {"state": trial.state.name.lower()}
    if trial.state == TrialState.COMPLETE:
        return {**state, "values": dict(zip(names, trial.values, strict=True)), "keeps_limits": feasible(trial)}
    return {**state, "why": trial.user_attrs.get("pruned", "its process died every time")}
