"""TARGET.yaml: what it may say, and one clear line for everything that it may not."""

import pytest

from glass_ml.errors import InputError
from glass_ml.files import sha256_file
from glass_ml.measurements.target import load_target


def test_a_full_target(write_target, tmp_path):
    text = """
  - file: data.csv
    kind: xray-sq
    x_range: [0.8, 15]
    sigma: 0.02
    scale: [0.9, 1.1]
    offset: 0
    weight: 2
    name: diffraction
  - {file: data.csv, kind: neutron-sq, use: validate, window: none, columns: [1, 2]}
"""
    path = write_target(text=text, composition="{Si: 1, O: 2}", density="2.20 g/cm3")
    target = load_target(path)
    assert target.density == pytest.approx(0.0662, abs=1e-4)
    assert target.sha256 == sha256_file(path)
    first, second = target.measurements
    assert (first.name, first.scale, first.offset, first.weight) == ("diffraction", (0.9, 1.1), (0.0, 0.0), 2.0)
    assert (first.settings.shown_window, second.settings.shown_window) == ("lorch", "none")
    assert (second.name, second.use, second.x_range) == ("data", "validate", None)
    spectra = target.spectra
    assert float(spectra[0].sigma[0]) == 0.02 and spectra[0].sha256 == sha256_file(tmp_path / "data.csv")


NAN = "0.1 1\n0.2 nan\n0.3 1\n0.4 1\n0.5 1\n0.6 1\n"
UNSORTED = "0.1 1\n0.3 1\n0.2 1\n0.4 1\n0.5 1\n0.6 1\n"


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"density": "-0.05"}, ("density", "not positive")),
        ({"density": "0"}, ("density", "not positive")),
        ({"density": "0.489"}, ("density", "denser")),
        ({"density": "22.8 g/cm3"}, ("density", "denser")),
        ({"density": "dense"}, ("density", "not a density")),
        ({"density": None}, ("no 'density'",)),
        ({"composition": "{Xx: 1}"}, ("Xx", "not an element")),
        ({"composition": "{Si: -1}"}, ("composition", "amount")),
        ({"composition": "Si"}, ("not a composition",)),
        ({"densty": "0.05"}, ("unknown key 'densty'", "did you mean 'density'")),
        ({"system": "a-Si\nsystem: a-Ge"}, ("stands twice", "line 2")),
        ({"composition": "{Si: 1"}, ("not YAML", "line")),
        ({"data": NAN}, ("data.csv: line 2", "NaN")),
        ({"data": UNSORTED}, ("data.csv: line 3", "sort")),
        ({"data": "no numbers here\n"}, ("data.csv", "no table")),
        ({"text": "  - {file: gone.csv, kind: xray-sq}"}, ("gone.csv", "no such file")),
        ({"text": "  - {file: data.csv, kind: xray}"}, ("measurements[1].kind", "unknown kind 'xray'")),
        ({"text": "  - {file: data.csv}"}, ("measurements[1]", "no 'kind'")),
        ({"text": "  - {file: data.csv, kind: xray-sq, sgma: 1}"}, ("unknown key 'sgma'", "did you mean 'sigma'")),
        ({"text": "  - {file: data.csv, kind: xray-sq, sigma: 0}"}, ("sigma", "not above 0")),
        ({"text": "  - {file: data.csv, kind: xray-sq, weight: -1}"}, ("weight", "not above 0")),
        ({"text": "  - {file: data.csv, kind: xray-sq, use: fitted}"}, ("unknown use 'fitted'",)),
        ({"text": "  - {file: data.csv, kind: xray-sq, window: hann}"}, ("unknown window 'hann'",)),
        ({"text": "  - {file: data.csv, kind: xray-sq, x_range: [0.8, 40]}"}, ("x_range", "outside the data", "19.9")),
        ({"text": "  - {file: data.csv, kind: xray-sq, x_range: [5, 3]}"}, ("x_range", "does not ascend")),
        ({"text": "  - {file: data.csv, kind: xray-sq, x_range: [5.01, 5.05]}"}, ("x_range", "three points")),
        ({"text": "  - {file: data.csv, kind: xray-sq, x_range: 5}"}, ("x_range", "not an interval")),
        ({"text": "  - {file: data.csv, kind: xray-sq, scale: 0}"}, ("scale", "positive")),
        ({"text": "  - {file: data.csv, kind: xray-sq, pair: Si-Si}"}, ("pair", "kind gr")),
        ({"text": "  - {file: data.csv, kind: gr, pair: SiSi}"}, ("pair", "two symbols")),
        ({"text": "  - {file: data.csv, kind: gr, method: reciprocal}"}, ("method", "functions of Q")),
        ({"text": "  - {file: data.csv, kind: gr, columns: [1, 5]}"}, ("columns", "file with 2")),
        ({"text": "  - {file: data.csv, kind: xray-sq}\n  - {file: data.csv, kind: gr}"}, ("two measurements", "name")),
        ({"text": "  []"}, ("no measurement",)),
    ],
)
def test_mistakes_get_one_line_that_names_them(write_target, changes, words):
    path = write_target(**changes)
    with pytest.raises(InputError) as error:
        load_target(path)
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_missing_target(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_target(tmp_path / "target.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n- 2\n")
    with pytest.raises(InputError, match="not a mapping"):
        load_target(tmp_path / "list.yaml")


def test_malicious_yaml_is_not_run(tmp_path):
    marker = tmp_path / "executed"
    path = tmp_path / "evil.yaml"
    path.write_text(f"system: !!python/object/apply:os.system ['touch {marker}']\n")
    with pytest.raises(InputError, match="not YAML"):
        load_target(path)
    assert not marker.exists()
