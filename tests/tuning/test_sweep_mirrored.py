"""A sweep in wandb: the runs of MLflow, under the same names."""

from pathlib import Path

import pytest
from wandb_files import shown

from glass_ml.cli.main import main
from glass_ml.tracking import mirror
from glass_ml.tracking.store import open_store


@pytest.mark.slow
def test_a_sweep_and_its_trials_are_mirrored(sweep_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror._Writer, "_one", None)
    monkeypatch.setattr(mirror._Writer, "given_up", False)
    recipe = sweep_project / "params.yaml"
    recipe.write_text(recipe.read_text() + "tracking: {wandb: offline}\n")
    try:
        assert main(["tune", "a-Si", "--trials", "2", "--workers", "1"]) == 0
    finally:
        if mirror._Writer._one:
            mirror._Writer._one._close()
    store = open_store()
    runs = store.client.search_runs([store.experiments["tuning"]])
    assert sorted(run.info.run_name.partition(" ")[0] for run in runs)[:2] == ["trial", "trial"] and len(runs) == 3
    pages = {run.info.run_id: shown(sweep_project, run.info.run_id) for run in runs}
    for run in runs:
        page = pages[run.info.run_id]
        numbers = {k: v for k, v in page["summary"].items() if not k.startswith("_") and k != "step"}
        assert numbers == run.data.metrics and "held_out" in numbers
        assert {*run.data.params} <= {*page["config"]}
        assert (page["run"].display_name, page["run"].job_type, page["exit"]) == (run.info.run_name, "tune", 0)
    assert len({page["run"].run_group for page in pages.values()}) == 1
