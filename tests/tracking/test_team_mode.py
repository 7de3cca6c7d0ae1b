"""A group at work: a real PostgreSQL, MLflow with passwords, DVC over SSH; two people with a clone each."""

import importlib.util
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from ports import free_ports
from small_project import git, write_small_prior, write_target

from glass_ml.cli.main import main

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parents[2] / "deploy" / "team-server"
NAME = "glass-a-Si"
PEOPLE = ("ada", "bob")
PARAMS = """\
promotion:
  held_out_loss: {"0.10": 0.6}
  evaluation: {reference.coordination.emd: 100.0}
"""
WRITERS, TRIALS = 8, 5


def missing():
    """Why there can be no server here; empty where there can."""
    modules = [name for name in ("psycopg", "flask_wtf", "dvc_ssh") if importlib.util.find_spec(name) is None]
    if modules:
        return f"pip install glass_ml[team]: {', '.join(modules)} missing"
    if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        return "apt-get install postgresql"
    if not Path("/usr/sbin/sshd").is_file():
        return "apt-get install openssh-server"
    return ""


@dataclass(frozen=True)
class Server:
    """A running server: its folder, addresses, and where people's key is."""

    folder: Path
    mlflow: str
    optuna: str
    dvc: str
    key: Path

    def call(self, action):
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        return subprocess.run([SCRIPT, action, self.folder], env=environment, capture_output=True, text=True)

    def secret(self, name):
        return (self.folder / "secrets" / name).read_text().strip()


@pytest.fixture(scope="module")
def server():
    if reason := missing():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="team-", dir="/tmp"))  # the account of PostgreSQL must get into it
    folder.chmod(0o711)
    ports = dict(zip(("MLFLOW_PORT", "POSTGRES_PORT", "SSH_PORT"), free_ports(3), strict=True))
    account = "postgres" if os.geteuid() == 0 else os.environ.get("USER", str(os.geteuid()))
    made = Server(
        folder / "server",
        f"http://127.0.0.1:{ports['MLFLOW_PORT']}",
        f"postgresql://optuna@127.0.0.1:{ports['POSTGRES_PORT']}/optuna",
        f"ssh://{account}@127.0.0.1:{ports['SSH_PORT']}{folder}/server/dvc",
        folder / "key",
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, port in ports.items():
            patch.setenv(name, str(port))
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
            patch.delenv(name, raising=False)
        started = made.call("start")
        try:
            assert started.returncode == 0, started.stderr
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", made.key], check=True)
            with (made.folder / "ssh" / "authorized_keys").open("a") as stream:
                stream.write(made.key.with_suffix(".pub").read_text())
            add_people(made)
            yield made
        finally:
            stopped = made.call("stop")
            shutil.rmtree(folder, ignore_errors=True)
    assert stopped.returncode == 0, stopped.stderr


def add_people(server):
    from mlflow.server import get_app_client

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        patch.setenv("MLFLOW_TRACKING_PASSWORD", server.secret("admin"))
        for person in PEOPLE:
            get_app_client("basic-auth", server.mlflow).create_user(person, password_of(person))


def password_of(person):
    return f"pass-of-{person}-0123"


def environment_of(server, person):
    return {
        "MLFLOW_TRACKING_URI": server.mlflow,
        "MLFLOW_TRACKING_USERNAME": person,
        "MLFLOW_TRACKING_PASSWORD": password_of(person),
        "PGPASSWORD": server.secret("optuna"),
    }


def dvc(folder, *arguments):
    line = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, env={**os.environ, "DVC_NO_ANALYTICS": "1"})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def clones(server, tmp_path_factory):
    """The project of the first person, pushed; the clone of the second, pulled."""
    from ase.build import bulk
    from ase.io import write

    from glass_ml.provenance.data import content_md5

    folder = tmp_path_factory.mktemp("clones")
    first, second = folder / "ada", folder / "bob"
    first.mkdir()
    git(first, "init", "-q")
    dvc(first, "init", "-q")
    dvc(first, "remote", "add", "-q", "-d", "group", server.dvc)
    write_target(first / "targets" / "a-Si")
    (first / "data").mkdir()
    frames = [bulk("Si", cubic=True) * (2, 2, 2) for _ in range(2)]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.1, seed=seed)
    write(first / "data" / "reference.extxyz", frames)
    card = write_small_prior(first / "models" / "a-Si") / "model.json"
    content = json.loads(card.read_text())
    card.write_text(json.dumps({**content, "data_md5": content_md5(first / "data", first)}))
    (first / "params.yaml").write_text(PARAMS)
    (first / "dvc.yaml").write_text("stages: {}\n")
    (first / ".gitignore").write_text("/mlruns\n/out\n")
    dvc(first, "add", "-q", "data", "models")
    git(first, "add", ".")
    git(first, "commit", "-q", "-m", "project")
    subprocess.run(["git", "clone", "-q", first, second], check=True)
    for clone in (first, second):
        dvc(clone, "remote", "modify", "-q", "--local", "group", "keyfile", str(server.key))
    dvc(first, "push", "-q")
    dvc(second, "pull", "-q")
    return first, second


@pytest.fixture
def be(server, monkeypatch):
    """Become a person in a clone."""

    def become(person, clone):
        for name, value in environment_of(server, person).items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(clone)

    monkeypatch.delenv("DVC_ROOT", raising=False)
    return become


def write_at_once(number, clone, environment, address, barrier):
    """One of several writers: registers, records, tunes and promotes."""
    import optuna

    from glass_ml.tracking.inversions import log_inversion
    from glass_ml.tracking.promotion import promote
    from glass_ml.tracking.registry import register_prior
    from glass_ml.tracking.store import open_store

    os.chdir(clone)
    os.environ.update(environment)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    barrier.wait()
    store = open_store()
    register_prior("models/a-Si", system="a-Si", store=store)
    mine = register_prior(f"out/prior-{number}", system="a-Si", store=store)
    for folder in ("out/shared", f"out/inversion-{number}"):
        log_inversion(folder, store=store)
    study = optuna.create_study(storage=address, study_name="together", load_if_exists=True)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=TRIALS)
    promote(NAME, mine.version, "production", force=f"writer {number}", store=store)


def test_eight_writers_on_two_machines_lose_and_double_nothing(server, clones, be, tools):
    import optuna

    from glass_ml.tracking.health import examine
    from glass_ml.tracking.history import events
    from glass_ml.tracking.registry import aliases, versions
    from glass_ml.tracking.store import open_store

    for clone in clones:
        be("ada", clone)
        (clone / "targets" / "sq.yaml").write_text("system: a-Si\n")
        (clone / "targets" / "sq.csv").write_text("1.0,0.5\n1.1,0.6\n")
        tools.write_inversion("out/shared", seed=99)
    assert len({(clone / "out/shared/structures.extxyz").read_bytes() for clone in clones}) == 1
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(WRITERS, timeout=300)
    writers = []
    for number in range(WRITERS):
        person, clone = PEOPLE[number % 2], clones[number % 2]
        be(person, clone)
        tools.write_prior(clone / "out" / f"prior-{number}", seed=number)
        tools.write_inversion(f"out/inversion-{number}", seed=number)
        given = (number, clone, environment_of(server, person), server.optuna, barrier)
        writers.append(context.Process(target=write_at_once, args=given))
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(600)
    assert [writer.exitcode for writer in writers] == [0] * WRITERS

    store = open_store()
    registered = versions(store, NAME)
    assert len(registered) == len({v.tags["model_sha256"] for v in registered}) == WRITERS + 1
    runs = store.client.search_runs(list(store.experiments.values()))
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert Counter(run.data.tags["stage"] for run in runs) == {"register": WRITERS + 1, "invert": WRITERS + 1}
    assert len({run.data.tags.get("inversion_sha256") for run in runs}) == WRITERS + 2  # None: registered
    chain = events(store, NAME, "production")
    assert [e.number for e in chain] == list(range(1, WRITERS + 1)) and not any(e.pending for e in chain)
    assert [e.previous for e in chain] == [None, *(e.version for e in chain[:-1])]
    assert {e.reason.split(" (")[0] for e in chain} == {f"writer {number}" for number in range(WRITERS)}
    assert aliases(store, NAME) == {"candidate": aliases(store, NAME)["candidate"], "production": chain[-1].version}
    trials = optuna.load_study(storage=server.optuna, study_name="together").trials
    assert [trial.number for trial in trials] == list(range(WRITERS * TRIALS))
    assert all(trial.state.is_finished() and trial.value is not None for trial in trials)
    assert not [finding for finding in examine() if finding.status == "wrong"]
    locks = [m for m in store.client.search_registered_models() if m.name.startswith("glass_ml.lock")]
    assert len(locks) <= len(PEOPLE) and "released" in max(locks, key=lambda m: m.name).tags


def test_the_walk_of_two_people(server, clones, be, capsys):
    from glass_ml.provenance.lineage import model_sha256
    from glass_ml.stages.register import register
    from glass_ml.structures.io import read_structures

    def run(*line):
        capsys.readouterr()
        assert main([*line]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    first, second = clones
    be("ada", first)
    small = ["-n", "2", "--atoms", "40", "--seed", "3"]
    register("a-Si")
    run("invert", "targets/a-Si/target.yaml", *small, "--out", "out/ada")
    run("evaluate", "out/ada", "--reference", "data/reference.extxyz")
    version = next(
        v for v in json.loads(run("models", "list", "--json")) if v["model_sha256"] == model_sha256("models/a-Si")
    )
    reason = ["--force", "--reason", "nobody knows who made it"]
    run("models", "promote", NAME, str(version["version"]), "--to", "champion", *reason)

    be("bob", second)
    shutil.rmtree(second / "models")
    shutil.rmtree(second / "mlruns" / "cache", ignore_errors=True)
    run("invert", "targets/a-Si/target.yaml", *small, "--model", f"models:/{NAME}@champion", "--out", "out/bob")
    assert list((second / "mlruns" / "cache").glob("*/model.safetensors")), "not brought by the server"
    found = [(clone / "out" / name / "structures.extxyz") for clone, name in zip(clones, PEOPLE, strict=True)]
    assert (read_structures(found[0]).positions == read_structures(found[1]).positions).all()
    assert "structure" in run("trace", str(found[1]))
    assert main(["ui"]) == 0 and f"open {server.mlflow}" in capsys.readouterr().err
    dvc(second, "checkout", "-q")
    assert not [f for f in json.loads(run("doctor", "--json")) if f["status"] == "wrong"]


def test_no_password_in_what_people_share(server, clones):
    from mlflow import MlflowClient

    words = {server.secret(name) for name in ("admin", "optuna", "database", "session")} | set(map(password_of, PEOPLE))
    for clone in clones:
        for path in (p for p in clone.rglob("*") if p.is_file()):
            assert not [word for word in words if word.encode() in path.read_bytes()], path
    for name in ("admin", "optuna", "database", "session", "pgpass", "auth.ini"):
        assert (server.folder / "secrets" / name).stat().st_mode & 0o777 == 0o600
    lines = [p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline") if p.exists()]
    assert not [line for line in lines for word in words if word.encode() in line]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment_of(server, "ada").items():
            patch.setenv(name, value)
        client = MlflowClient(server.mlflow, server.mlflow)
        runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
        shared = [run.to_dictionary() for run in runs], [dict(v.tags) for v in client.search_model_versions()]
        assert not [word for word in words if word in json.dumps(shared)]
        patch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
        with pytest.raises(Exception, match=r"401|[Aa]uthenticat"):
            client.search_experiments()
