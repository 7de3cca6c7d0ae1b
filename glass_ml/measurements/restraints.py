"""Restraints: what is known of distances and neighbours without a measurement, as measurements of their own kinds.

restraints:
  - coordination: Si-O            # O around every Si
    cutoff: 2.1                   # Å
    number: 4                     # or fractions: {3: 0.02, 4: 0.98}
    sigma: 0.02                   # of the fractions
  - distance: Si-Si               # no Si-Si pair in this window
    between: [0, 2.6]             # Å
    sigma: 0.005                  # of the depth of the pairs inside it, Å per atom
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from glass_ml.errors import InputError
from glass_ml.measurements.measurement import Measurement, checked_keys, parse_measurement
from glass_ml.observables.fields import Context, interval, number

MOST_NEIGHBOURS = 16
SIGMA_FRACTION, SIGMA_DEPTH = 0.02, 0.005
SHARED = ("sigma", "weight", "use", "name")


def parse_restraint(content: Any, context: Context) -> Measurement:
    """A restraint out of its mapping in TARGET.yaml; arguments as `parse_measurement`.

    Raises:
        InputError: a key or value that cannot be used.
    """
    where = context.where
    if isinstance(content, Mapping) and ("coordination" in content) == ("distance" in content):
        raise InputError(
            "neither a coordination nor a distance", where, "write 'coordination: Si-O' or 'distance: Si-Si'"
        )
    if isinstance(content, Mapping) and "coordination" in content:
        entry = checked_keys(
            content, ("coordination", "cutoff", "width", "number", *SHARED), ("coordination", "cutoff", "number"), where
        )
        pair = str(entry.pop("coordination"))
        values = _fractions(entry.pop("number"), f"{where}.number")
        made = {"kind": "coordination", "values": values, "name": f"coordination {pair}", "sigma": SIGMA_FRACTION}
    else:
        entry = checked_keys(content, ("distance", "between", *SHARED), ("distance", "between"), where)
        pair = str(entry.pop("distance"))
        low, high = interval(entry["between"], f"{where}.between", fixed=False)
        name = f"distance {pair} {low:g}-{high:g}"
        made = {"kind": "distance-window", "values": {high: 0.0}, "name": name, "sigma": SIGMA_DEPTH}
    return parse_measurement({**made, "pair": pair, **entry}, context)


def _fractions(value: Any, where: str) -> dict[float, float]:
    """Number of neighbours -> fraction of the atoms, for every number that may occur."""
    given = value if isinstance(value, Mapping) else {number(value, where, least=0): 1.0}
    fractions = {number(n, where, least=0): number(share, where, least=0) for n, share in given.items()}
    if any(n != int(n) or n > MOST_NEIGHBOURS for n in fractions):
        raise InputError(f"'{value}' are not numbers of neighbours", where, f"whole numbers up to {MOST_NEIGHBOURS}")
    if abs(sum(fractions.values()) - 1) > 1e-6:
        raise InputError(f"the fractions add up to {sum(fractions.values()):g}", where, "they must add up to 1")
    highest = min(MOST_NEIGHBOURS, int(max(fractions)) + 4)
    return {float(n): fractions.get(float(n), 0.0) for n in range(highest + 1)}
