"""What a learned spectrum obeys by construction, whatever its weights: symmetry, smoothness, batches, derivatives."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from small_surrogate import CONFIG, ENERGIES, batch, carbon, random_surrogate

from glass_ml.errors import InputError
from glass_ml.observables.base import Observable
from glass_ml.observables.environments import describe
from glass_ml.observables.xanes import Xanes
from glass_ml.settings.surrogate import EnvironmentConfig

TIGHT = {"rtol": 0, "atol": 1e-9}


@pytest.fixture(scope="module")
def xanes():
    return Xanes(random_surrogate())


def test_it_is_an_observable_whose_spectrum_depends_on_the_structure(xanes):
    assert isinstance(xanes, Observable) and xanes.kind == "xanes"
    y = xanes.forward(batch(carbon(0), carbon(1)))
    assert y.shape == (2, len(ENERGIES)) and (y[0] - y[1]).abs().max() > 1e-3


def test_rotation_reflection_translation_and_order_change_nothing(xanes):
    atoms = carbon(3)
    y = xanes.forward(batch(atoms))
    for matrix in (Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix(), np.diag([1.0, 1.0, -1.0])):
        turned = atoms.copy()
        turned.set_cell(atoms.cell.array @ matrix, scale_atoms=True)
        torch.testing.assert_close(xanes.forward(batch(turned)), y, **TIGHT)
    moved = atoms.copy()
    moved.positions += [1.7, -9.1, 0.4]
    torch.testing.assert_close(xanes.forward(batch(moved)), y, **TIGHT)
    order = np.random.default_rng(0).permutation(len(atoms))
    torch.testing.assert_close(xanes.forward(batch(atoms[order])), y, **TIGHT)


def test_a_supercell_has_the_spectrum_and_the_doubt_of_its_cell(xanes):
    small, large = batch(carbon(4)), batch(carbon(4).repeat((2, 1, 3)))
    torch.testing.assert_close(xanes.forward(large), xanes.forward(small), **TIGHT)
    torch.testing.assert_close(xanes.uncertainty(large), xanes.uncertainty(small), **TIGHT)


def test_the_spectrum_of_a_cell_is_the_mean_over_its_atoms_and_batches_do_not_mix(xanes):
    frames = [carbon(5), carbon(6, repeat=2), carbon(7)]
    together = xanes.forward(batch(*frames))
    for k, atoms in enumerate(frames):
        spectra, doubt = xanes.per_atom(batch(atoms))
        assert spectra.shape == doubt.shape == (len(atoms), len(ENERGIES))
        torch.testing.assert_close(together[k], spectra.mean(0), **TIGHT)


def test_the_members_spread_is_the_uncertainty():
    surrogate = random_surrogate()
    xanes, structures = Xanes(surrogate), batch(carbon(8))
    single = surrogate.to(torch.float64)
    spectra = single.spectra(single.components(single.environments(structures)))  # (M, N, n)
    torch.testing.assert_close(xanes.uncertainty(structures)[0], 2.0 * spectra.mean(1).std(0), **TIGHT)
    torch.testing.assert_close(xanes.per_atom(structures)[1], 1.5 * spectra.std(0), **TIGHT)


def test_gradients_are_those_of_finite_differences(xanes):
    structures = batch(carbon(9))
    weights = torch.linspace(-1, 1, len(ENERGIES), dtype=torch.float64)

    def loss(positions):
        return xanes.forward(structures.at(positions)) @ weights

    positions = structures.positions.clone().requires_grad_(True)
    assert torch.autograd.gradcheck(loss, positions, eps=1e-6, atol=1e-7)


def test_the_jacobian_is_that_of_autograd(xanes):
    structures = batch(carbon(10), carbon(11))
    jacobian = xanes.jacobian(structures)
    whole = torch.autograd.functional.jacobian(lambda p: xanes.forward(structures.at(p)).sum(0), structures.positions)
    assert jacobian.shape == (len(ENERGIES), structures.n_atoms, 3) and whole.abs().max() > 1e-3
    torch.testing.assert_close(jacobian, whole, **TIGHT)


def test_an_atom_that_crosses_the_cutoff_changes_nothing_suddenly(xanes):
    cutoff = CONFIG.environment.cutoff
    values = []
    for gap in (-1e-5, 1e-5):
        atoms = carbon(0)[:2]
        atoms.set_cell(np.diag([12.0, 12.0, 12.0]))
        atoms.positions = [[0, 0, 0], [0, 0, cutoff + gap]]
        values.append(xanes.forward(batch(atoms)))
    torch.testing.assert_close(values[0], values[1], rtol=0, atol=1e-6)


def test_a_message_reaches_beyond_the_cutoff(xanes):
    """In a chain with bonds of 1.5 Å the end sees, by messages, an atom three bonds away."""
    atoms = carbon(0)[:4]
    atoms.set_cell(np.diag([20.0, 20.0, 20.0]))
    atoms.positions = [[0, 0, 1.5 * k] for k in range(4)]
    moved = atoms.copy()
    moved.positions[3, 0] += 0.5
    first, second = (xanes.per_atom(batch(a))[0][0] for a in (atoms, moved))
    assert (first - second).abs().max() > 1e-7


def test_precisions_agree_and_leave_the_surrogate_as_it_was(xanes):
    double, single = batch(carbon(12)), batch(carbon(12)).to(dtype=torch.float32)
    y = xanes.forward(single)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y.double(), xanes.forward(double), rtol=0, atol=1e-4)
    assert xanes.surrogate.mean.dtype == torch.float32


def test_a_grid_reads_between_the_energies_and_never_beyond():
    surrogate = random_surrogate()
    own, structures = Xanes(surrogate).forward(batch(carbon(13)))[0], batch(carbon(13))
    between = Xanes(surrogate, torch.tensor([280.0, 281.0, 282.5, 300.0])).forward(structures)[0]
    expected = np.interp([280.0, 281.0, 282.5, 300.0], ENERGIES.numpy(), own.numpy())
    np.testing.assert_allclose(between.numpy(), expected, atol=1e-12)
    for grid in (torch.tensor([279.9, 290.0]), torch.tensor([290.0, 300.1]), torch.tensor([])):
        with pytest.raises(InputError, match="the surrogate knows 280 to 300"):
            Xanes(surrogate, grid)


def test_only_absorbers_have_spectra_and_neighbours_of_another_element_are_told_apart():
    xanes = Xanes(random_surrogate(elements=(6, 14), absorber=14))
    atoms = carbon(14)
    atoms.numbers[::2] = 14
    spectra = xanes.per_atom(batch(atoms))[0]
    assert len(spectra) == (atoms.numbers == 14).sum()
    torch.testing.assert_close(xanes.forward(batch(atoms))[0], spectra.mean(0), **TIGHT)
    other = atoms.copy()
    other.numbers[1] = 14  # a neighbour of atom 0
    assert (xanes.per_atom(batch(other))[0][0] - spectra[0]).abs().max() > 1e-4


def test_unknown_elements_and_missing_absorbers_are_named(xanes):
    atoms = carbon(15)
    atoms.numbers[3] = 8
    with pytest.raises(InputError, match=r"does not know O \(it was trained on structures of C\)"):
        xanes.forward(batch(atoms))
    both = Xanes(random_surrogate(elements=(6, 14), absorber=14))
    for ask in (both.forward, both.uncertainty, both.jacobian, both.outside, both.per_atom):
        with pytest.raises(InputError, match=r"without Si.*trained on Si in structures of C, Si"):
            ask(batch(carbon(16)))


def test_environments_that_do_not_occur_in_the_data_are_far_away(xanes):
    """The distance grows with the compression of the crystal, continuously."""
    far = [float(xanes.outside(batch(carbon(17, a=a, noise=0.02))).mean()) for a in (3.57, 3.2, 2.8, 2.4)]
    assert far == sorted(far) and far[-1] > 1 and len(set(far)) == 4


def test_coordination_sorts_neighbours():
    """In diamond every atom stands on the bump of four, and in graphite-like sheets on that of three."""
    from ase.build import graphene

    sheet = graphene(a=2.46, size=(3, 3, 1), vacuum=6.0)
    sheet.pbc = True
    four, three = (describe(batch(a), (6,), CONFIG.environment).centre[:, 1:] for a in (carbon(noise=0.0), sheet))
    assert four[:, 2].min() > 0.9 and four[:, 1].max() < 0.3
    assert three[:, 1].min() > 0.99 and three[:, 2].max() < 0.1


def test_without_coordinations_all_neighbours_of_an_element_count_alike():
    plain = describe(batch(carbon(18)), (6,), EnvironmentConfig(cutoff=2.6, radial=5, coordinations=()))
    sorted_too = describe(batch(carbon(18)), (6,), CONFIG.environment)
    assert plain.centre.shape[1] == 1
    for few, many in zip(plain.densities, sorted_too.densities, strict=True):
        torch.testing.assert_close(few, many[..., :5])
