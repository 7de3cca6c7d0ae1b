"""EXAFS as a map of the pair histograms: sums over pairs, normalisation, tables that are refused."""

import numpy as np
import pytest
import torch
from ase.build import bulk
from safetensors.torch import save_file

from glass_ml.errors import InputError
from glass_ml.observables.exafs import Exafs
from glass_ml.observables.pairs import pair_histograms
from glass_ml.observables.scattering_table import SHIPPED, find_table, load_table, parse_edge, save_table
from glass_ml.structures.io import from_atoms
from glass_ml.structures.neighbours import neighbour_pairs
from glass_ml.structures.state import concatenate

K = torch.linspace(3.0, 13.0, 101, dtype=torch.float64)


@pytest.mark.parametrize("edge", ["Si K", "O K"])
def test_the_histogram_gives_the_sum_over_pairs(silica_like, edge):
    model = Exafs(K, load_table(find_table(edge, ("O", "Si"))), k_weight=2)
    pairs = neighbour_pairs(silica_like, model.limit)
    distance = pairs.vectors(silica_like).norm(dim=1).numpy()
    absorber = (silica_like.numbers == model.table.absorber).numpy()
    total = np.zeros(len(K))
    for z in (8, 14):
        chosen = absorber[pairs.i] & (silica_like.numbers[pairs.j] == z).numpy()
        total += model.kernel(z, distance[chosen]).sum(0) / absorber.sum()
    ours = model.forward(silica_like)[0].numpy()
    assert np.square(ours - total).sum() / np.square(total).sum() < 2e-6
    single = model.forward(silica_like.to(dtype=torch.float32))[0].double().numpy()
    assert np.square(single - total).sum() / np.square(total).sum() < 2e-6


def test_a_system_does_not_depend_on_its_batch(binary):
    model = Exafs(K, load_table(find_table("O K", ("O", "Si"))))
    alone = torch.cat([model.forward(binary[s]) for s in range(2)])
    torch.testing.assert_close(model.forward(binary), alone, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(model.forward(concatenate([binary[1], binary[0]])), alone.flip(0), rtol=1e-9, atol=1e-12)


def test_response_is_the_slope_in_the_counts(binary):
    model = Exafs(K[::20], load_table(find_table("Si K", ("O", "Si"))), k_weight=1)
    one = binary[0]
    h = pair_histograms(one, model.reach(0.0), model.spacing)
    torch.testing.assert_close(
        torch.einsum("ntb,tb->n", model.response(h), h.counts[0]), model.from_histograms(h)[0], rtol=1e-9, atol=1e-12
    )


def test_a_supercell_and_a_sheared_cell_are_the_same_crystal():
    model = Exafs(K, load_table(find_table("Si K", ("Si",))))
    cubic = bulk("Si", "diamond", 5.431, cubic=True)
    for other in (cubic.repeat(2), bulk("Si", "diamond", 5.431)):
        torch.testing.assert_close(
            model.forward(from_atoms([other])), model.forward(from_atoms([cubic])), atol=1e-9, rtol=0
        )


def test_broadening_is_the_debye_waller_factor():
    table = load_table(find_table("Si K", ("Si",)))
    structures = from_atoms([bulk("Si", "diamond", 5.431, cubic=True)])
    sharp, broad = (Exafs(K, table, broadening=b).forward(structures)[0] for b in (0.0, 0.08))
    torch.testing.assert_close(broad, sharp * torch.exp(-2 * K**2 * 0.08**2))


def test_weight_multiplies_by_k(binary):
    table = load_table(find_table("Si K", ("O", "Si")))
    torch.testing.assert_close(
        Exafs(K, table, k_weight=3).forward(binary), K**3 * Exafs(K, table).forward(binary), rtol=1e-9, atol=1e-12
    )


def test_every_shipped_table_can_be_read_and_is_found():
    paths = sorted(SHIPPED.glob("*.safetensors"))
    assert len(paths) >= 11
    for path in paths:
        table = load_table(path)
        assert find_table(table.edge, table.composition) == path
        assert sum(table.composition.values()) == pytest.approx(1)
        assert "FEFF" in table.origin


@pytest.mark.parametrize("text", ["Si K", "si-k", "SI_K", " si  k "])
def test_edges_have_one_spelling(text):
    assert parse_edge(text) == "Si K"


@pytest.mark.parametrize("text", ["SiK", "Si", "Xx K", "Si M4", "", "X K"])
def test_what_is_no_edge(text):
    with pytest.raises(InputError, match="not an absorption edge"):
        parse_edge(text)


def test_mistakes_get_one_line(binary, tmp_path):
    table = load_table(find_table("Si K", ("O", "Si")))
    with pytest.raises(InputError, match="glass-ml xas-table STRUCTURE --edge 'Ge K'"):
        find_table("Ge K", ("Ge", "Se"))
    with pytest.raises(InputError, match="outside the Si K table"):
        Exafs(torch.linspace(3, 25, 10, dtype=torch.float64), table)
    germanium = binary.numbers.clone()
    germanium[germanium == 8] = 32
    with pytest.raises(InputError, match="knows no neighbours Ge"):
        Exafs(K, table).forward(type(binary)(binary.positions, binary.cell, germanium, binary.system))
    with pytest.raises(InputError, match="no atom of the Si K edge"):
        Exafs(K, table).forward(from_atoms([bulk("Ge", "diamond", 5.66)]))
    with pytest.raises(InputError, match="no such scattering table"):
        load_table(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("not a table")
    with pytest.raises(InputError, match="not a scattering table"):
        load_table(tmp_path / "text.safetensors")
    save_file({"k": torch.zeros(3)}, tmp_path / "bare.safetensors")
    with pytest.raises(InputError, match="not a scattering table"):
        load_table(tmp_path / "bare.safetensors")


def test_a_table_survives_the_file(tmp_path):
    table = load_table(find_table("Cu K", ("Cu", "Zr")))
    save_table(tmp_path / "t.safetensors", table)
    again = load_table(tmp_path / "t.safetensors")
    k, r = np.linspace(2, 15, 40), np.linspace(1.5, 6, 30)
    np.testing.assert_array_equal(again.complex_amplitude(40, k, r), table.complex_amplitude(40, k, r))


def test_phases_that_jump_do_not_matter():
    """Turns of 2 pi between the rows of a table, as FEFF has them, leave the amplitude as it is."""
    from dataclasses import replace

    table = load_table(find_table("Si K", ("Si",)))
    jumps = 2 * np.pi * np.arange(table.phase.shape[1])[None, :, None] % 7
    turned = replace(table, phase=table.phase + 2 * np.pi * np.round(jumps))
    k, r = np.linspace(2, 15, 40), np.linspace(1.5, 6, 333)
    np.testing.assert_allclose(turned.complex_amplitude(14, k, r), table.complex_amplitude(14, k, r), atol=1e-9)
