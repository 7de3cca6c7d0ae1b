"""Checks of what a user wrote in TARGET.yaml: each gives the value, or one clear line."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from glass_ml.errors import InputError


def checked_keys(content: Any, known: tuple[str, ...], required: tuple[str, ...], where: str) -> dict:
    """The content itself, if it is a mapping of known keys that has the required ones; else InputError."""
    if not isinstance(content, Mapping):
        raise InputError("not a mapping of keys to values", where, f"write the keys {', '.join(required)}")
    for key in content:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, 1)
            mend = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
            raise InputError(f"unknown key '{key}'", where, mend)
    for key in required:
        if content.get(key) is None:
            raise InputError(f"no '{key}'", where, f"add '{key}:'")
    return dict(content)


def number(value: Any, where: str, *, above: float | None = None, least: float | None = None) -> float:
    """A finite number, above or at least a bound; else InputError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
        raise InputError(f"'{value}' is not a number", where)
    if above is not None and not value > above:
        raise InputError(f"{value} is not above {above:g}", where)
    if least is not None and value < least:
        raise InputError(f"{value} is below {least:g}", where)
    return float(value)


def interval(value: Any, where: str, *, fixed: bool) -> tuple[float, float]:
    """Two ascending numbers; with `fixed` also one number (or two equal ones), which fixes the value."""
    if fixed and not isinstance(value, list):
        value = [value, value]
    if not isinstance(value, list) or len(value) != 2:
        raise InputError(f"'{value}' is not an interval", where, "write [low, high]")
    low, high = number(value[0], where), number(value[1], where)
    if low > high or (low == high and not fixed):
        raise InputError(f"[{low:g}, {high:g}] does not ascend", where, "write [low, high]")
    return low, high
