"""The sampler of a sweep: TPE, whose random numbers are fixed by the seed and the place of a trial."""

from __future__ import annotations

from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study
from optuna.trial import FrozenTrial

from glass_ml.structures.random import generator
from glass_ml.tuning.trials import draws_before


class PlacedSampler(BaseSampler):
    """Multivariate TPE that draws anew for every place, with those of running trials taken as bad (constant liar).

    A trial that was lost to a kill leaves its place, so that with one worker a resumed sweep equals one that was
    never stopped; one that ended in an error has used its place up, so that other settings are drawn after it. With
    several workers, what TPE knows depends on which trial ends first.

    Args:
        seed: of the sweep.
        startup: trials at random before TPE.
    """

    def __init__(self, seed: int, startup: int):
        self.seed, self.startup = seed, startup
        self._known = IntersectionSearchSpace(include_pruned=True)

    def _tpe(self, study: Study, trial: FrozenTrial, purpose: str) -> TPESampler:
        stream = generator(self.seed, "trial", draws_before(study.get_trials(deepcopy=False), trial.number), purpose)
        seed = stream.initial_seed() % 2**32
        return TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=self.startup)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The settings that all finished trials share."""
        return {name: d for name, d in self._known.calculate(study).items() if not d.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values of all settings at once."""
        return self._tpe(study, trial, "all").sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The value of one setting, while there are too few trials to learn from."""
        return self._tpe(study, trial, param_name).sample_independent(study, trial, param_name, param_distribution)
