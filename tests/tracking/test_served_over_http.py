"""`mlflow models serve` inverts a spectrum that comes with the request."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from ase.io import read
from ports import free_port
from small_project import write_target
from waiting import LONG, answer

from glass_ml.provenance.lineage import read_stamp, structure_sha256
from glass_ml.provenance.models import model_sha256
from glass_ml.tracking.registry import register_prior
from glass_ml.tracking.store import open_store


@pytest.fixture
def served(project, tmp_path):
    """The address of a server of version 1 of the small prior."""
    store = open_store()
    register_prior("models/a-Si", system="a-Si", store=store)
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/glass-a-Si/1"]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # as in an activated environment
    environment = {**os.environ, "PATH": path, "MLFLOW_TRACKING_URI": store.uri}
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        answer(f"{address}/ping", server)
        yield address
    except AssertionError as error:
        raise AssertionError((tmp_path / "log").read_text()[-2000:]) from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(300)


def post(address, **content):
    request = urllib.request.Request(
        f"{address}/invocations", json.dumps(content).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=LONG) as stream:
        return json.loads(stream.read())["predictions"]


@pytest.mark.slow
def test_an_inversion_over_http(served, project):
    folder = write_target(project / "sent").parent
    files = {name: (folder / name).read_text() for name in ("gr.csv", "sq.csv")}
    row = {"target": (folder / "target.yaml").read_text(), "files": json.dumps(files)}
    params = {"n_structures": 1, "n_atoms": 16, "seed": 4}
    (found,) = post(served, dataframe_records=[row], params=params)
    atoms = read(io.StringIO(found["structure"]), format="extxyz")
    stamped = read_stamp(atoms)
    assert len(atoms) == 16 and stamped.structure_sha256 == structure_sha256(atoms)
    assert stamped.lineage.model_sha256 == model_sha256("models/a-Si") and stamped.lineage.seed == 4
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(served, dataframe_records=[{"density": "2.28 g/cm3"}])
    answer = refused.value.read().decode()
    assert "neither a target nor a composition" in answer and "Traceback" not in answer and 'File "' not in answer
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(served, dataframe_records=[{"target": str(folder / "target.yaml")}])
    answer = refused.value.read().decode()
    assert "not the text of a TARGET.yaml" in answer and "xray-sq" not in answer and refused.value.code == 400
