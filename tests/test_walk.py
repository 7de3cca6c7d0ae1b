"""The whole walk on a small prior: target in, traced structures out; killed, resumed, copied, tampered with."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk
from small_project import write_small_prior, write_target

from glass_ml.analysis.references import reference_record
from glass_ml.analysis.verdict import verdict
from glass_ml.cli.main import main

SMALL = ["-n", "3", "--atoms", "40", "--seed", "5", "--no-track"]
FILES = {"structures.extxyz", "lineage.json", "metrics.json", "spectra.csv", "report.html", "target.yaml"}


def command(out: str, *more: str) -> list[str]:
    return ["invert", "targets/a-Si/target.yaml", *SMALL, "--out", out, *more]


def start(out: str, *more: str) -> subprocess.Popen:
    line = [sys.executable, "-m", "glass_ml.cli.main", *command(out, *more)]
    return subprocess.Popen(line, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)


def test_a_killed_inversion_resumes_to_the_same_bytes(project: Path) -> None:
    assert main(command("whole", "--processes", "1")) == 0
    killed = start("killed", "--processes", "2")
    deadline = time.monotonic() + 120
    while not (done := list(Path("killed/.replicas").glob("*/replicas-*.npz"))):
        assert killed.poll() is None and time.monotonic() < deadline, "it ended before it could be killed"
        time.sleep(0.01)  # waits for another process
    killed.kill()
    killed.wait()
    with pytest.raises(ProcessLookupError):  # its workers end with it
        while time.monotonic() < deadline:
            os.killpg(killed.pid, 0)
            time.sleep(0.05)
    kept = {file.name: file.stat().st_mtime_ns for file in done if file.exists()}
    assert kept and not Path("killed/structures.extxyz").exists()

    assert main(command("killed")) == 0
    assert Path("killed/structures.extxyz").read_bytes() == Path("whole/structures.extxyz").read_bytes()
    assert Path("killed/metrics.json").read_bytes() == Path("whole/metrics.json").read_bytes()
    assert {p.name for p in Path("killed").iterdir()} >= FILES
    assert not Path("killed/.replicas").exists()


def test_a_finished_inversion_is_kept_and_another_seed_is_another(project: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(command("a")) == 0
    before = Path("a/structures.extxyz").stat().st_mtime_ns
    capsys.readouterr()
    assert main(command("a", "--json")) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert Path("a/structures.extxyz").stat().st_mtime_ns == before
    assert metrics["n_structures"] == 3 and metrics["measurements"]["sq"]["use"] == "validate"
    first = Path("a/structures.extxyz").read_bytes()
    assert main([*command("a"), "--seed", "6"]) == 0
    assert Path("a/structures.extxyz").read_bytes() != first


def test_the_held_out_measurement_has_no_influence(project: Path) -> None:
    from glass_ml.structures.io import read_structures

    assert main(command("a")) == 0
    table = np.loadtxt("targets/a-Si/sq.csv", delimiter=",")
    np.savetxt("targets/a-Si/sq.csv", np.column_stack([table[:, 0], 2 - table[:, 1]]), delimiter=",")
    assert main(command("b")) == 0
    a, b = read_structures("a/structures.extxyz"), read_structures("b/structures.extxyz")
    assert (a.positions == b.positions).all()
    misfit = [json.loads(Path(d, "metrics.json").read_text())["measurements"] for d in "ab"]
    assert misfit[0]["sq"]["r_factor"] != misfit[1]["sq"]["r_factor"]
    assert misfit[0]["gr"] == misfit[1]["gr"]


def test_guidance_improves_the_fit_and_keeps_atoms_apart(project: Path) -> None:
    recipe = (
        "systems: {a-Si: {target: {reference: none}, "
        "sampling: {schedule: {steps: 100, sigma_max: 1.5, rho: 7.0}, guidance: {kind: %s}}}}"
    )
    found = {}
    for kind in ("none", "decoupled"):
        Path("params.yaml").write_text(recipe % kind)
        assert main(command(kind)) == 0
        found[kind] = json.loads(Path(kind, "metrics.json").read_text())
    chi2 = {kind: metrics["measurements"]["gr"]["chi2_reduced"] for kind, metrics in found.items()}
    assert chi2["decoupled"] < 0.2 * chi2["none"]
    assert found["decoupled"]["structure"]["too_close"]["mean"] == 0


def test_trace_verifies_a_copy_and_names_what_changed(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(command("a")) == 0
    box = tmp_path / "box"
    box.mkdir()
    copy = shutil.copy("a/structures.extxyz", box)
    assert main(["trace", str(copy)]) in (0, 1)  # the small prior's training data do not exist
    capsys.readouterr()

    def checks() -> dict[str, str]:
        capsys.readouterr()
        main(["trace", str(copy), "--json"])
        document = json.loads(capsys.readouterr().out)
        return {check["name"]: check["status"] for check in document["checks"]}

    assert checks()["structure"] == "ok" and checks()["model"] == "ok"
    weights = Path("models/a-Si/model.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert checks()["model"] == "changed" and checks()["structure"] == "ok"
    content[-1] ^= 1
    weights.write_bytes(content)
    text = Path(copy).read_text().splitlines()
    symbol, x, y, z = text[2].split()
    text[2] = f"{symbol} {float(x) + 0.00001:.8f} {y} {z}"
    Path(copy).write_text("\n".join(text) + "\n")
    assert checks()["structure"] == "changed" and checks()["model"] == "ok"
    assert main(["trace", str(copy)]) == 1


def test_the_folder_of_an_inversion_is_judged_without_its_prior(project: Path) -> None:
    """What the card knows of the material goes with the structures, to the report and to the evaluation."""
    atoms = bulk("Si", cubic=True).repeat(2)
    record = reference_record({"reference-x.extxyz": [atoms]})
    write_small_prior(Path("models/a-Si"), references=record)
    assert main(command("a")) == 0
    shutil.rmtree("models")
    metrics = json.loads(Path("a/metrics.json").read_text())
    assert metrics["references"] == record
    said = verdict(metrics)
    assert said.headline.endswith("unlike the reference structures.")  # an untrained prior, and a crystal
    assert said.headline in Path("a/report.html").read_text() and "reference-x.extxyz" in said.text()
    assert main(["evaluate", "a", "--no-track"]) == 0
    evaluation = json.loads(Path("a/evaluation.json").read_text())
    assert evaluation["verdict"] == said.headline and "references" not in evaluation


def test_references_of_a_later_version_are_refused_before_anything_is_computed(
    project: Path, capsys: pytest.CaptureFixture
) -> None:
    write_small_prior(Path("models/a-Si"), references={"version": 99})
    assert main(command("a")) == 2
    assert "reference descriptors of version 99" in capsys.readouterr().err and not Path("a").exists()


def test_evaluate_recomputes_what_invert_said(project: Path) -> None:
    from glass_ml.files import sha256_file
    from glass_ml.stages.evaluate import evaluate, rounded

    assert main(command("a")) == 0
    said = json.loads(Path("a/metrics.json").read_text())["measurements"]
    shutil.rmtree("targets")  # the folder of the inversion holds its own copy of the data
    found = evaluate("a", "a/structures.extxyz", track=False)
    for name, measurement in said.items():
        assert found["measurements"][name]["r_factor"] == pytest.approx(measurement["r_factor"], rel=1e-5)
    assert found["reference"]["angle.rmse"]["mean"] < 1.0
    assert found["reference_sha256"] == sha256_file("a/structures.extxyz")
    written = Path("a/evaluation.json").read_bytes()
    assert json.loads(written) == found and rounded([{"sum": 0.1 + 0.2}]) == [{"sum": 0.3}]
    threads = torch.get_num_threads()
    torch.set_num_threads(3 - min(threads, 2))
    try:
        evaluate("a", "a/structures.extxyz", track=False)
    finally:
        torch.set_num_threads(threads)
    assert Path("a/evaluation.json").read_bytes() == written


def test_a_folder_of_its_own_data_is_written_to(project: Path, capsys: pytest.CaptureFixture) -> None:
    folder = write_target(project / "mine").parent
    one = ["-n", "1", "--atoms", "32", "--no-track", "--out"]
    assert main(["invert", "mine/target.yaml", *one, "mine"]) == 0
    assert {p.name for p in folder.iterdir()} >= FILES | {"gr.csv", "sq.csv"}
    assert main(["evaluate", "mine", "--no-track"]) == 0
    # The only measured files stay; a copy of an earlier inversion may go.
    measured = (folder / "gr.csv").read_bytes()
    other = write_target(project / "other")
    (other.parent / "gr.csv").write_bytes(measured + b"6.0,1.0\n")
    assert main(["invert", "mine/target.yaml", *one, "copies"]) == 0
    assert main(["invert", "other/target.yaml", *one, "copies"]) == 0
    assert Path("copies/gr.csv").read_bytes() != measured
    assert main(["invert", "other/target.yaml", *one, "mine"]) == 2
    assert "mine/gr.csv: would be overwritten" in capsys.readouterr().err
    assert (folder / "gr.csv").read_bytes() == measured
    (other.parent / "b.yaml").write_text(other.read_text() + "# b\n")
    assert main(["invert", "other/b.yaml", *one, "other"]) == 2
    assert "other/target.yaml: would be overwritten" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: rename(folder, "sq.csv", "other/gr.csv"), "two files of measurements have the name 'gr.csv'"),
        (lambda folder: rename(folder, "sq.csv", "spectra.csv"), "the name 'spectra.csv', too"),
        (lambda folder: Path("out/sq.csv").write_text("1 2\n"), "would be overwritten by another file"),
    ],
)
def test_files_that_would_overwrite_each_other(project: Path, capsys: pytest.CaptureFixture, change, message) -> None:
    Path("out").mkdir()
    change(write_target(project / "mine").parent)
    before = {p: p.read_bytes() for p in Path("out").rglob("*")}
    assert main(["invert", "mine/target.yaml", "-n", "1", "--atoms", "32", "--no-track", "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert {p: p.read_bytes() for p in Path("out").rglob("*")} == before


def test_copies_of_an_earlier_inversion_go_even_after_a_kill(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_target(project / "mine").parent
    command = ["invert", "mine/target.yaml", "-n", "1", "--atoms", "32", "--no-track", "--out", "out"]
    assert main(command) == 0
    for name in ("gr.csv", "sq.csv"):
        lines = (folder / name).read_text().splitlines()
        (folder / name).write_text("\n".join(lines[:-1]) + "\n")

    def killed(source: Path, copy: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("glass_ml.stages.outputs.shutil.copyfile", killed)
        assert main(command) == 1
    assert main(command) == 0
    assert Path("out/gr.csv").read_bytes() == (folder / "gr.csv").read_bytes()


def rename(folder: Path, name: str, other: str) -> None:
    """Give a measured file another name."""
    (folder / other).parent.mkdir(exist_ok=True)
    (folder / name).rename(folder / other)
    target = folder / "target.yaml"
    target.write_text(target.read_text().replace(name, f"{other}, name: other"))
