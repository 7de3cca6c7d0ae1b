"""The networks that ours is compared with: symmetries, the published form and size."""

import pytest
import torch
from ase.build import bulk
from networks.mesh_graph import MeshGraphConfig, MeshGraphNetwork, MeshGraphStep
from networks.reference import ReferenceDenoiser, random_rotation, rotated
from networks.vector_message import VectorMessageConfig, VectorMessageNetwork
from scipy.spatial.transform import Rotation

from glass_ml.priors.datamodule import Noisy
from glass_ml.structures.io import from_atoms
from glass_ml.structures.neighbours import neighbour_pairs
from glass_ml.structures.random import generator
from glass_ml.structures.state import Structures, concatenate

SIZES = [MeshGraphConfig(cutoff=3.5, features=12, steps=2), VectorMessageConfig(cutoff=3.5, features=8, layers=2)]


def denoiser(size) -> ReferenceDenoiser:
    torch.manual_seed(0)
    network = MeshGraphNetwork if isinstance(size, MeshGraphConfig) else VectorMessageNetwork
    return ReferenceDenoiser(network(2, size), size.cutoff, (8, 14)).double()


def noisy(seed: int = 0) -> Structures:
    atoms = bulk("Si", "diamond", a=5.43, cubic=True)
    atoms.numbers[::3] = 8
    one = from_atoms([atoms]).to(dtype=torch.float64)
    noise = torch.randn(one.positions.shape, generator=generator(seed), dtype=torch.float64)
    return one.at(one.positions + 0.2 * noise)


def turned(structures: Structures, rotation: torch.Tensor) -> Structures:
    return Structures(
        structures.positions @ rotation, structures.cell @ rotation, structures.numbers, structures.system
    )


@torch.no_grad()
def shift(model: ReferenceDenoiser, structures: Structures, sigma=0.2) -> torch.Tensor:
    return model.denoise(structures, torch.as_tensor(sigma, dtype=torch.float64)) - structures.positions


@pytest.mark.parametrize("size", SIZES)
def test_translation_order_and_company_change_nothing(size):
    model, one = denoiser(size), noisy()
    expected = shift(model, one)
    assert expected.norm(dim=1).min() > 1e-6
    moved = one.at(one.positions + torch.tensor([7.0, -3.0, 0.4]))
    torch.testing.assert_close(shift(model, moved), expected)
    order = torch.randperm(one.n_atoms, generator=generator(3))
    mixed = Structures(one.positions[order], one.cell, one.numbers[order], one.system)
    torch.testing.assert_close(shift(model, mixed), expected[order])
    both = concatenate([noisy(1), one])
    torch.testing.assert_close(shift(model, both, [0.5, 0.2])[one.n_atoms :], expected)


def test_only_the_vector_network_turns_with_its_input():
    turn = torch.from_numpy(Rotation.from_euler("xyz", [0.4, -1.1, 2.0]).as_matrix())
    mesh, vector = (denoiser(size) for size in SIZES)
    one = noisy()
    torch.testing.assert_close(shift(vector, turned(one, turn)), shift(vector, one) @ turn)
    straight = shift(mesh, one) @ turn
    assert (shift(mesh, turned(one, turn)) - straight).norm() > 0.1 * straight.norm()


@pytest.mark.parametrize("size", SIZES)
def test_elements_and_noise_level_are_seen(size):
    model, one = denoiser(size), noisy()
    other = Structures(one.positions, one.cell, one.numbers.flip(0), one.system)
    for changed in (shift(model, other), 2 * shift(model, one, 0.1)):
        assert (changed - shift(model, one)).norm() > 1e-3 * changed.norm()


def test_published_size():
    weights = sum(p.numel() for p in MeshGraphNetwork(1, MeshGraphConfig()).parameters())
    assert 1.9e6 < weights < 2.3e6


def test_a_step_is_that_of_the_paper():
    """Perceptrons of concatenated features, written out; edges towards i summed at i."""
    torch.manual_seed(1)
    step, width = MeshGraphStep(6), 6
    i, j = torch.tensor([0, 0, 1, 2]), torch.tensor([1, 2, 0, 1])
    node, edge = torch.randn(3, width), torch.randn(4, width)
    parts = (step.from_edge, step.from_first, step.from_second)
    first = torch.nn.Linear(3 * width, width)
    first.weight.data, first.bias.data = torch.cat([p.weight for p in parts], dim=1), step.from_edge.bias
    new_edge = edge + step.edge(first(torch.cat([edge, node[i], node[j]], dim=1)))
    received = torch.stack([new_edge[0] + new_edge[1], new_edge[2], new_edge[3]])
    new_node = node + step.node(torch.cat([node, received], dim=1))
    for found, expected in zip(step(node, edge, i, j), (new_node, new_edge), strict=True):
        torch.testing.assert_close(found, expected)


def test_random_rotations_cover_all_orientations():
    stream = generator(0)
    drawn = torch.stack([random_rotation(stream) for _ in range(2000)])
    torch.testing.assert_close(drawn @ drawn.mT, torch.eye(3).expand_as(drawn), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(drawn), torch.ones(2000), atol=1e-5, rtol=0)
    assert drawn.mean(0).abs().max() < 5 / (3 * 2000) ** 0.5
    # The rotation angle of uniform rotations has the density (1 - cos) / pi: its mean is pi / 2 + 2 / pi.
    angle = torch.acos((drawn.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2)
    assert abs(float(angle.mean()) - (torch.pi / 2 + 2 / torch.pi)) < 5 * 0.65 / 2000**0.5


def test_a_turned_item_has_the_same_distances():
    item = Noisy(noisy().to(dtype=torch.float32), torch.tensor([0.3]), torch.zeros(8, 3))
    lengths = []
    for one in (item.clean, rotated(item, random_rotation(generator(4))).clean):
        lengths.append(neighbour_pairs(one, 4.0).vectors(one).norm(dim=1).sort().values)
    torch.testing.assert_close(*lengths, atol=1e-4, rtol=0)
