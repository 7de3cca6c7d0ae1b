"""Leaving each measurement out in turn."""

import json
from pathlib import Path

import pytest
import yaml
from small_project import write_quick_recipe, write_target

from glass_ml.cli.main import main

SMALL = ["-n", "2", "--atoms", "40", "--seed", "5"]
BOTH = """\
system: a-Si
composition: {Si: 1}
density: 0.05
measurements:
  - {file: gr.csv, kind: gr, sigma: 0.05, broadening: 0.1}
  - {file: sq.csv, kind: xray-sq, sigma: 0.05, name: S of Q}
  - {values: {3: 0.1, 4: 0.9}, kind: coordination, pair: Si-Si, cutoff: 2.8, sigma: 0.1, use: validate}
restraints:
  - {distance: Si-Si, between: [0, 2.0]}
"""


def test_each_measurement_is_predicted_by_the_others(project: Path, capsys: pytest.CaptureFixture) -> None:
    write_quick_recipe(project, steps=30)
    target = write_target(project / "targets" / "both", BOTH)
    assert main(["invert", str(target), *SMALL, "--out", "cv", "--cross-validate", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["left_out"] for row in rows] == [None, "gr", "S of Q"]
    uses = [{name: m["use"] for name, m in row["measurements"].items()} for row in rows]
    assert uses[0]["gr"] == uses[0]["S of Q"] == "fit" and uses[0]["coordination"] == "validate"
    assert uses[1]["gr"] == "validate" and uses[1]["S of Q"] == "fit" and uses[1]["distance Si-Si 0-2"] == "fit"
    fitted, left_out = (row["measurements"]["gr"]["r_factor"] for row in rows[:2])
    assert fitted < left_out  # what was fitted is met better than what was left out
    assert (project / "cv" / "without-2-S-of-Q" / "report.html").is_file()
    written = yaml.safe_load((project / "cv" / "without-1-gr.yaml").read_text())
    assert [m.get("use", "fit") for m in written["measurements"]] == ["validate", "fit", "validate"]
    before = (project / "cv" / "all" / "structures.extxyz").stat().st_mtime_ns
    assert main(["invert", str(target), *SMALL, "--out", "cv", "--cross-validate"]) == 0
    assert "without S of Q" in capsys.readouterr().out
    assert (project / "cv" / "all" / "structures.extxyz").stat().st_mtime_ns == before  # finished work is kept


def test_the_inversions_are_children_of_one_run(project: Path) -> None:
    from glass_ml.tracking.store import open_store

    write_quick_recipe(project, steps=30)
    target = write_target(project / "targets" / "both", BOTH)
    assert main(["invert", str(target), *SMALL, "--out", "cv", "--cross-validate"]) == 0
    store = open_store()
    runs = store.client.search_runs([store.experiments["inversions"]])
    parents = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    assert len(parents) == 1 and len(runs) == 4
    assert {r.data.tags["mlflow.parentRunId"] for r in runs if r is not parents[0]} == {parents[0].info.run_id}
    assert "R without gr" in parents[0].data.metrics


def test_one_measurement_cannot_be_left_out(project: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["invert", "targets/a-Si/target.yaml", *SMALL, "--out", "cv", "--cross-validate"]) == 2
    assert "1 fitted measurement: nothing can be left out" in capsys.readouterr().err
    assert not Path("cv").exists()
