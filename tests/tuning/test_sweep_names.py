"""What makes another sweep: everything that decides by what its trials are judged."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from small_sweep import TUNING, write_recipe

from glass_ml.errors import InputError
from glass_ml.observables.scattering_table import SHIPPED, load_table, save_table, table_name
from glass_ml.priors.checkpoint import read_card
from glass_ml.settings.winner import Winner, write_winner
from glass_ml.stages import tune
from glass_ml.stages.card import make_card

TABLE = table_name("Si K", ["Si"])


def names() -> tuple[str, str]:
    """The names of the studies that `glass-ml tune` would do: of the trials and of their finals."""
    plan = tune._sampling_plan("a-Si", None, None, None)
    assert plan.finals
    return plan.sweep.name, plan.finals.sweep.name


def write_own_table(project: Path, change: Callable = lambda table: table) -> None:
    """A table of the project's own, as `glass-ml xas-table` writes it."""
    save_table(project / "xas-tables" / TABLE, change(load_table(SHIPPED / TABLE)))


def weaker(table):
    return replace(table, amplitude=0.9 * table.amplitude)


def test_a_winner_in_the_card_of_the_prior_makes_no_other_sweep(sweep_project: Path) -> None:
    before = names()
    write_winner(Path("tuned/a-Si.yaml"), Winner("a-Si", {"step.kept": 0.25}), "tune a-Si")
    card = read_card(make_card("a-Si"))
    assert card["sampling"]["step"]["kept"] == 0.25
    assert names() == before
    shutil.rmtree(sweep_project / "trained")
    with pytest.raises(InputError, match="no prior 'trained/a-Si'"):
        names()


def test_another_exafs_table_makes_another_sweep(sweep_project: Path) -> None:
    before = names()
    assert names() == before
    (sweep_project / "xas-tables").mkdir()
    shutil.copy(SHIPPED / TABLE, sweep_project / "xas-tables")
    assert names() == before  # it lies elsewhere, and says the same
    write_own_table(sweep_project, weaker)
    after = names()
    assert after[0] != before[0] and after[1] != before[1]


def test_a_table_that_only_the_finals_use_makes_other_finals(sweep_project: Path) -> None:
    target = "{reference: hidden.extxyz, fit: [g(r)], validate: [X-ray, EXAFS]}"
    assert target in TUNING
    plain = TUNING.replace(target, target.replace("X-ray, EXAFS", "X-ray"))
    write_recipe(sweep_project, plain.replace("candidates: 1, ", f"candidates: 1, targets: {{g(r): {target}}}, "))
    before = names()
    write_own_table(sweep_project, weaker)
    after = names()
    assert after[0] == before[0] and after[1] != before[1]


@pytest.mark.parametrize("file", ["stages/probes.py", "stages/study.py", "sampling/sampler.py"])
def test_other_code_of_what_trials_are_judged_by_makes_another_sweep(
    sweep_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    before = names()
    package = shutil.copytree(tune.PACKAGE, tmp_path / "glass_ml", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(tune, "PACKAGE", package)
    assert names() == before
    with (package / file).open("a") as stream:
        stream.write("# changed\n")
    after = names()
    assert after[0] != before[0] and after[1] != before[1]
