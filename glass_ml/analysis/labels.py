"""Descriptors in words: what a flat name means to a reader, its unit and how it is printed."""

from __future__ import annotations

from dataclasses import dataclass


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
        case "angle" if rest == "below75":
            return Label("Bond angles", "Angles below 75°", "%", 100, 2)
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
