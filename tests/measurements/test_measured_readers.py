"""One reader for the files of many programs: lenient about headers, strict about numbers."""

import numpy as np
import pytest

from glass_ml.errors import InputError
from glass_ml.measurements.readers import read_data, read_spectrum
from glass_ml.measurements.tables import read_table

ROWS = [(0.5, 0.1, 0.01), (0.6, 0.2, 0.01), (0.7, 0.5, 0.02), (0.8, 0.9, 0.02), (0.9, 1.3, 0.02), (1.0, 1.1, 0.03)]


def table(separator=" ", columns=3):
    return "\n".join(separator.join(f"{v:.4f}" for v in row[:columns]) for row in ROWS) + "\n"


@pytest.mark.parametrize(
    "name, text",
    [
        ("plain.txt", table()),
        ("comma.csv", "Q,S,err\n" + table(",")),
        ("semicolon.csv", "# Q;S\n" + table("; ")),
        ("tabs.dat", "! made by hand\n\n" + table("\t")),
        ("pdfgetx.gr", "[DEFAULT]\nqmax = 25.0\n#### start data\n#S 1\n#L r(A) G(r)\n" + table()),
        ("counts.xye", f"{len(ROWS)}\n" + table()),
        ("two_counts.mint01", f"# title\n    1   {len(ROWS)}\n" + table()),
        ("count_in_columns.dat", f"{len(ROWS)} 0 0\n" + table()),
        ("fortran.sq", table().replace("0.5000", "0.5D+00")),
        ("windows.txt", "﻿" + table().replace("\n", "\r\n")),
    ],
)
def test_headers_and_separators(tmp_path, name, text):
    path = tmp_path / name
    path.write_bytes(text.encode())
    x, y, error, _ = read_data(path, in_q=True)
    np.testing.assert_allclose(np.stack([x, y, error], axis=1), ROWS)


def test_columns(tmp_path):
    path = tmp_path / "four.gr"
    path.write_text("\n".join(f"{r} {y} 0.0 {e}" for r, y, e in ROWS))
    _, _, error, notes = read_data(path, in_q=False)
    np.testing.assert_allclose(error, [row[2] for row in ROWS])
    assert "four columns" in notes[0]
    _, y, error, _ = read_data(path, in_q=False, columns=[1, 4])
    np.testing.assert_allclose(y, [row[2] for row in ROWS])
    assert error is None


def test_padding_is_left_out_of_functions_of_q_only(tmp_path):
    path = tmp_path / "padded.mint01"
    path.write_text("0.0 0.0 0.0\n" + table() + "1.1 0.0 0.0\n1.2 0.0 0.0\n")
    x, _, _, notes = read_data(path, in_q=True)
    assert (x[0], x[-1], len(x)) == (0.5, 1.0, len(ROWS)) and "3 rows" in notes[0]
    assert len(read_data(path, in_q=False)[0]) == len(ROWS) + 3


def test_uncertainty_from_yaml_file_or_scatter(tmp_path):
    rng = np.random.default_rng(0)
    q = np.arange(0.5, 25, 0.05)
    path = tmp_path / "noisy.dat"
    np.savetxt(path, np.stack([q, 1 + 2 * np.sin(2.4 * q) * np.exp(-q / 2) + rng.normal(scale=0.03, size=len(q))], 1))
    estimated = read_spectrum(path, "xray-sq")
    assert float(estimated.sigma[0]) == pytest.approx(0.03, rel=0.2)
    assert "no uncertainty given" in estimated.notes[0]
    assert float(read_spectrum(path, "xray-sq", sigma=0.5).sigma[3]) == 0.5
    with_errors = tmp_path / "errors.dat"
    with_errors.write_text(table().replace("0.0300", "0.0000"))
    assert read_spectrum(with_errors, "xray-sq").sigma.tolist() == [0.01, 0.01, 0.02, 0.02, 0.02, 0.02]


@pytest.mark.parametrize(
    "content, what",
    [
        (b"Once upon a time\nthere was a glass.\n", "no table of numbers"),
        (b"", "no table of numbers"),
        (b"\x89PNG\0\0\0", "binary"),
        (table().replace("0.9000", "nan").encode(), "line 4"),
        (table().replace("0.9000", "inf").encode(), "line 4"),
        (table().replace("0.8000", "0.4000").encode(), "line 4"),
        (table().replace("0.8000", "0.7000").encode(), "line 4"),
        (table().replace("1.3000", "oops").encode(), "line 5"),
        (table().replace("0.8000 0.9000 0.0200", "0.8000 0.9000").encode(), "line 4"),
        (table().replace("0.0300", "-0.0300").encode(), "line 6"),
        (("\n".join(str(v) for v in range(9))).encode(), "no table of numbers"),
    ],
)
def test_bad_files_are_refused_with_the_place(tmp_path, content, what):
    path = tmp_path / "bad.dat"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_spectrum(path, "xray-sq")
    assert "bad.dat" in str(error.value) and what in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_file_and_bad_columns(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_table(tmp_path / "nowhere.dat")
    path = tmp_path / "good.dat"
    path.write_text(table())
    for columns in ([1, 9], [0, 1], [1]):
        with pytest.raises(InputError, match="columns"):
            read_spectrum(path, "gr", columns=columns)
    with pytest.raises(InputError, match="did you mean 'xray-sq'"):
        read_spectrum(path, "xray-s")
