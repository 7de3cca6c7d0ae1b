"""What materials/NAME.yaml says of a sweep."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Axis:
    """The values that one setting may take: a range, or a choice.

    Attributes:
        low: lower end of a range.
        high: upper end of a range.
        log: whether the logarithm is what is uniform.
        step: spacing of the values, from `low` on; None: any value (of an integer setting: 1).
        choices: the values of a choice; stands alone.
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    choices: tuple[Any, ...] | None = None


@dataclass(frozen=True)
class TuningTarget:
    """Reference structures that the trials of a sweep invert, and what is measured of them.

    The probes are those of the system's `study` section: g(r), X-ray, neutron, EXAFS, angles.

    Attributes:
        reference: structure file in data/SYSTEM.
        fit: probes that are fitted.
        validate: probes that are held out; a trial is judged by these.
        quenches: which of the file's melt-quenches are the reference structures, from 0; empty: all.
    """

    reference: str
    fit: tuple[str, ...]
    validate: tuple[str, ...]
    quenches: tuple[int, ...] = ()


@dataclass(frozen=True)
class Limits:
    """What a trial must keep to be chosen.

    Attributes:
        shortest: two atoms nearer than this factor of the shortest distance in the prior's training data are too close.
        too_close: such pairs per atom, at most.
        defects: share of atoms with a wrong number of neighbours, above that of the reference structures, at most.
    """

    shortest: float = 0.95
    too_close: float = 0.0
    defects: float = 0.1


@dataclass(frozen=True)
class Pruning:
    """When a trial ends early: some better one, of no more network calls, has done the same items.

    Attributes:
        after: items that are compared at least.
        p: chance, at most, that the trial is no worse (one-sided signed-rank test of the logarithms of the ratios).
        margin: how much worse it must be on average, in misfit and in realism, as a fraction.
    """

    after: int = 2
    p: float = 0.1
    margin: float = 0.05


@dataclass(frozen=True)
class Finals:
    """The second round: the leading trials and the default settings once more, on what no trial was chosen by.

    The best of many trials is in part the luckiest. It wins only if it beats the default here too, in held-out misfit,
    and is not seen to be less realistic.

    Attributes:
        candidates: leading trials that take part.
        targets: name -> what is inverted; none: the targets of the trials.
        seeds: every target is inverted once with each; other seeds than those of the trials where targets are the same.
        p: chance, at most, that settings win whose misfit is no smaller (one-sided signed-rank test of the ratios, item
            by item, times the number of candidates). Realism is worse where the same test says so at this chance. Below
            candidates / 2^(targets x seeds) nobody could win.
    """

    candidates: int = 3
    targets: dict[str, TuningTarget] = field(default_factory=dict)
    seeds: tuple[int, ...] = (10, 11, 12, 13)
    p: float = 0.1


@dataclass(frozen=True)
class PriorTuning:
    """A sweep of training settings.

    Attributes:
        winner: file that receives the chosen settings.
        space: dotted key, such as training.learning_rate, network.features or noise.core_share -> its values.
        fixed: dotted key -> value, for every trial; a short training: {training.steps: 2000}.
        trials: trained in all.
        workers: processes; each trains on one core.
        seed: of the choice of values.
        startup: trials at random before earlier ones guide the choice, and before any is stopped early.
        warmup: optimiser steps of a trial that are never stopped.
    """

    winner: str
    space: dict[str, Axis]
    fixed: dict[str, Any] = field(default_factory=dict)
    trials: int = 16
    workers: int = 2
    seed: int = 0
    startup: int = 5
    warmup: int = 500


@dataclass(frozen=True)
class TuningConfig:
    """A sweep of sampling settings.

    Attributes:
        winner: file that receives the chosen settings; inversions of the system use them from then on.
        space: dotted key of `sampling`, such as schedule.sigma_max -> its values.
        targets: name -> what is inverted.
        seeds: every target is inverted once with each.
        fixed: dotted key of `sampling` -> value, for every trial.
        n_structures: replicas of an inversion.
        n_atoms: atoms of each.
        trials: in all, the default settings as the first of them.
        workers: processes; each computes on one core.
        seed: of the choice of values.
        startup: trials at random before earlier ones guide the choice.
        limits: what a trial must keep.
        pruning: when a trial ends early.
        finals: who wins.
        prior: the sweep of training settings.
    """

    winner: str
    space: dict[str, Axis]
    targets: dict[str, TuningTarget]
    seeds: tuple[int, ...] = (0, 1)
    fixed: dict[str, Any] = field(default_factory=dict)
    n_structures: int = 1
    n_atoms: int = 216
    trials: int = 30
    workers: int = 2
    seed: int = 0
    startup: int = 8
    limits: Limits = field(default_factory=Limits)
    pruning: Pruning = field(default_factory=Pruning)
    finals: Finals = field(default_factory=Finals)
    prior: PriorTuning | None = None
