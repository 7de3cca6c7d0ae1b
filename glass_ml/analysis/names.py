"""How element pairs and triplets are called, so that a descriptor has one name everywhere."""

from __future__ import annotations

from ase.data import atomic_numbers, chemical_symbols

from glass_ml.errors import InputError

_NOBLE = (0, 2, 10, 18, 36, 54, 86, 118)


def element_rank(number: int) -> tuple[float, int]:
    """Sort key that puts the more electropositive element first: Si before O, Ge before Se, C before H.

    The sequence is that of chemical formulae (IUPAC Red Book 2005, table VI): by group, hydrogen between
    groups 15 and 16, the heavier element of a group first.
    """
    if number == 1:
        return 15.5, -1
    period = next(k for k, noble in enumerate(_NOBLE) if number <= noble)
    from_left, from_right = number - _NOBLE[period - 1], _NOBLE[period] - number
    return (from_left if from_left <= 2 else max(3, 18 - from_right)), -number


def pair_name(a: int, b: int) -> str:
    """Name of an element pair from two atomic numbers: 'Si-O', whichever comes first."""
    return "-".join(chemical_symbols[z] for z in sorted((a, b), key=element_rank))


def triplet_name(end: int, centre: int, other: int) -> str:
    """Name of a bond angle from three atomic numbers, the apex in the middle: 'Si-O-Si'."""
    first, last = sorted((end, other), key=element_rank)
    return "-".join(chemical_symbols[z] for z in (first, centre, last))


def parse_pair(text: str, where: str = "") -> str:
    """The name of a pair written by a person, in either order.

    Raises:
        InputError: the text is not two element symbols with a hyphen.
    """
    symbols = text.strip().split("-")
    if len(symbols) != 2 or any(s not in atomic_numbers or s == "X" for s in symbols):
        raise InputError(f"'{text}' is not a pair of elements", where, "write it as Si-O")
    return pair_name(atomic_numbers[symbols[0]], atomic_numbers[symbols[1]])
