"""Who leads a sweep, and that inversions use the settings of its winner."""

from pathlib import Path

import optuna
import pytest
import yaml
from optuna.trial import FrozenTrial, TrialState, create_trial

from glass_ml.cli.main import main
from glass_ml.errors import InputError
from glass_ml.settings.recipe import system_config
from glass_ml.settings.winner import Winner, read_winner, write_winner
from glass_ml.stages.invert import settings_of
from glass_ml.tuning.choice import leaders, least_loss, score
from glass_ml.tuning.objective import OBJECTIVES
from glass_ml.tuning.results import result_text, sweep_note, write_results


def trials(*rows: tuple, single: bool = False) -> list[FrozenTrial]:
    """Complete trials of (held_out, realism, calls[, broken limit]); the first one has the default settings."""
    study = optuna.create_study(directions=["minimize"] * (1 if single else 3))
    for k, row in enumerate(rows):
        values = row[:1] if single else row[:3]
        limits = {"constraints:defects": row[3]} if len(row) > 3 else {}
        name = {"stated": "default"} if k == 0 else {}
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE, values=values, user_attrs=name, system_attrs=limits
            )
        )  # fmt: skip
    return study.get_trials()


@pytest.mark.parametrize(
    "rows, leading",
    [
        ([(0.2, 2.0, 100), (0.15, 2.0, 100), (0.1, 2.0, 100)], [2, 1]),  # least misfit and realism together
        ([(0.2, 2.0, 100), (0.1, 3.0, 100), (0.12, 2.0, 100)], [2, 1]),
        ([(0.2, 2.0, 100), (0.1, 1.0, 101), (0.19, 1.9, 90)], [2]),  # not at more calls
        ([(0.2, 2.0, 100), (0.1, 1.0, 100, 0.5), (0.19, 1.9, 90, -0.1)], [2]),  # not beyond a limit
        ([(0.2, 2.0, 100), (0.1, 1.0, 100), (0.1, 1.0, 60), (0.3, 1.0, 60)], [2, 1]),  # nor worse than the default
        ([(0.2, 2.0, 100), (0.1, 1.0, 90), (0.1, 1.1, 90), (0.1, 1.2, 90)], [1, 2]),  # two of them
        ([(0.2, 2.0, 100, 0.1), (0.3, 3.0, 80)], [1]),  # the default breaks a limit
        ([(0.2, 2.0, 100), (0.3, 3.0, 80)], []),
    ],
)
def test_who_goes_into_the_finals(rows: list[tuple], leading: list[int]) -> None:
    assert [t.number for t in leaders(trials(*rows), 2)] == leading


def test_of_trainings_the_least_loss_wins() -> None:
    rows = trials((0.3,), (0.2,), (0.25,), single=True)
    assert least_loss(rows).number == 1 and score(rows[1], rows[0]) == pytest.approx(2 / 3)


def test_nobody_leads_without_the_default() -> None:
    assert leaders(trials((0.2, 2.0, 100), (0.1, 1.0, 90))[1:], 2) == []


@pytest.mark.parametrize("finals", [None, {"winner": None, "rows": [{"trial": None, "items": [], "state": "pruned"}]}])
def test_where_nothing_keeps_the_limits_nothing_is_written(tmp_path: Path, finals: dict | None) -> None:
    study = optuna.create_study(directions=["minimize"] * 3)
    study.add_trials(trials((0.2, 2.0, 100, 0.1), (0.1, 1.0, 90, 0.1)))
    file = tmp_path / "tuned.yaml"
    result = write_results(study, OBJECTIVES, finals, tmp_path, file, "a-Si", "tune a-Si")
    assert result["winner"] is None and not file.exists() and (tmp_path / "result.json").is_file()
    assert "nothing was chosen" in result_text(result) and "nothing was chosen" in sweep_note(result)


def test_inversions_use_the_settings_of_the_file(sweep_project: Path, capsys: pytest.CaptureFixture) -> None:
    before = system_config("a-Si")
    assert settings_of("a-Si")[0] == before.sampling
    file = Path("tuned/a-Si.yaml")
    chosen = Winner("a-Si", {"step.kept": 0.25, "schedule.steps": 6}, {"study": "a-Si-1", "trial": 4})
    write_winner(file, chosen, "tune a-Si")
    assert read_winner(file, "a-Si") == chosen
    assert yaml.safe_load(file.read_text())["settings"] == {"step": {"kept": 0.25}, "schedule": {"steps": 6}}
    sampling = settings_of("a-Si")[0]
    assert (sampling.step.kept, sampling.schedule.steps) == (0.25, 6)
    assert sampling.guidance == before.sampling.guidance
    assert system_config("a-Si", tuned=False) == before
    command = ["invert", "targets/a-Si/target.yaml", "-n", "1", "--atoms", "32", "--no-track", "--out", "a"]
    assert main(command) == 0
    assert '"network_calls": 6' in Path("a/metrics.json").read_text()
    said = "settings of tuned/a-Si.yaml in place of params.yaml: schedule.steps 6 for 8, step.kept 0.25 for -0.6\n"
    assert said in capsys.readouterr().err

    write_winner(file, Winner("a-Si"), "tune a-Si")  # nothing chosen
    assert system_config("a-Si") == before
    file.write_text("system: a-Si\nsettings: {schedule.steps: 6, step: {kept: 0.25}}\n")
    assert read_winner(file, "a-Si").settings == {"schedule.steps": 6, "step.kept": 0.25}
    file.write_text("system: a-Si\nsettings: {step.kpt: 0.1}\n")
    with pytest.raises(InputError, match=r"tuned/a-Si\.yaml: settings: no setting 'sampling\.step\.kpt'"):
        system_config("a-Si")
    file.write_text("system: a-SiO2\nsettings: {}\n")
    with pytest.raises(InputError, match=r"tuned/a-Si\.yaml: holds settings of 'a-SiO2'"):
        system_config("a-Si")
    capsys.readouterr()
    assert main(command) == 2
    assert "holds settings of 'a-SiO2'" in capsys.readouterr().err
