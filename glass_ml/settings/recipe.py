"""params.yaml and materials/NAME.yaml as dataclasses: the whole recipe of every system."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from glass_ml.config import build, read_yaml, reject_unknown
from glass_ml.errors import InputError
from glass_ml.settings.overrides import with_settings
from glass_ml.settings.platform import GateConfig
from glass_ml.settings.prior import NetworkConfig, NoiseConfig, PrepareConfig, TrainingConfig
from glass_ml.settings.sampling import SamplingConfig
from glass_ml.settings.surrogate import SurrogateConfig, SurrogateTraining
from glass_ml.settings.tuning import TuningConfig
from glass_ml.settings.winner import read_winner

PARAMS = Path("params.yaml")
MATERIALS = Path("materials")

SHARED = ("prepare", "network", "noise", "training", "sampling", "inversion")
"""Sections that params.yaml has for all systems. What a material's own file says goes before, key by key."""

SIMULATED = ("composition", "potentials", "batches")
"""Sections of a material's file that say how its structures are simulated (glass_ml/simulation/recipe.py)."""


@dataclass(frozen=True)
class TargetConfig:
    """The held-out target: spectra simulated from reference structures that no prior has seen.

    Attributes:
        reference: structure file in data/SYSTEM; its thermal frames are averaged.
        radiation: weights of the elements in the fitted g(r): "number", "xray" or "neutron".
        noise: standard deviation of the noise added to g(r), and sigma stated for it.
        r_max: upper end of the g(r), Å.
        validate: kind of the function of Q that is held out.
        q_range: its range, 1/Å.
    """

    reference: str
    radiation: Literal["number", "xray", "neutron"] = "number"
    noise: float = 0.02
    r_max: float = 8.0
    validate: str = "xray-sq"
    q_range: tuple[float, float] = (1.0, 20.0)


@dataclass(frozen=True)
class InversionConfig:
    """Size of an inversion where the command line does not say it.

    Attributes:
        n_structures: replicas.
        n_atoms: atoms of each.
        seed: of all random choices.
        processes: replicas computed side by side.
    """

    n_structures: int = 4
    n_atoms: int = 216
    seed: int = 0
    processes: int = 2


@dataclass(frozen=True)
class StudyConfig:
    """The complementarity study: what reference structures are measured by, and how large the inversions are.

    Attributes:
        reference: structure file in data/SYSTEM; by default that of the target.
        edges: absorption edges of EXAFS, such as 'Si K'.
        triplets: bond angles that count as a probe, 'O-Si-O' -> cutoff (Å).
        noise: standard deviation of the noise, in units of a spectrum's range; it is the sigma stated too.
        r_max: upper end of g(r), Å.
        q_range: range of the functions of Q, 1/Å.
        k_range: range of EXAFS, 1/Å.
        n_structures: replicas of every inversion.
        n_atoms: atoms of each.
        steps: noise levels, that is network calls per structure.
        seed: of noise and replicas.
        processes: replicas computed side by side.
    """

    reference: str = ""
    edges: tuple[str, ...] = ()
    triplets: dict[str, float] = field(default_factory=dict)
    noise: float = 0.01
    r_max: float = 7.0
    q_range: tuple[float, float] = (0.8, 20.0)
    k_range: tuple[float, float] = (3.0, 12.0)
    n_structures: int = 6
    n_atoms: int = 216
    steps: int = 240
    seed: int = 0
    processes: int = 2


@dataclass(frozen=True)
class SystemConfig:
    """How the prior of a system is made and used; see the classes of the fields."""

    target: TargetConfig
    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    inversion: InversionConfig = field(default_factory=InversionConfig)
    study: StudyConfig = field(default_factory=StudyConfig)
    tuning: TuningConfig | None = None


@dataclass(frozen=True)
class SurrogateRecipe:
    """Everything that params.yaml says of one learned observable; see the classes of the fields.

    Attributes:
        data: folder of structures and spectra per atom (docs/xanes.md), relative to the project.
        absorber: symbol of the element that has spectra.
        edge: name of its absorption edge, kept in the card.
        surrogate: size of the networks.
        training: their training, and what is held out.
    """

    data: str
    absorber: str
    edge: str = "K"
    surrogate: SurrogateConfig = field(default_factory=SurrogateConfig)
    training: SurrogateTraining = field(default_factory=SurrogateTraining)


def system_names(path: Path | str = PARAMS) -> list[str]:
    """The systems that params.yaml names; each has its file in materials/.

    Raises:
        InputError: `systems` is not a list of names.
    """
    names = read_yaml(path).get("systems") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        mend = "write 'systems: [a-Si]', and what belongs to a system into materials/NAME.yaml"
        raise InputError("not a list of names", f"{path}: systems", mend)
    return sorted(names)


def material_names() -> list[str]:
    """The materials that have a file in materials/ of the current folder."""
    return sorted(file.stem for file in MATERIALS.glob("*.yaml"))


def reject_unknown_sections(material: Mapping[str, Any], where: Path | str) -> None:
    """Raise InputError for a section that a material's file cannot have."""
    reject_unknown(material, (*SIMULATED, *(f.name for f in fields(SystemConfig))), str(where))


def system_config(system: str, path: Path | str = PARAMS, *, tuned: bool = True) -> SystemConfig:
    """The recipe of one system: its file in materials/, over the shared sections of params.yaml.

    Settings that a sweep has chosen take the place of both: `sampling` from the file that `tuning.winner` names,
    network, noise and training from that of `tuning.prior.winner`, where these exist.

    Args:
        system: its name.
        path: of params.yaml; materials/ lies beside.
        tuned: whether the files of sweeps count.

    Raises:
        InputError: no such system, or a key or value that is not known.
    """
    if system not in (known := system_names(path)):
        mend = f"known: {', '.join(known) or 'none'}; or write {MATERIALS}/{system}.yaml and add its name"
        raise InputError(f"unknown system '{system}'", f"{path}: systems", mend)
    content = read_yaml(path)
    reject_unknown(content, ("systems", *SHARED, "surrogates", "promotion", "tracking"), str(path))
    shared = {key: content[key] for key in SHARED if key in content}
    place = Path(path).parent / MATERIALS / f"{system}.yaml"
    material = read_yaml(place)
    reject_unknown_sections(material, place)
    own = {key: value for key, value in material.items() if key not in SIMULATED}
    # Each is built alone first, so that an error names the file at fault.
    build(SystemConfig, {"target": {"reference": ""}} | shared, str(path), ": ")
    build(SystemConfig, own, str(place), ": ")
    config = build(SystemConfig, _merged(shared, own), str(place), ": ")
    tuning = config.tuning
    if not (tuned and tuning):
        return config
    for file, prefix in ((tuning.winner, "sampling."), (tuning.prior.winner if tuning.prior else None, "")):
        winner = read_winner(Path(path).parent / file, system) if file else None
        if winner:
            settings = {prefix + key: value for key, value in winner.settings.items()}
            config = with_settings(config, settings, f"{file}: settings")
    return config


def _merged(shared: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings in mappings, merged by key."""
    merged = {**shared, **own}
    for key in shared.keys() & own.keys():
        if isinstance(shared[key], Mapping) and isinstance(own[key] or {}, Mapping):
            merged[key] = _merged(shared[key], own[key] or {})
    return merged


def surrogate_config(name: str, path: Path | str = PARAMS) -> SurrogateRecipe:
    """The recipe of one learned observable.

    Raises:
        InputError: no such name, or a key or value that is not known.
    """
    sections = read_yaml(path).get("surrogates") or {}
    if not isinstance(sections, dict):
        raise InputError(f"'{sections}' is not a mapping", f"{path}: surrogates", "write NAME: and its keys")
    if name not in sections:
        mend = f"known: {', '.join(sorted(sections)) or 'none'}; or add it"
        raise InputError(f"unknown surrogate '{name}'", f"{path}: surrogates", mend)
    return build(SurrogateRecipe, sections[name], f"{path}: surrogates.{name}")


def gate_config(path: Path | str = PARAMS) -> GateConfig:
    """What a promotion asks: the section `promotion`, or the defaults where there is no such section or file.

    Raises:
        InputError: a key or value that is not known.
    """
    content = read_yaml(path).get("promotion") if Path(path).is_file() else None
    return build(GateConfig, content, f"{path}: promotion")
