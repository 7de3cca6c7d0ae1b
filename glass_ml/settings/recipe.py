"""params.yaml as dataclasses: the whole recipe of every system."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from glass_ml.config import build, read_yaml
from glass_ml.errors import InputError
from glass_ml.settings.overrides import with_settings
from glass_ml.settings.platform import GateConfig
from glass_ml.settings.prior import NetworkConfig, NoiseConfig, PrepareConfig, TrainingConfig
from glass_ml.settings.sampling import SamplingConfig
from glass_ml.settings.surrogate import SurrogateConfig, SurrogateTraining
from glass_ml.settings.tuning import TuningConfig
from glass_ml.settings.winner import read_winner

PARAMS = Path("params.yaml")


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
    """The complementarity study: what hidden structures are measured by, and how large the inversions are.

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
    """Everything that params.yaml says of one system; see the classes of the fields."""

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
    """The systems that params.yaml describes."""
    return sorted(read_yaml(path).get("systems", {}))


def system_config(system: str, path: Path | str = PARAMS, *, tuned: bool = True) -> SystemConfig:
    """The recipe of one system.

    Settings that a sweep has chosen take the place of those of params.yaml: `sampling` from the file that
    `tuning.winner` names, network, noise and training from that of `tuning.prior.winner`, where these exist.

    Args:
        system: its name.
        path: of params.yaml.
        tuned: whether these files count.

    Raises:
        InputError: no such system, or a key or value that is not known.
    """
    config = build(SystemConfig, _section("systems", "system", system, path), f"{path}: systems.{system}")
    tuning = config.tuning
    if not (tuned and tuning):
        return config
    for file, prefix in ((tuning.winner, "sampling."), (tuning.prior.winner if tuning.prior else None, "")):
        winner = read_winner(Path(path).parent / file, system) if file else None
        if winner:
            settings = {prefix + key: value for key, value in winner.settings.items()}
            config = with_settings(config, settings, f"{file}: settings")
    return config


def surrogate_config(name: str, path: Path | str = PARAMS) -> SurrogateRecipe:
    """The recipe of one learned observable.

    Raises:
        InputError: no such name, or a key or value that is not known.
    """
    return build(SurrogateRecipe, _section("surrogates", "surrogate", name, path), f"{path}: surrogates.{name}")


def gate_config(path: Path | str = PARAMS) -> GateConfig:
    """What a promotion asks: the section `promotion`, or the defaults where there is no such section or file.

    Raises:
        InputError: a key or value that is not known.
    """
    content = read_yaml(path).get("promotion") if Path(path).is_file() else None
    return build(GateConfig, content, f"{path}: promotion")


def _section(part: str, noun: str, name: str, path: Path | str) -> Any:
    sections = read_yaml(path).get(part) or {}
    if name not in sections:
        known = ", ".join(sorted(sections)) or "none"
        raise InputError(f"unknown {noun} '{name}'", f"{path}: {part}", f"known: {known}; or add it")
    return sections[name]
