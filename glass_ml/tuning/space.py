"""The search space: dotted keys of settings with their values, checked against the settings themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from glass_ml.errors import InputError
from glass_ml.settings.overrides import leaves, require_key, value_of, with_settings
from glass_ml.settings.tuning import Axis

Check = Callable[[Any], object]
"""Raises InputError for settings that cannot be used together."""


def read_space(config: Any, axes: Mapping[str, Axis], where: str, check: Check) -> dict[str, BaseDistribution]:
    """What every key is drawn from.

    Args:
        config: the default settings; each must be among the values of its key.
        axes: the space.
        where: the place to name in an error.
        check: of settings that differ from the default in one key.

    Raises:
        InputError: a key that is not known, bounds that are none, or values that the setting cannot have.
    """
    if not axes:
        raise InputError("no setting to tune", where, "name at least one, with low and high or choices")
    space = {}
    for key, axis in axes.items():
        require_key(config, key, where)
        place, default = f"{where}.{key}", value_of(config, key)
        space[key] = _distribution(axis, leaves(type(config))[key], place)
        for name, value in _ends(axis, space[key]):
            try:
                check(with_settings(config, {key: value}, place))
            except InputError as error:
                raise InputError(f"{value} cannot be used: {error}", f"{place}.{name}", "narrow the range") from None
        if not _holds(space[key], default):
            raise InputError(f"the default, {default}, is not among the values", place, "widen the range to it")
    return space


def _distribution(axis: Axis, hint: Any, where: str) -> BaseDistribution:
    if axis.choices is not None:
        if (axis.low, axis.high, axis.step, axis.log) != (None, None, None, False):
            raise InputError("choices and a range", where, "give the one or the other")
        if len(axis.choices) < 2 or len(set(map(repr, axis.choices))) < len(axis.choices):
            raise InputError(f"'{list(axis.choices)}' is no choice", f"{where}.choices", "list two or more values")
        return CategoricalDistribution(axis.choices)
    if hint not in (int, float):
        raise InputError("not a number", where, "list its values as `choices`")
    if axis.low is None or axis.high is None:
        raise InputError("no range", where, "give low and high, or choices")
    if not axis.low < axis.high < float("inf"):
        raise InputError(f"low {axis.low:g} is not below high {axis.high:g}", where, "exchange or mend them")
    if axis.log and axis.low <= 0:
        raise InputError(f"low {axis.low:g} has no logarithm", f"{where}.low", "give a positive low, or leave out log")
    if axis.log and axis.step is not None:
        raise InputError("log and step", where, "give the one or the other")
    if axis.step is not None and not 0 < axis.step <= axis.high - axis.low:
        raise InputError(f"step {axis.step:g} does not fit in the range", f"{where}.step", "give a smaller one")
    if hint is float:
        return FloatDistribution(axis.low, axis.high, log=axis.log, step=axis.step)
    numbers = {"low": axis.low, "high": axis.high, "step": 1.0 if axis.step is None else axis.step}
    for name, value in numbers.items():
        if value != int(value):
            raise InputError(f"{value:g} is not an integer", f"{where}.{name}", "this setting counts something")
    return IntDistribution(int(axis.low), int(axis.high), log=axis.log, step=int(numbers["step"]))


def _ends(axis: Axis, distribution: BaseDistribution) -> Iterator[tuple[str, Any]]:
    if isinstance(distribution, CategoricalDistribution):
        yield from (("choices", value) for value in distribution.choices)
    elif isinstance(distribution, IntDistribution | FloatDistribution):
        yield from (("low", distribution.low), ("high", distribution.high))


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    if not distribution.low <= value <= distribution.high:
        return False
    steps = (value - distribution.low) / distribution.step if distribution.step else 0.0
    return abs(steps - round(steps)) < 1e-8
