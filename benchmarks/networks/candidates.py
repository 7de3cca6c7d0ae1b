"""What is compared: each network with its sizes and the settings it is trained with."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import yaml
from networks.mesh_graph import MeshGraphConfig, MeshGraphNetwork
from networks.reference import ReferenceDenoiser
from networks.vector_message import VectorMessageConfig, VectorMessageNetwork
from torch import nn

from glass_ml.config import build, reject_unknown
from glass_ml.errors import InputError
from glass_ml.priors.datamodule import TrainingItems, collate
from glass_ml.priors.dataset import StructureFile
from glass_ml.priors.module import DenoisingModule, new_module
from glass_ml.settings.prior import NetworkConfig, NoiseConfig, TrainingConfig
from glass_ml.settings.recipe import SystemConfig

OURS, PUBLISHED = "ours", "published"
REFERENCES: dict[str, MeshGraphConfig | VectorMessageConfig] = {
    PUBLISHED: MeshGraphConfig(),
    "mesh-graph 64 x 4": MeshGraphConfig(features=64, steps=4),
    "vector l=1": VectorMessageConfig(),
}
RATES = ((5e-4, 0.0), (2e-3, 0.0), (2e-3, 0.005), (2e-3, 0.02))
"""Learning rates (of Adam, of matrices) tried for every reference; ours is trained with those of params.yaml."""


@dataclass(frozen=True)
class Candidate:
    """A network and how it is trained.

    Attributes:
        name: in tables; OURS, a key of REFERENCES, or the text of a variant of ours.
        network: its size.
        training: batch, learning rates and what else `train_for` takes from it.
        noise: distribution of the training noise.
        rates: learning rates to choose from by short trainings; empty if `training` has the ones to use.
    """

    name: str
    network: NetworkConfig | MeshGraphConfig | VectorMessageConfig
    training: TrainingConfig
    noise: NoiseConfig
    rates: tuple[tuple[float, float], ...] = ()

    @property
    def rotate(self) -> bool:
        """Whether the network has to learn rotations from turned data."""
        return isinstance(self.network, MeshGraphConfig)

    def settings(self) -> dict[str, Any]:
        """All settings as plain values, under the names of params.yaml."""
        training = asdict(self.training)
        del training["steps"], training["epoch_steps"]
        return {
            "network": asdict(self.network),
            "noise": asdict(self.noise),
            "training": {**training, "rotate": self.rotate},
        }

    def untrained(self, data: StructureFile) -> nn.Module:
        """The denoiser with weights drawn from the training seed."""
        if isinstance(self.network, NetworkConfig):
            return new_module(data, self.network, self.training).prior
        network_class = MeshGraphNetwork if isinstance(self.network, MeshGraphConfig) else VectorMessageNetwork
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.training.seed)
            network = network_class(len(data.elements), self.network)  # type: ignore[arg-type]
        return ReferenceDenoiser(network, self.network.cutoff, data.elements)

    def key(self, data: StructureFile, minutes: float) -> str:
        """Identity of a training, under which its result is kept.

        The first loss of the untrained network stands for the code: it changes with network, loss, preconditioning
        and noise, and not with a comment.
        """
        items = TrainingItems(data, self.noise, self.training.seed, 0, 2)
        with torch.no_grad():
            probe = float(DenoisingModule.loss(self.untrained(data), collate([items[0], items[1]])))
        identity = [self.settings(), f"{minutes:.6g}", data.meta["source_md5"], f"{probe:.4g}"]
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def architectures(config: SystemConfig) -> list[Candidate]:
    """Ours as in params.yaml, and the references with the same data, noise, loss weight and batch."""
    ours = Candidate(OURS, config.network, config.training, config.noise)
    return [ours] + [replace(ours, name=name, network=size, rates=RATES) for name, size in REFERENCES.items()]


def variant(ours: Candidate, text: str) -> Candidate:
    """Ours with other settings, such as "layers=3,learning_rate=0.003".

    Raises:
        InputError: a setting that neither network, training nor noise has, or a value of the wrong type.
    """
    where = f"variant '{text}'"
    try:
        chosen: Mapping[str, Any] = {k.strip(): yaml.safe_load(v) for k, v in (s.split("=") for s in text.split(","))}
    except (ValueError, yaml.YAMLError):
        raise InputError("not a list of settings", where, "write 'layers=3,channels=16'") from None
    parts = {part: asdict(getattr(ours, part)) for part in ("network", "training", "noise")}
    reject_unknown(chosen, [key for part in parts.values() for key in part], where)
    for part in parts.values():
        part.update({key: value for key, value in chosen.items() if key in part})
    classes = {"network": NetworkConfig, "training": TrainingConfig, "noise": NoiseConfig}
    built = {part: build(classes[part], values, where) for part, values in parts.items()}
    return replace(ours, name=text, **built)  # type: ignore[arg-type]
