"""g(r) and G(r) against freud and pdffit2."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from model_crystals import crystal, thermal

from glass_ml.observables.kinds import make_observable
from glass_ml.structures.io import from_atoms


def freud_box(freud, cell):
    """The freud box of a cell, and the rotation that brings the cell into freud's upper-triangular frame."""
    q, r = np.linalg.qr(cell.T)
    signs = np.sign(np.diag(r))
    q, r = q * signs, (r.T * signs).T
    box = freud.box.Box(r[0, 0], r[1, 1], r[2, 2], r[0, 1] / r[1, 1], r[0, 2] / r[2, 2], r[1, 2] / r[2, 2])
    return box, q


@pytest.mark.oracle
def test_g_of_r_is_that_of_freud():
    freud = pytest.importorskip("freud", reason="freud-analysis is not installed")
    atoms = thermal(crystal("Si", "diamond", 5.43).repeat(2), 0.15)
    structure = from_atoms([atoms])
    freud.parallel.set_num_threads(1)
    box, rotation = freud_box(freud, atoms.cell.array)
    fine = freud.density.RDF(bins=700, r_max=7.0)
    assert float(structure.half_width[0]) > 7
    fine.compute((box, (atoms.positions @ rotation).astype(np.float32)))
    at, sharp = np.asarray(fine.bin_centers, dtype=float), np.asarray(fine.rdf, dtype=float)
    r = torch.arange(1.8, 6.8, 0.1, dtype=torch.float64)
    ours = make_observable("gr", r).forward(structure)[0].numpy()
    # our point is the mean over a soft shell, the quadratic B-spline of the grid's spacing
    t = np.abs(at - r.numpy()[:, None]) / 0.1
    shell = np.where(t <= 0.5, 0.75 - t**2, 0.5 * np.clip(1.5 - t, 0, None) ** 2) * at**2
    theirs = shell @ sharp / shell.sum(1)
    assert np.abs(ours - theirs).max() < 4e-3 * theirs.max()


def pdffit(structure, r, *, b_iso, qmax=0.0, qdamp=0.0, qbroad=0.0, radiation="X"):
    pdffit2 = pytest.importorskip("diffpy.pdffit2", reason="diffpy.pdffit2 is not installed")
    from diffpy.structure import Atom, Lattice, Structure

    lengths = structure.cell.cellpar()
    u = b_iso / (8 * np.pi**2)
    crystal_structure = Structure(
        [
            Atom(s, x, Uisoequiv=u)
            for s, x in zip(structure.get_chemical_symbols(), structure.get_scaled_positions(), strict=True)
        ],
        lattice=Lattice(*lengths),
    )
    engine = pdffit2.PdfFit()
    engine.add_structure(crystal_structure)
    engine.alloc(radiation, qmax, qdamp, float(r[0]), float(r[-1]), len(r))
    engine.setvar("qbroad", qbroad)
    engine.calc()
    return np.asarray(engine.getpdf_fit())


def rw(model, reference):
    return float(np.sqrt(((model - reference) ** 2).sum() / (reference**2).sum()))


@pytest.mark.oracle
@pytest.mark.parametrize(
    "atoms, radiation",
    [
        (bulk("Si", "diamond", a=5.43, cubic=True), "xray"),
        (bulk("NaCl", "rocksalt", a=5.64, cubic=True), "neutron"),
        (bulk("Mg", "hcp", a=3.2), "xray"),
    ],
    ids=["diamond", "rocksalt", "hcp"],
)
@pytest.mark.parametrize("qmax, qdamp, qbroad", [(0.0, 0.0, 0.0), (25.0, 0.03, 0.03), (18.0, 0.06, 0.0)])
def test_pdf_of_crystals_is_that_of_pdffit2(atoms, radiation, qmax, qdamp, qbroad):
    b_iso = 0.6
    everywhere = np.arange(0.02, 12.0, 0.02)
    theirs = pdffit(
        atoms,
        everywhere,
        b_iso=b_iso,
        qmax=qmax,
        qdamp=qdamp,
        qbroad=qbroad,
        radiation="X" if radiation == "xray" else "N",
    )
    # two atoms that vibrate independently: the variance of their distance is the sum
    broadening = float(np.sqrt(2 * b_iso / (8 * np.pi**2)))
    inner = everywhere > 1.5
    ours = make_observable(
        "pdf",
        torch.from_numpy(everywhere[inner]),
        qmax=qmax or None,
        qdamp=qdamp,
        qbroad=qbroad * broadening,
        broadening=broadening,
        radiation=radiation,
    ).forward(from_atoms([atoms]))[0]
    # most of the difference is PDFfit's peak shape, 1/x for 1/r (see the next test): it fades as r grows
    r, difference = everywhere[inner], ours.numpy() - theirs[inner]
    assert rw(ours.numpy(), theirs[inner]) < 0.025
    far = r > 9
    assert np.sqrt((difference[far] ** 2).sum() / (theirs[inner][far] ** 2).sum()) < 0.016


def test_broadening_is_isotropic_gaussian_motion():
    """The mean G(r) of many displaced copies of a pair is that of the pair at rest with `broadening`."""
    distance, amplitude, copies = 1.6, 0.15, 40000
    moved = np.random.default_rng(1).normal(scale=amplitude / 2**0.5, size=(copies, 3, 2)).sum(-1)
    moved[:, 0] += distance
    found = np.linalg.norm(moved, axis=1)
    edges = np.arange(0.95, 2.3, 0.1)
    counts, _ = np.histogram(found, edges)
    centres = (edges[1:] + edges[:-1]) / 2
    pair = from_atoms([Atoms("Ar2", positions=[[0, 0, 0], [distance, 0, 0]], cell=[20, 20, 20], pbc=True)])
    fine = torch.from_numpy((centres[:, None] + np.linspace(-0.05, 0.05, 21)[None, :-1] + 0.0025).flatten())
    options = {"broadening": amplitude, "radiation": "number"}
    for qmax in (None, 40.0):
        g = 100 * make_observable("dr", fine, qmax=qmax, **options).forward(pair)[0].numpy()
        peak = (g + 4 * np.pi * float(pair.density) * fine.numpy()) * fine.numpy()
        model = copies * peak.reshape(-1, 20).mean(1) * 0.1
        assert np.abs((counts - model) / np.sqrt(model + 1)).max() < 4.5


def test_termination_of_a_single_pair_is_its_sinc():
    """Without broadening, qmax turns a pair at d into sin(qmax (x - d))/(pi (x - d)) - the same at -d, over x... r."""
    d, qmax = 3.0, 20.0
    pair = from_atoms([Atoms("Ar2", positions=[[0, 0, 0], [d, 0, 0]], cell=[30, 30, 30], pbc=True)])
    x = torch.linspace(1.0, 6.0, 101, dtype=torch.float64)
    model = make_observable("dr", x, qmax=qmax, radiation="number").forward(pair)[0].numpy() * 100
    r = x.numpy()
    sinc = [qmax / np.pi * np.sinc(qmax * (r - s * d) / np.pi) for s in (1, -1)]
    continuum = 4 * np.pi * float(pair.density) * r
    expected = (sinc[0] - sinc[1]) / d - continuum
    assert np.abs(model - expected)[:-20].max() < 0.01 * np.abs(expected).max()


def test_resolution_and_window_of_g():
    structure = from_atoms([thermal(bulk("Si", "diamond", a=5.43, cubic=True).repeat(2), 0.1)])
    r = torch.linspace(1.0, 5.0, 81, dtype=torch.float64)

    def g(**options):
        return make_observable("pdf", r, **options).forward(structure)[0]

    torch.testing.assert_close(g(qmax=20.0, qdamp=0.1), g(qmax=20.0) * torch.exp(-0.5 * (0.1 * r) ** 2))
    plain, windowed = g(qmax=20.0), g(qmax=20.0, window="lorch")
    low = r < 1.7
    line = -4 * np.pi * float(structure.density) * r
    assert float((windowed - line)[low].std()) < 0.35 * float((plain - line)[low].std())


def test_real_space_functions_are_the_affine_maps_of_each_other(binary):
    r = torch.linspace(0.8, 5.0, 60, dtype=torch.float64)
    d, t = (make_observable(kind, r, broadening=0.08).forward(binary) for kind in ("dr", "tr"))
    fractions = torch.tensor([[8 / 12, 4 / 12], [5 / 10, 5 / 10]], dtype=torch.float64)
    from glass_ml.observables.factors import neutron_lengths

    mean = 0.01 * (fractions @ neutron_lengths([8, 14])) ** 2
    torch.testing.assert_close(t - d, 4 * np.pi * binary.density[:, None] * r * mean[:, None])
    pdf = make_observable("pdf", r, broadening=0.08, radiation="neutron").forward(binary)
    torch.testing.assert_close(d, pdf * mean[:, None])


def test_partials_add_up(binary):
    r = torch.linspace(1.0, 5.0, 41, dtype=torch.float64)
    total = make_observable("gr", r, broadening=0.1).forward(binary)
    partial = {p: make_observable("gr", r, broadening=0.1, pair=p).forward(binary) for p in ("O-O", "Si-O", "Si-Si")}
    c = torch.tensor([[8 / 12, 4 / 12], [5 / 10, 5 / 10]], dtype=torch.float64)[:, :, None]
    expected = c[:, 0] ** 2 * partial["O-O"] + 2 * c[:, 0] * c[:, 1] * partial["Si-O"] + c[:, 1] ** 2 * partial["Si-Si"]
    torch.testing.assert_close(total, expected)
