"""Other ways to the same trials: a database, a gRPC proxy, and the dashboard on a journal."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
from ports import free_port
from small_sweep import finished_numbers
from test_trials_shared import sweep_of
from waiting import answer

from glass_ml.cli.main import main
from glass_ml.tuning.record import read_manifest, record_sweep
from glass_ml.tuning.storage import open_storage
from glass_ml.tuning.workers import work


@contextmanager
def server(*command: str) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def test_a_sweep_in_a_database_is_recorded_from_there(sweep_project: Path, capsys: pytest.CaptureFixture) -> None:
    url = f"sqlite:///{sweep_project}/group.db"
    assert main(["tune", "a-Si", "--trials", "2", "--workers", "1", "--storage", url, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    folder = Path("sweeps/a-Si")
    assert read_manifest(folder)["storage"] == url and not (folder / "journal.log").exists()
    study = optuna.load_study(study_name=result["study"], storage=url)
    assert finished_numbers(study) == [0, 1]
    assert record_sweep(folder) == record_sweep(folder)


def test_trials_through_a_proxy(tmp_path: Path) -> None:
    pytest.importorskip("grpc", reason="pip install grpcio")
    port = free_port()
    code = (
        "import sys; from optuna.storages import run_grpc_proxy_server\n"
        "from glass_ml.tuning.storage import open_storage\n"
        "run_grpc_proxy_server(open_storage(sys.argv[1]), host='127.0.0.1', port=int(sys.argv[2]))"
    )
    journal = str(tmp_path / "journal.log")
    with server(sys.executable, "-c", code, journal, str(port)):
        sweep = sweep_of(tmp_path, f"grpc://127.0.0.1:{port}", trials=4)
        work(sweep)
    study = optuna.load_study(study_name=sweep.name, storage=open_storage(journal))
    assert finished_numbers(study) == [0, 1, 2, 3]


def test_the_dashboard_opens_the_journal(tmp_path: Path) -> None:
    pytest.importorskip("optuna_dashboard", reason="pip install optuna-dashboard")
    sweep = sweep_of(tmp_path, str(tmp_path / "journal.log"), trials=3)
    work(sweep)
    port = free_port()
    command = Path(sys.executable).with_name("optuna-dashboard")
    with server(str(command), str(tmp_path / "journal.log"), "--port", str(port)) as process:
        studies = json.loads(answer(f"http://127.0.0.1:{port}/api/studies", process))["study_summaries"]
    assert [s["study_name"] for s in studies] == ["valley"]
    assert studies[0]["directions"] == ["minimize", "minimize"]
