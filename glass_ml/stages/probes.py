"""Spectra simulated from known structures, as experiments would see them: the targets of stages and studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from glass_ml.errors import InputError
from glass_ml.files import write_text
from glass_ml.observables.fields import Context
from glass_ml.observables.kinds import find_kind
from glass_ml.structures.io import from_atoms, read_frames
from glass_ml.structures.random import generator
from glass_ml.structures.state import Structures

BROADENING = 0.05
"""Width (Å) of the Gaussian that smooths a simulated and a fitted g(r): half the spacing of a usual g(r)."""


@dataclass(frozen=True)
class Reference:
    """The structures behind simulated data.

    Attributes:
        structures: the thermal frames of the file; frames without a state count as thermal.
        composition: element symbol -> amount of the reduced formula.
        label: what the target says of its data.
    """

    structures: Structures
    composition: dict[str, int]
    label: str


def reference_structures(source: Path, quenches: Sequence[int] = ()) -> Reference:
    """Read the structures that data are simulated from: those of some melt-quenches, counted from 0, or of all.

    Raises:
        InputError: the file has no thermal frame, or not so many quenches.
    """
    frames = [a for a in read_frames(source) if a.info.get("state", "thermal") == "thermal"]
    if not frames:
        raise InputError("no thermal frame", str(source), "choose another reference in materials/")
    if quenches:
        names = list(dict.fromkeys(a.info.get("quench", k) for k, a in enumerate(frames)))
        if not 0 <= min(quenches) <= max(quenches) < len(names):
            raise InputError(f"no quench {max(quenches)}", str(source), f"it holds {len(names)}, from 0")
        chosen = {names[k] for k in quenches}
        frames = [a for k, a in enumerate(frames) if a.info.get("quench", k) in chosen]
    composition = dict(frames[0].symbols.formula.reduce()[0].count())
    label = f"simulated from {source.as_posix()}, mean of {len(frames)} frames at 300 K"
    return Reference(from_atoms(frames), composition, label)


def simulate(entry: Mapping[str, Any], grid: Tensor, reference: Reference) -> tuple[Tensor, Tensor]:
    """Points and mean spectrum of reference structures, (n,) each, for the measurement `entry` of a TARGET.yaml.

    A function of Q is summed over the cells' own reciprocal vectors, without a window, which the comparison would then
    apply twice; points that have none are left out.
    """
    kind, context = find_kind(entry["kind"]), Context(entry.get("name", ""), reference.composition)
    own = {key: value for key, value in entry.items() if key in kind.fields}
    settings = kind.check(kind.build(own, context, alone=True).exact(), context)
    model = settings.observable(kind.name, grid, reference.structures)
    with torch.no_grad():
        return model.grid, model.forward(reference.structures).mean(0)


def with_noise(y: Tensor, sigma: float, seed: int, *names: str) -> Tensor:
    """Gaussian noise of standard deviation `sigma`; the names pick the random stream."""
    return y + sigma * torch.randn(y.shape, generator=generator(seed, *names), dtype=y.dtype)


def write_spectrum(path: Path, kind: str, label: str, x: Tensor, y: Tensor) -> None:
    """Write a spectrum as two columns with a header that says what it is."""
    rows = "\n".join(f"{a:.4f},{b:.6f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))
    write_text(path, f"# {kind}, {label}\n# {find_kind(kind).x},{kind}\n{rows}\n")


def write_simulated_target(folder: Path, system: str, reference: Reference, entries: list[dict[str, Any]]) -> Path:
    """Write the `target.yaml` that lists simulated measurements; returns its path."""
    content = {
        "system": system,
        "composition": reference.composition,
        "density": round(float(reference.structures.density.mean()), 6),
        "note": f"Not measured: {reference.label}.",
        "measurements": entries,
    }
    write_text(folder / "target.yaml", yaml.safe_dump(content, sort_keys=False, width=120))
    return folder / "target.yaml"
