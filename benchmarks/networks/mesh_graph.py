"""The architecture of the published implementation: a mesh-graph network, which is not equivariant.

GLASS (Guo & Schwalbe-Koda 2026, arXiv:2603.23210) and the work it builds on denoise with MeshGraphNets (Pfaff et
al. 2021, arXiv:2010.03409): an encoder of nodes and edges, message-passing steps with weights of their own, a
decoder, all of them perceptrons with two hidden layers, a layer norm and a residual. An edge is described by its
displacement vector and length, so that rotations have to be learned from rotated data. Width and
depth are chosen, 200 features and 5 steps, for the two million weights of the published one. Written from the
papers alone.
"""

import math
from dataclasses import dataclass

import torch
from networks.reference import NoiseLevel
from torch import Tensor, nn


@dataclass(frozen=True)
class MeshGraphConfig:
    """Size of the network.

    Attributes:
        cutoff: longest edge, Å.
        features: width of nodes, edges and hidden layers.
        steps: message-passing steps.
    """

    cutoff: float = 5.0
    features: int = 200
    steps: int = 5


def perceptron(inputs: int, width: int) -> nn.Sequential:
    """Two hidden layers and a layer norm."""
    return nn.Sequential(nn.Linear(inputs, width), *_after_first(width))


def _after_first(width: int) -> list[nn.Module]:
    return [nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.LayerNorm(width)]


class MeshGraphStep(nn.Module):
    """e_ij += MLP(e_ij, v_i, v_j);  v_i += MLP(v_i, sum_j e_ij).

    The first layer of the edges' perceptron is a sum of three, so that the two of the nodes act before nodes are
    copied to their edges: the same function of a concatenation in half the time.
    """

    def __init__(self, width: int):
        super().__init__()
        self.from_edge = nn.Linear(width, width)
        self.from_first = nn.Linear(width, width, bias=False)
        self.from_second = nn.Linear(width, width, bias=False)
        self.edge = nn.Sequential(*_after_first(width))
        self.node = perceptron(2 * width, width)

    def forward(self, node: Tensor, edge: Tensor, i: Tensor, j: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.from_edge(edge)
        hidden = hidden + self.from_first(node).index_select(0, i) + self.from_second(node).index_select(0, j)
        message = self.edge(hidden)
        edge = edge + message
        received = torch.zeros_like(node).index_add_(0, i, edge)
        return node + self.node(torch.cat([node, received], dim=1)), edge


class MeshGraphNetwork(nn.Module):
    """Displacement per atom; arguments of `forward` as in `glass_ml.priors.network.AngularNetwork`.

    Args:
        n_elements: chemical elements told apart.
        config: size.
    """

    def __init__(self, n_elements: int, config: MeshGraphConfig):
        super().__init__()
        self.config = config
        width = config.features
        self.element = nn.Embedding(n_elements, width)
        self.level = NoiseLevel(width)
        self.encode_node = perceptron(width, width)
        self.encode_edge = perceptron(4, width)
        self.steps = nn.ModuleList(MeshGraphStep(width) for _ in range(config.steps))
        self.decode = nn.Sequential(
            nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 3)
        )

    def forward(
        self, vectors: Tensor, i: Tensor, j: Tensor, species: Tensor, system: Tensor, log_sigma: Tensor
    ) -> Tensor:
        cutoff = self.config.cutoff
        # Mean 0 and variance 1 for neighbours that fill the sphere evenly.
        unit_vectors = vectors * (math.sqrt(5) / cutoff)
        lengths = (vectors.norm(dim=1, keepdim=True) / cutoff - 0.75) / math.sqrt(3 / 80)
        node = self.encode_node(self.element(species) + self.level(log_sigma).index_select(0, system))
        edge = self.encode_edge(torch.cat([unit_vectors, lengths], dim=1))
        for step in self.steps:
            node, edge = step(node, edge, i, j)
        return self.decode(node)
