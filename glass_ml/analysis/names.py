"""How element pairs, triplets and descriptors are called: one name everywhere, and its words for a reader."""

from __future__ import annotations

from dataclasses import dataclass

from ase.data import atomic_numbers, chemical_symbols

from glass_ml.errors import InputError

LEAST = {"angle.rmse": 0.02, "coordination.emd": 0.01, "rings.emd": 0.01}
"""The smallest distances that count where ratios of them are taken, by name: copies of a crystal have none at all."""

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


@dataclass(frozen=True)
class Label:
    """How a descriptor is shown: value times `scale`, with `digits` decimals, in `unit`."""

    group: str
    text: str
    unit: str = ""
    scale: float = 1.0
    digits: int = 2

    def number(self, value: float) -> str:
        """The value as printed, without its unit."""
        return f"{value * self.scale:.{self.digits}f}"

    def value(self, mean: float, spread: float | None = None) -> str:
        """Mean ± spread with the unit."""
        text = self.number(mean) if spread is None else f"{self.number(mean)} ± {self.number(spread)}"
        return f"{text} {self.unit}".rstrip()


def label(name: str) -> Label:
    """The label of a descriptor of `ensemble.describe` or `comparison.compare`; its own name if it is unknown."""
    family, _, rest = name.partition(".")
    first, _, last = rest.rpartition(".")
    match family:
        case "density":
            return Label("Cell", "Number density", "atoms/Å³", digits=4)
        case "shortest":
            return Label("Distances", f"Shortest {rest} distance", "Å")
        case "too_close":
            return Label("Distances", "Pairs closer than the prior's limit", digits=1)
        case "bond":
            words = "Mean" if last == "mean" else "Spread of the"
            return Label("Distances", f"{words} {first} bond length", "Å", digits=3)
        case "cutoff":
            return Label("Distances", f"Longest {rest} distance counted as a bond", "Å")
        case "coordination" if not first:
            centre, _, partner = rest.partition("-")
            return Label(
                "Coordination", f"{partner or 'Neighbours'}{' neighbours' if partner else ''} of {centre}", digits=3
            )
        case "nfold":
            word = "neighbour" if last == "1" else "neighbours"
            return Label("Coordination", f"{first} atoms with {last} {word}", "%", 100, 1)
        case "angle" if last == "below75":
            return Label("Bond angles", f"{first} angles below 75°" if first else "Angles below 75°", "%", 100, 2)
        case "angle" if last in ("mean", "spread"):
            words = "Mean" if last == "mean" else "Spread of the"
            return Label("Bond angles", f"{words} {first} angle", "°", digits=1)
        case "rings" if rest.isdigit():
            return Label("Rings", f"{rest}-membered rings per network-forming atom", digits=3)
        case "order":
            return Label("Order", "Atoms in crystalline surroundings", "%", 100, 1)
        case "diversity":
            words, unit = ("bond angles", "%/°") if rest == "angle" else ("g(r)", "")
            return Label("Diversity", f"Mean difference from the other replicas in {words}", unit, digits=3)
        case "copied":
            return Label("Diversity", "Surroundings copied from training structures", "%", 100, 1)
        case _:
            return Label("Other", name, digits=4)


GROUPS = ("Cell", "Distances", "Coordination", "Bond angles", "Rings", "Order", "Diversity", "Other")
"""The order in which groups are printed."""
