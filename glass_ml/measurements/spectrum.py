"""One measurement with its uncertainty, its kind and its instrument."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from glass_ml.observables.base import Instrument

__all__ = ["Instrument", "Spectrum"]


@dataclass(frozen=True)
class Spectrum:
    """A measured spectrum.

    Attributes:
        x: r (Å) or Q (1/Å), (n,), float64, ascending.
        y: values in the convention of `kind`, (n,), float64.
        sigma: standard deviation of each point, (n,), float64, positive.
        kind: a key of `glass_ml.observables.base.KINDS`.
        instrument: range, window and resolution.
        name: short name, unique in a target.
        source: the file.
        sha256: checksum of the file's bytes.
        notes: what the reader decided, in plain words.
    """

    x: Tensor
    y: Tensor
    sigma: Tensor
    kind: str
    instrument: Instrument = field(default_factory=Instrument)
    name: str = ""
    source: str = ""
    sha256: str = ""
    notes: tuple[str, ...] = ()
