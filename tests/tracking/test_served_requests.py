"""A served model reads what comes with the request, and nothing of the machine that it runs on."""

import base64
import json
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from small_project import write_target

from glass_ml.errors import InputError
from glass_ml.observables.scattering_table import SHIPPED, table_name
from glass_ml.tracking.requests import Refused, answering, read_request

HEAD = "system: a-Si\ncomposition: {Si: 1}\ndensity: 0.05\nmeasurements:\n"
EXAFS = "{file: chi.csv, kind: exafs, edge: Si K, sigma: 0.1%s}"
CHI = "".join(f"{3 + 0.05 * k:.2f},{0.1 * (-1) ** k}\n" for k in range(100))
SECRET = "1.0,0.5\n1.1,0.6\nsecret,1\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder for a request, beside files of the server that it must not see."""
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "gr.csv").write_text(SECRET)
    (tmp_path / "request").mkdir()
    monkeypatch.chdir(tmp_path / "server")
    return tmp_path / "request"


def target(entry: str) -> str:
    return f"{HEAD}  - {entry}\n"


def test_a_target_with_its_files(folder, tmp_path):
    whole = write_target(tmp_path / "sent")
    files = {name: (whole.parent / name).read_text() for name in ("gr.csv", "sq.csv")}
    found = read_request(folder, whole.read_text(), json.dumps(files))
    assert [Path(m.file).parent for m in found.measurements] == [folder, folder]
    assert found.path.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("{server}/gr.csv", "is not a bare name"),
        ("../server/gr.csv", "is not a bare name"),
        ("..", "is not a bare name"),
        ("~/gr.csv", "is not a bare name"),
        ("gr.csv", "did not come with the request"),
        ("/etc/passwd", "is not a bare name"),
    ],
)
def test_files_of_the_server_are_out_of_reach(folder, name, words):
    name = name.format(server=Path.cwd())
    for key, entry in (("file", f"{{file: {name}, kind: gr, sigma: 0.1}}"), ("table", EXAFS % f", table: {name}")):
        with pytest.raises(Refused, match=words) as caught, answering(folder):
            read_request(folder, target(entry), json.dumps({"chi.csv": CHI}))
        said = str(caught.value)
        assert f"target.yaml: measurements[1].{key}" in said and "secret" not in said and "\n" not in said
        assert not any(folder.iterdir())


def test_a_target_is_text_and_never_a_path(folder, tmp_path):
    path = write_target(tmp_path / "server" / "mine")
    for text in (str(path), "mine/target.yaml", "", "[1]"):
        with pytest.raises(Refused, match=r"target: not the text of a TARGET\.yaml"), answering(folder):
            read_request(folder, text, None)


@pytest.mark.parametrize("name", ["a/b.csv", "../gr.csv", "/tmp/gr.csv", "..", "", "a\\b", "target.yaml"])
def test_files_have_bare_names(folder, name):
    with pytest.raises(Refused, match="is not the bare name of a measured file"), answering(folder):
        read_request(folder, target("{file: gr.csv, kind: gr, sigma: 0.1}"), json.dumps({name: "1,2\n"}))
    assert not any(folder.iterdir())


@pytest.mark.parametrize("files", ["{", "[]", '"x"', '{"a": 1}', '{"a": {"base64": "?"}}'])
def test_files_that_are_none(folder, files):
    with pytest.raises(Refused, match="files: cannot be read"), answering(folder):
        read_request(folder, target("{file: a, kind: gr, sigma: 0.1}"), files)


def test_scattering_tables_are_those_of_the_package_or_of_the_request(folder, tmp_path):
    """A table of the project in which the server runs is not taken."""
    name = table_name("Si K", ["Si"])
    own = tmp_path / "server" / "xas-tables"
    own.mkdir()
    for known in (name, table_name("Si K", ["Ge", "Si"])):
        (own / known).write_bytes(b"of the server")
    found = read_request(folder, target(EXAFS % ""), json.dumps({"chi.csv": CHI}))
    assert Path(found.measurements[0].settings.table).read_bytes() == (SHIPPED / name).read_bytes()
    sent = {"chi.csv": CHI, "mine.safetensors": {"base64": base64.b64encode((SHIPPED / name).read_bytes()).decode()}}
    found = read_request(folder, target(EXAFS % ", table: mine.safetensors"), json.dumps(sent))
    assert Path(found.measurements[0].settings.table) == folder / "mine.safetensors"
    germanium = target(EXAFS % "").replace("{Si: 1}", "{Si: 1, Ge: 1}")
    with pytest.raises(Refused, match="no scattering table for it came with the request"), answering(folder):
        read_request(folder, germanium, json.dumps({"chi.csv": CHI}))


def test_a_surrogate_of_the_server_is_not_read(folder):
    entry = "{file: gr.csv, kind: xanes, surrogate: models, sigma: 0.1}"
    with pytest.raises(Refused, match="a served prior takes no surrogate"), answering(folder):
        read_request(folder, target(entry), json.dumps({"gr.csv": "1,2\n"}))


def test_answers_name_no_path_of_the_server(folder):
    entry = "{file: gr.csv, kind: gr, sigma: 0.1, x_range: [1, 90]}"
    with pytest.raises(Refused) as caught, answering(folder):
        read_request(folder, target(entry), json.dumps({"gr.csv": "".join(f"{k},1\n" for k in range(1, 9))}))
    assert str(caught.value).startswith("target.yaml: measurements[1].x_range: [1, 90] is outside the data")
    assert str(folder) not in str(caught.value) and caught.value.get_http_status_code() == 400
    with (
        pytest.raises(MlflowException, match=r"^the request failed \(OSError\): see the server's log$") as failed,
        answering(),
    ):
        raise OSError(f"{folder}/secret")
    assert not isinstance(failed.value, InputError)
