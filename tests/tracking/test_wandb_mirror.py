"""wandb shows what MLflow holds, under the same names, and never stands in its way."""

import os
import signal
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace

import pytest
from wandb_files import curve, records, shown

from glass_ml.cli.main import main
from glass_ml.errors import InputError
from glass_ml.tracking import mirror
from glass_ml.tracking.inversions import log_evaluation, log_inversion
from glass_ml.tracking.registry import register_prior
from glass_ml.tracking.runs import start_run
from glass_ml.tracking.store import preload

MARK = "GLASS_ML_TEST"  # a variable by which the processes of a test are found
RUN = """
import os, signal, sys, time
def state():
    names = {k for k in os.environ if k.startswith("WANDB")}
    return signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), sys.excepthook, sys.exit, names
before = state()
from glass_ml.tracking.runs import start_run
with start_run(stage="tune", system="x", name="n") as run:
    run.log_metrics({"loss": 0.5})
    BODY
assert state() == before
print(sorted(name for name in sys.modules if name.startswith("wandb")))
"""


@pytest.fixture(autouse=True)
def fresh_writer(monkeypatch):
    """A writer of its own for each test, ended with it."""
    monkeypatch.setattr(mirror._Writer, "_one", None)
    monkeypatch.setattr(mirror._Writer, "given_up", False)
    yield
    if mirror._Writer._one:
        mirror._Writer._one._close()


def switch(project, mode):
    (project / "params.yaml").write_text(f"tracking: {{wandb: {mode}}}\n")


@pytest.fixture
def offline(project):
    switch(project, "offline")
    return project


def test_everything_is_there_under_the_names_of_mlflow(offline, store):
    from pytorch_lightning.loggers import MLFlowLogger

    params = {"network": {"layers": 4, "widths": [1, 2]}, "system": "a-Si", "text": "y"}
    tags = {"mark": "123", "mlflow.note.content": "**Well.**"}
    with start_run(stage="train", system="a-Si", name="train a-Si", store=store, params=params, tags=tags) as run:
        logger = MLFlowLogger(tracking_uri=store.uri, run_id=run.id)
        for step in (50, 100, 150):
            logger.log_metrics({"train/loss": 1 / step, "epoch": step // 100}, step)
        run.log_metrics({"held_out_loss": {"0.12": 0.25}, "held out.r_factor": 0.125})
        (offline / "figure 1.png").write_bytes(b"png")
        run.log_artifact(offline / "figure 1.png", "figures")
    recorded, found = store.client.get_run(run.id), shown(offline, run.id)
    summary = {k: v for k, v in found["summary"].items() if not k.startswith("_") and k != "step"}
    assert summary == recorded.data.metrics and len(summary) == 4
    for name in recorded.data.metrics:
        history = store.client.get_metric_history(run.id, name)
        assert sorted(curve(found, name)) == sorted((m.step, m.value) for m in history)
    assert [step for step, _ in curve(found, "train/loss")] == [50, 100, 150]
    own = {k: v for k, v in recorded.data.tags.items() if not k.startswith("mlflow.")}
    assert own.items() <= found["config"].items()
    assert found["config"]["network.layers"] == 4 and found["config"]["network.widths"] == [1, 2]
    assert {*own, *recorded.data.params, "mlflow_run_id"} == {*found["config"]} - {"_wandb"}
    page = found["run"]
    assert (page.run_id, page.display_name, page.job_type) == (run.id, "train a-Si", "train")
    assert list(page.tags) == ["train", "a-Si"] and found["exit"] == 0
    assert any(r.run.notes == "**Well.**" for r in records(next((offline / "wandb").glob("*/*.wandb"))))
    files = {p.relative_to(found["files"]).as_posix() for p in found["files"].rglob("*") if p.is_file()}
    assert files == {"params.json", "figures/figure 1.png"}


@pytest.mark.parametrize(
    ("error", "code"), [(None, 0), (ValueError("no"), 1), (KeyboardInterrupt(), 255), (SystemExit(3), 1)]
)
def test_how_a_run_ended(offline, store, error, code):
    try:
        with start_run(stage="invert", system="x", name="n", store=store) as run:
            if error:
                raise error
    except BaseException as raised:
        assert raised is error
    assert shown(offline, run.id)["exit"] == code


def test_children_are_in_the_group_of_their_parent_and_open_beside_it(offline, store):
    with start_run(stage="tune", system="x", name="sweep", store=store) as parent:
        children = []
        for number in range(2):
            with start_run(stage="tune", system="x", name=f"trial {number}", store=store, parent=parent.id) as child:
                child.log_metrics({"loss": number})
                children.append(child)
        parent.log_metrics({"best": 0.0})
    groups = {shown(offline, run.id)["run"].run_group for run in (parent, *children)}
    assert groups == {f"sweep {parent.id[:8]}"}
    assert [shown(offline, run.id)["summary"]["loss"] for run in children] == [0, 1]
    assert shown(offline, parent.id)["summary"]["best"] == 0
    with start_run(stage="tune", system="x", name="other", store=store) as other:
        pass
    assert shown(offline, other.id)["run"].run_group not in groups


def test_a_run_gone_on_with_is_the_same_run_with_its_whole_curve(offline, store):
    with pytest.raises(KeyboardInterrupt), start_run(stage="train", system="x", name="n", store=store, key="k") as one:
        one.log_metrics({"loss": 1.0}, 1)
        raise KeyboardInterrupt
    with start_run(stage="train", system="x", name="n", store=store, key="k") as two:
        two.log_metrics({"loss": 0.5}, 2)
    assert one.id == two.id
    assert curve(shown(offline, two.id), "loss") == [(1, 1.0), (2, 0.5)]
    assert shown(offline, two.id)["exit"] == 0


def test_a_look_at_a_run_that_goes_on_takes_no_half_of_a_row():
    """Between the reading of one curve and the next, both get a further point."""
    points = {"a": [(1000, 1)], "b": [(1000, 1)]}

    def history(run_id, name):
        found = [SimpleNamespace(timestamp=t, step=step, value=0.5) for t, step in points[name]]
        if name == "a":
            for known in points.values():
                known.append((5000, 2))
        return found

    client = SimpleNamespace(get_metric_history=history)
    run = SimpleNamespace(info=SimpleNamespace(run_id="x"), data=SimpleNamespace(metrics={"a": 0, "b": 0}))
    assert mirror._rows(client, run, 4000) == [{"a": 0.5, "b": 0.5, "step": 1}]
    points["a"].pop(), points["b"].pop()
    assert mirror._rows(client, run, 6000)[1:] == [{"b": 0.5, "step": 2}]  # what that would have made of it


def test_nobody_waits_for_wandb_behind_the_lock(offline, store, tools, monkeypatch):
    from glass_ml.tracking import runs
    from glass_ml.tracking.store import _lock

    held = []

    @contextmanager
    def watched(store, run_id):
        held.append(_lock(store.folder, "registry").is_locked)
        yield

    for module in (mirror, runs):
        monkeypatch.setattr(module, "mirrored", watched)
    register_prior("models/a-Si", system="a-Si", store=store)
    log_inversion(tools.write_inversion("out/one"), store=store)
    assert held == [False, False]
    with store.lock():
        assert _lock(store.folder, "registry").is_locked


def test_a_run_that_goes_on_is_shown(offline, store, monkeypatch):
    monkeypatch.setattr(mirror, "EVERY", 0.05)
    with start_run(stage="train", system="x", name="n", store=store) as run:
        run.log_metrics({"loss": 1.0}, 7)
        for _ in range(400):
            logs = list((offline / "wandb").glob(f"*-{run.id}/*.wandb"))
            if logs and curve(shown(offline, run.id, ended=False), "loss") == [(7, 1.0)]:
                break
            time.sleep(0.05)
        else:
            pytest.fail("it never came")
        assert shown(offline, run.id, ended=False)["exit"] is None


def test_evaluation_comes_after_the_inversion(offline, store, tools):
    folder = tools.write_inversion("out/one")
    run_id = log_inversion(folder, store=store)
    assert shown(offline, run_id)["run"].job_type == "invert"
    (folder / "evaluation.json").write_text('{"reference": {"angle.rmse": {"mean": 0.25}}}')
    log_evaluation(folder, {"angle": 0.25}, store=store)
    assert shown(offline, run_id)["summary"]["angle.rmse"] == 0.25
    assert (shown(offline, run_id)["files"] / "structures.extxyz").read_bytes() == (
        folder / "structures.extxyz"
    ).read_bytes()
    # What wandb keeps is a copy, and no result to be found again.
    from glass_ml.provenance.results import find_files

    assert [path.parent for path in find_files(offline, ("structures.extxyz",))] == [folder.resolve()]


def processes(mark):
    """Numbers of the living processes that a test has started."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{MARK}={mark}".encode() in environ.read_bytes():
                found.append(environ.parent.name)
        except OSError:
            continue
    return found


def start(project, body="pass"):
    mark = uuid.uuid4().hex
    environment = {**os.environ, MARK: mark, "HOME": str(project / "home")}
    process = subprocess.Popen(
        [sys.executable, "-c", RUN.replace("BODY", body)], cwd=project, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    return process, mark


def gone(mark):
    for _ in range(400):
        if not processes(mark):
            return True
        time.sleep(0.05)
    return False


def test_the_process_is_left_as_it_was_and_nothing_stays_behind(offline):
    process, mark = start(offline)
    assert process.communicate(timeout=120) == ("[]\n", "")
    assert process.returncode == 0 and processes(mark) == []
    assert len(list((offline / "wandb").glob("offline-run-*/*.wandb"))) == 1
    assert not (offline / "home").exists()  # nothing is written outside the project


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_leaves_no_other_behind(offline, store, number):
    process, mark = start(offline, "print(run.id, flush=True); time.sleep(300)")
    run_id = process.stdout.readline().strip()
    until = time.monotonic() + 60
    while len(processes(mark)) < 3 or not list((offline / "wandb").glob(f"*-{run_id}/*.wandb")):
        assert process.poll() is None and time.monotonic() < until, "no writer, or no service of wandb"
        time.sleep(0.05)
    assert len(processes(mark)) == 3
    process.send_signal(number)
    process.communicate(timeout=60)
    assert gone(mark)
    assert shown(offline, run_id)["exit"] == 255
    assert store.client.get_run(run_id).info.status == ("RUNNING" if number == signal.SIGKILL else "KILLED")


@pytest.mark.parametrize("text", ["", "tracking: {}", "tracking: {wandb: off}", "tracking: {wandb: 'off'}"])
def test_off_starts_nothing(project, text, monkeypatch):
    (project / "params.yaml").write_text(f"systems: {{}}\n{text}\n")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: pytest.fail("looked for"))
    loaded = "wandb" in sys.modules
    with start_run(stage="tune", system="x", name="n"):
        pass
    assert mirror._Writer._one is None and ("wandb" in sys.modules) == loaded
    assert not (project / "wandb").exists()


def test_off_imports_nothing(project):
    process, _ = start(project)
    assert process.communicate(timeout=120) == ("[]\n", "")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{wandb: on}", "'True' is not of the type off or offline or online"),
        ("{wandb: ofline}", "'ofline' is not of the type"),
        ("{wandbb: off}", "unknown key 'wandbb'"),
        ("offline", "'offline' is not a mapping"),
    ],
)
def test_an_unknown_value_is_refused_before_anything_is_done(project, store, section, message):
    (project / "params.yaml").write_text(f"tracking: {section}\n")
    with pytest.raises(InputError) as caught, start_run(stage="tune", system="x", name="n", store=store):
        pass
    assert message in str(caught.value) and "params.yaml: tracking" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert store.client.search_runs(list(store.experiments.values())) == []


@pytest.mark.parametrize("spec", [None, ModuleSpec("wandb", None)], ids=["nothing", "a folder of that name"])
def test_without_wandb_one_line_says_what_to_install(offline, store, monkeypatch, capsys, spec):
    import glass_ml.stages.tune  # noqa: F401  (what it needs is found before)

    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    for attempt in (preload, lambda: start_run(stage="tune", system="x", name="n", store=store).__enter__()):
        with pytest.raises(
            InputError, match=r"wandb is not installed.*pip install -c constraints.txt -e '\.\[wandb\]'"
        ):
            attempt()
    assert main(["tune", "a-Si"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "wandb is not installed" in error
    assert store.client.search_runs(list(store.experiments.values())) == []


BROKEN = {
    "hangs": "import time; time.sleep(60)",
    "dies": "raise SystemExit(3)",
    "babbles": "print('hello', flush=True); input()",
    "refuses": 'import sys\nfor line in sys.stdin: print(\'{"error": "no space left"}\', flush=True)',
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_wandb_costs_one_line(offline, store, monkeypatch, capsys, tmp_path, kind):
    program = tmp_path / "broken.py"
    program.write_text(BROKEN[kind])
    monkeypatch.setattr(mirror, "PROGRAM", program)
    monkeypatch.setattr(mirror, "PATIENCE", 1.0)
    with start_run(stage="invert", system="x", name="n", store=store) as run:
        run.log_metrics({"loss": 0.5})
    found = store.client.get_run(run.id)
    assert (found.info.status, found.data.metrics) == ("FINISHED", {"loss": 0.5})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("glass-ml: not mirrored to wandb: ")
    asked = []
    monkeypatch.setattr(mirror._Writer, "ask", lambda *content, **labels: asked.append(content))
    with start_run(stage="invert", system="x", name="again", store=store) as run:
        pass
    assert store.client.get_run(run.id).info.status == "FINISHED"
    if kind in ("hangs", "dies"):  # is not tried again in this process
        assert capsys.readouterr().err == "" and not asked


def test_online_without_an_account_is_kept_for_later(project, store, monkeypatch, capsys):
    switch(project, "online")
    monkeypatch.setenv("HOME", str(project / "home"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    runs = []
    for name in ("one", "two"):
        with start_run(stage="invert", system="x", name=name, store=store) as run:
            run.log_metrics({"loss": 0.5})
            runs.append(run)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "wandb takes no runs" in lines[0] and "'wandb sync'" in lines[0]
    for run in runs:
        assert shown(project, run.id)["summary"]["loss"] == 0.5
        assert list((project / "wandb").glob(f"offline-run-*-{run.id}"))


def test_the_projects_own_file_leaves_it_off():
    assert mirror.tracking_config(Path(__file__).parent).wandb == "off"
