"""A kind of measurement is one file: what is added there is known to targets, commands, reports and documentation."""

import json
import sys
from dataclasses import MISSING
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.io import write

import glass_ml.observables
from glass_ml.analysis.ensemble import describe, summary
from glass_ml.analysis.report import write_report
from glass_ml.cli.main import main
from glass_ml.errors import InputError
from glass_ml.files import write_json
from glass_ml.measurements.likelihood import build_likelihood
from glass_ml.measurements.reference import fields_table, kinds_table, updated
from glass_ml.measurements.target import load_target
from glass_ml.observables import kinds as registry
from glass_ml.observables.fields import SAME, checked, described, plain
from glass_ml.observables.kinds import find_kind, kinds, make_observable
from glass_ml.structures.io import to_atoms

PAGE = Path(__file__).parents[2] / "docs" / "measurements.md"

ONE_FILE = '''
"""g(r) by an instrument whose zero of r is off."""

from dataclasses import dataclass

from torch import Tensor

from glass_ml.observables.fields import setting
from glass_ml.observables.kinds import Kind, Settings, register
from glass_ml.observables.realspace import RadialDistribution


@register(
    Kind("offset-gr", "Offset g(r)", "r (Å)", "g(r − s)", "g(r − s), 1 at large r", "r", "x(y-1)", span=(2, 4)),
)
@dataclass(frozen=True, kw_only=True)
class OffsetSettings(Settings):
    zero: float = setting(unit="Å", above=0, help="distance by which r is too long")
    grain: str = setting("fine", choices=("fine", "coarse"), help="of the detector")

    def observable(self, kind, grid: Tensor, cells=None):
        return Offset(kind, grid, self.zero)


class Offset:
    def __init__(self, kind, grid, zero):
        self.kind, self.grid = kind, grid
        self.inner = RadialDistribution(grid - zero, 0.1)

    def forward(self, structures):
        return self.inner.forward(structures)
'''


@pytest.fixture
def offset_kind(tmp_path, monkeypatch):
    """The kind 'offset-gr', in one file among those of the package."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "offset_gr.py").write_text(ONE_FILE)
    monkeypatch.setattr(glass_ml.observables, "__path__", [*glass_ml.observables.__path__, str(folder)])
    yield "offset-gr"
    registry._registered.pop("offset-gr", None)
    sys.modules.pop("glass_ml.observables.offset_gr", None)


def test_a_kind_in_one_file_is_in_the_help(offset_kind, capsys):
    for command in (["spectrum", "--help"], ["data", "check", "--help"]):
        with pytest.raises(SystemExit):
            main(command)
        text = " ".join(capsys.readouterr().out.split())
        assert "offset-gr" in text.replace("offset- gr", "offset-gr")
        assert ("--zero X offset-gr: distance by which r is too long, Å" in text) == (command[0] == "spectrum")


def test_a_kind_in_one_file_is_in_targets(offset_kind, write_target, silicon):
    r = torch.arange(1.0, 5.0, 0.05, dtype=torch.float64)
    data = make_observable("gr", r - 0.3, broadening=0.1).forward(silicon)[0]
    rows = "\n".join(f"{a:.4f} {b:.8f}" for a, b in zip(r.tolist(), data.tolist(), strict=True))

    def target(fields):
        return load_target(write_target(rows, f"  - {{file: data.csv, sigma: 0.1, {fields}}}"))

    found = target("kind: offset-gr, zero: 0.3")
    assert found.measurements[0].settings == find_kind(offset_kind).settings(zero=0.3)
    (fit,) = build_likelihood(found, silicon).compare(silicon).measurements
    assert float(fit.chi2[0]) < 1e-6 < float(fit.chi2[1]) and float(fit.r_factors[0]) < 1e-5
    for fields, words in (
        ("kind: offset-gr", "kind offset-gr needs 'zero'"),
        ("kind: offset-gr, zero: -1", "zero: -1 is not above 0"),
        ("kind: offset-gr, zero: far", "zero: 'far' is not a number"),
        ("kind: offset-gr, zero: 1, grain: rough", "unknown grain 'rough' (one of fine, coarse)"),
        ("kind: offset-gr, zero: 1, grian: fine", "unknown key 'grian' (did you mean 'grain'?)"),
        ("kind: gr, zero: 1", "'zero' has no meaning for kind gr (it belongs to kind offset-gr)"),
        ("kind: offset-g, zero: 1", "did you mean 'offset-gr'"),
    ):
        with pytest.raises(InputError) as error:
            target(fields)
        assert words in str(error.value)


def test_a_kind_in_one_file_is_computed(offset_kind, tmp_path, monkeypatch, silicon, capsys):
    monkeypatch.chdir(tmp_path)
    write("si.extxyz", to_atoms(silicon))
    assert main(["spectrum", "si.extxyz", "--kind", offset_kind, "--zero", "0.3", "--out", "s.csv"]) == 0
    table = np.loadtxt("s.csv", delimiter=",", encoding="utf-8")
    assert (table[0, 0], table[-1, 0]) == (2, 4)
    expected = make_observable("gr", torch.from_numpy(table[:, 0]) - 0.3, broadening=0.1).forward(silicon).mean(0)
    np.testing.assert_allclose(table[:, 1], expected.numpy(), atol=1e-4)
    for wrong, words in (
        (["--zero", "-1"], "--zero: -1.0 is not above 0"),
        ([], "kind offset-gr needs 'zero' (add --zero)"),
    ):
        assert main(["spectrum", "si.extxyz", "--kind", offset_kind, *wrong]) == 2
        assert words in capsys.readouterr().err


def test_a_kind_in_one_file_is_in_the_report(offset_kind, tmp_path, silicon):
    folder = tmp_path / "inversion"
    folder.mkdir()
    write(folder / "structures.extxyz", to_atoms(silicon))
    lines = [f"shifted,offset-gr,fit,{r},{np.sin(r)},0.1,{np.sin(r)},0.01,0" for r in np.arange(1, 5, 0.1)]
    (folder / "spectra.csv").write_text(
        "\n".join(["measurement,kind,use,x,target,sigma,fit,spread,residual", *lines]) + "\n"
    )
    fit = {"kind": "offset-gr", "use": "fit", "n_points": 40, "chi2_reduced": 1.0, "r_factor": 0.01, "scale": 1.0}
    measured, described = {"shifted": {**fit, "offset": 0.0}}, summary(describe(silicon))
    write_json(folder / "metrics.json", {"n_structures": 2, "measurements": measured, "structure": described})
    write_json(folder / "lineage.json", {"system": "a-Si", "seed": 0, "params": json.dumps({})})
    (folder / "target.yaml").write_text("system: a-Si\n")
    page = write_report(folder)[0].read_text(encoding="utf-8")
    assert "shifted: Offset g(r)" in page and "g(r − s)" in page


def test_a_kind_in_one_file_is_in_the_documentation(offset_kind):
    assert "| `offset-gr` | r (Å) | g(r − s), 1 at large r | **`zero`**, `grain` |" in kinds_table()
    assert "| `zero` | offset-gr | distance by which r is too long | Å |  |" in fields_table()


def test_the_documentation_says_what_the_kinds_are():
    text = PAGE.read_text(encoding="utf-8")
    assert updated(text) == text, "run: python -m glass_ml.measurements.reference"


def test_two_kinds_of_one_name_are_refused():
    with pytest.raises(ValueError, match=r"kind 'gr' is one of glass_ml\.observables\.realspace already"):
        registry.register(registry.Kind("gr", "", "", "", ""))(registry.Settings)


@pytest.mark.parametrize("kind", kinds())
def test_fields_have_a_meaning_and_legal_defaults(kind):
    """Every default passes the checks that a given value would, and every field says what it is."""
    for name, field in find_kind(kind).fields.items():
        own = described(field)
        assert own.help and not own.help.endswith(".")
        for default in (field.default, own.alone):
            if default not in (MISSING, SAME, None):
                assert checked(field, plain(default), name) == default
