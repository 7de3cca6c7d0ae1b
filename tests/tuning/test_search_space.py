"""The search space of a material: what is drawn, and what is refused with the place that is at fault."""

from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import write
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from small_sweep import TUNING, write_recipe

from glass_ml.cli.main import main
from glass_ml.errors import InputError
from glass_ml.sampling.sampler import noise_levels
from glass_ml.settings.overrides import leaves, with_settings
from glass_ml.settings.sampling import SamplingConfig, ScheduleConfig
from glass_ml.settings.tuning import Axis
from glass_ml.tuning.space import read_space

DEFAULT = SamplingConfig(ScheduleConfig(steps=100, sigma_max=1.5, rho=7.0))


def read(**axes: Axis) -> dict:
    named = {name.replace("__", "."): axis for name, axis in axes.items()}
    return read_space(DEFAULT, named, "params.yaml: space", lambda c: noise_levels(c.schedule))


def test_every_kind_of_setting_has_its_distribution() -> None:
    space = read(
        schedule__sigma_max=Axis(0.5, 2.0, log=True),
        schedule__steps=Axis(50, 200, step=25),
        guidance__kind=Axis(choices=("decoupled", "none")),
    )
    assert space == {
        "schedule.sigma_max": FloatDistribution(0.5, 2.0, log=True),
        "schedule.steps": IntDistribution(50, 200, step=25),
        "guidance.kind": CategoricalDistribution(("decoupled", "none")),
    }


def test_settings_are_replaced_where_their_keys_say() -> None:
    changed = with_settings(DEFAULT, {"schedule.rho": 3, "temperature.structure": 0.5, "batch": 2}, "here")
    assert (changed.schedule.rho, changed.temperature.structure, changed.batch) == (3.0, 0.5, 2)
    assert changed.guidance == DEFAULT.guidance and "step.kept" in leaves(SamplingConfig)
    with pytest.raises(InputError, match=r"here\.schedule\.steps: 'many' is not of the type int"):
        with_settings(DEFAULT, {"schedule.steps": "many"}, "here")


@pytest.mark.parametrize(
    "key, axis, words",
    [
        ("schedule.sigma_mx", Axis(1, 2), "no setting 'schedule.sigma_mx' .*did you mean 'schedule.sigma_max'"),
        ("schedule", Axis(1, 2), "no setting 'schedule'"),
        ("schedule.rho", Axis(9, 3), r"space\.schedule\.rho: low 9 is not below high 3"),
        ("schedule.rho", Axis(8, 9), r"space\.schedule\.rho: the default, 7.0, is not among the values"),
        ("schedule.rho", Axis(0, 9, log=True), r"space\.schedule\.rho\.low: low 0 has no logarithm"),
        ("schedule.rho", Axis(1, 9, log=True, step=1), "log and step"),
        ("schedule.rho", Axis(1, 9, step=20), r"rho\.step: step 20 does not fit"),
        ("schedule.rho", Axis(1), "give low and high, or choices"),
        ("schedule.rho", Axis(0, 9), r"space\.schedule\.rho\.low: 0.0 cannot be used"),
        ("schedule.sigma_max", Axis(0.01, 2), r"sigma_max\.low: 0.01 cannot be used: schedule: needs"),
        ("step.kept", Axis(-2, 1), r"space\.step\.kept\.low: -2.0 cannot be used"),
        ("schedule.steps", Axis(50.5, 200), r"steps\.low: 50.5 is not an integer"),
        ("schedule.steps", Axis(50, 200, step=30), "the default, 100, is not among the values"),
        ("guidance.kind", Axis(1, 2), r"space\.guidance\.kind: not a number .*choices"),
        ("guidance.kind", Axis(choices=("none",)), r"kind\.choices: '\['none'\]' is no choice"),
        ("guidance.kind", Axis(choices=("decoupled", "magic")), r"kind\.choices: magic cannot be used"),
        ("guidance.kind", Axis(choices=("decoupled", "dps")), r"kind\.choices: dps cannot be used: .*gibbs"),
        ("guidance.kind", Axis(1, 2, choices=("decoupled", "none")), "choices and a range"),
    ],
)
def test_what_cannot_be_is_refused_at_its_place(key: str, axis: Axis, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_space(DEFAULT, {key: axis}, "params.yaml: space", lambda c: noise_levels(c.schedule))


def test_an_empty_space_is_refused() -> None:
    with pytest.raises(InputError, match="no setting to tune"):
        read()


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("step.kept: {", "step.kpt: {", "a-Si.yaml: tuning.space: no setting 'step.kpt' (did you mean 'step.kept'?)"),
        ("low: -0.8", "lowest: -0.8", "materials/a-Si.yaml: tuning.space.step.kept: unknown key 'lowest'"),
        ("fit: [g(r)]", "fit: [gr]", "materials/a-Si.yaml: tuning.targets.g(r).fit: no probe 'gr'"),
        ("validate: [X-ray, EXAFS]", "validate: [g(r)]", "tuning.targets.g(r): a probe is fitted and held out"),
        ("fit: [g(r)]", "quenches: [7], fit: [g(r)]", "hidden.extxyz: no quench 7 (it holds 2, from 0)"),
        ("hidden.extxyz", "nothing.extxyz", "nothing.extxyz"),
        ("seeds: [0, 1, 2]", "seeds: []", "nothing to invert"),
        ("n_atoms: 32", "fixed: {step.kept: 0.1}", "a-Si.yaml: tuning.fixed: 'step.kept' is in the space too"),
    ],
)
def test_a_wrong_recipe_is_the_users_error(
    sweep_project: Path, capsys: pytest.CaptureFixture, old: str, new: str, words: str
) -> None:
    assert old in TUNING
    write_recipe(sweep_project, TUNING.replace(old, new))
    assert main(["tune", "a-Si"]) == 2
    assert words in capsys.readouterr().err
    assert not (sweep_project / "sweeps" / "a-Si" / "journal.log").exists()


def test_wrong_numbers_on_the_command_line(sweep_project: Path, capsys: pytest.CaptureFixture) -> None:
    for arguments, words in ((["--trials", "0"], "--trials: 0"), (["--workers", "-1"], "--workers: -1")):
        assert main(["tune", "a-Si", *arguments]) == 2
        assert words in capsys.readouterr().err
    assert main(["tune", "a-Si", "--storage", "nosuch://host/x"]) == 2
    assert "nosuch://host/x" in capsys.readouterr().err
    assert main(["tune", "a-Si", "--prior"]) == 2
    assert "tuning.prior: no space of training settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("n_atoms: 32", "n_atoms: 0", "materials/a-Si.yaml: tuning.n_atoms: cannot make 0 atoms"),
        ("n_atoms: 32", "n_structures: 0", "materials/a-Si.yaml: tuning.n_structures: 0 structures asked for"),
    ],
)
def test_sizes_that_no_process_can_use_are_refused_before_any_starts(
    sweep_project: Path, capsys: pytest.CaptureFixture, old: str, new: str, words: str
) -> None:
    write_recipe(sweep_project, TUNING.replace(old, new))
    refused(capsys, words)


def test_an_element_that_the_prior_does_not_know_is_refused_before_any_process_starts(
    sweep_project: Path, capsys: pytest.CaptureFixture
) -> None:
    write(sweep_project / "data" / "a-Si" / "oxide.extxyz", bulk("SiO", "zincblende", 4.6, cubic=True).repeat(2))
    fit = "fit: [g(r)], validate: [X-ray]"
    known, unknown = f"hidden.extxyz, {fit}", f"oxide.extxyz, {fit}"
    trials = TUNING.replace("hidden.extxyz, fit: [g(r)], validate: [X-ray, EXAFS]", unknown)
    write_recipe(sweep_project, trials)
    refused(capsys, "materials/a-Si.yaml: tuning: target 'g(r)': the prior does not know O")
    finals = f"candidates: 1, targets: {{oxide: {{reference: {unknown}}}, plain: {{reference: {known}}}}}, "
    write_recipe(sweep_project, TUNING.replace("candidates: 1, ", finals))
    refused(capsys, "materials/a-Si.yaml: tuning: target 'oxide': the prior does not know O")


def test_a_damaged_prior_is_refused_before_any_process_starts(
    sweep_project: Path, capsys: pytest.CaptureFixture
) -> None:
    weights = sweep_project / "trained" / "a-Si" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    refused(capsys, "model.safetensors: corrupted weights")


def refused(capsys: pytest.CaptureFixture, words: str) -> None:
    """The sweep is refused in one line with these words, and nothing is left of it."""
    assert main(["tune", "a-Si"]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1, error
    assert not list(Path("sweeps/a-Si").glob("*.*")) and not Path("mlruns").exists()
