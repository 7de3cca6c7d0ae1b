"""What holds for all systems and what a material says; the pipeline takes both from there."""

import dataclasses
import re
import shutil
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo
from small_project import write_material

from glass_ml.cli.main import main
from glass_ml.config import as_mapping
from glass_ml.errors import InputError
from glass_ml.settings.recipe import SHARED, SIMULATED, SystemConfig, system_config, system_names
from glass_ml.settings.sampling import SamplingConfig
from glass_ml.simulation.materials import recipe_of

ROOT = Path(__file__).parents[2]
OWN = "target: {reference: none}\n"


def test_a_material_goes_before_what_is_shared_key_by_key(project):
    write_material(project, OWN + "sampling: {schedule: {steps: 60}}\nnoise:\nbatches: {}\n")
    shared = "sampling: {schedule: {steps: 30, rho: 0.5}, batch: 2}\nnoise: {sigma_max: 1.5}\n"
    (project / "params.yaml").write_text(f"systems: [a-Si]\n{shared}")
    found = system_config("a-Si")
    assert (found.sampling.schedule.steps, found.sampling.schedule.rho, found.sampling.batch) == (60, 0.5, 2)
    assert found.noise.sigma_max == 1.5 and found.sampling.step == SamplingConfig().step


@pytest.mark.parametrize(
    ("params", "material", "message"),
    [
        ("systems: {a-Si: {}}", OWN, "params.yaml: systems: not a list of names (write 'systems: [a-Si]'"),
        (
            "systems: [b]",
            OWN,
            "params.yaml: systems: unknown system 'a-Si' (known: b; or write materials/a-Si.yaml and",
        ),
        ("systems: [a-Si]\nsampling: {stepz: 1}", OWN, "params.yaml: sampling: unknown key 'stepz'"),
        ("systems: [a-Si]\nsamplng: {}", OWN, "params.yaml: unknown key 'samplng' (did you mean 'sampling'?)"),
        ("systems: [a-Si]", OWN + "sampling: {stepz: 1}", "materials/a-Si.yaml: sampling: unknown key 'stepz'"),
        ("systems: [a-Si]", OWN + "study: {edges: 3}", "materials/a-Si.yaml: study.edges: '3' is not of the type"),
        ("systems: [a-Si]", OWN + "potential: {}", "materials/a-Si.yaml: unknown key 'potential'"),
        ("systems: [a-Si]", "study: {}", "materials/a-Si.yaml: missing key 'target'"),
        ("systems: [a-Si]\nnoise: 3", OWN, "params.yaml: noise: '3' is not a mapping"),
        ("systems: [a-Si]\nnoise: {}", OWN + "noise: 3", "materials/a-Si.yaml: noise: '3' is not a mapping"),
    ],
)
def test_what_is_wrong_is_named_with_the_file_at_fault(project, params, material, message):
    write_material(project, material)
    (project / "params.yaml").write_text(params)
    with pytest.raises(InputError) as caught:
        system_config("a-Si")
    assert message in str(caught.value)


def test_a_system_without_its_file(project):
    write_material(project, OWN)
    (project / "materials" / "a-Si.yaml").unlink()
    with pytest.raises(InputError, match=r"materials/a-Si\.yaml: no such file"):
        system_config("a-Si")


def test_the_pipeline_names_no_system():
    assert system_names(ROOT / "params.yaml") == ["a-Si", "a-SiO2"]
    text = (ROOT / "dvc.yaml").read_text()
    assert not [name for name in system_names(ROOT / "params.yaml") if name in text]


def test_a_material_more_is_one_file_and_one_name(tmp_path):
    """DVC gives it every stage, and each of these depends on its own file alone."""
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "materials", tmp_path / "materials")
    shutil.copy(ROOT / "materials" / "a-Si.yaml", tmp_path / "materials" / "new.yaml")
    text = (tmp_path / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("systems: [a-Si, a-SiO2]", "systems: [a-Si, a-SiO2, new]"))
    with Repo.init(str(tmp_path), no_scm=True) as repo:
        stages = {stage.name: stage for stage in repo.index.stages}
    systems, surrogates = ("a-Si", "a-SiO2", "new"), ("aC-xanes",)
    of_systems = ("prepare", "train", "card", "register", "target", "tune", "invert", "study")
    expected = {f"{stage}@{system}" for stage in of_systems for system in systems}
    assert set(stages) == expected | {f"{s}@{name}" for s in ("train-xanes", "register-xanes") for name in surrogates}
    for name, stage in stages.items():
        read = {Path(dep.fs_path).name for dep in stage.deps if "materials" in Path(dep.fs_path).parts}
        assert read <= {f"{name.partition('@')[2]}.yaml"}
    plots = {out.def_path: out.plot for out in stages["invert@new"].outs if out.plot}
    assert plots["inversions/new/spectra.csv"]["title"] == "new"
    assert stages["tune@new"].frozen and stages["train-xanes@aC-xanes"].frozen


def test_every_section_is_watched_where_it_is_shared_and_where_it_is_not():
    """Else a change would leave a stage stale without a word; and of the study it must not train a prior again."""
    watched = {}
    for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items():
        if "matrix" in stage and (entries := stage.get("params")):
            (own,) = [set(keys) for e in entries if isinstance(e, dict) for keys in e.values()]
            assert {e for e in entries if isinstance(e, str)} == own & set(SHARED), name
            watched[name] = own
    assert watched["train"] == {"network", "noise", "training"} and watched["prepare"] == {"prepare"}
    sections = {f.name for f in dataclasses.fields(SystemConfig)}
    assert set.union(*watched.values()) == sections
    assert set(yaml.safe_load((ROOT / "params.yaml").read_text())) >= {"systems", *SHARED}
    for system in system_names(ROOT / "params.yaml"):
        keys = yaml.safe_load((ROOT / "materials" / f"{system}.yaml").read_text())
        assert set(keys) == sections | set(SIMULATED)  # DVC refuses a stage one of whose keys is missing


def test_the_example_of_the_documentation_is_a_material(project):
    page = (ROOT / "docs" / "material.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    write_material(project, example)
    recipe, config = recipe_of("a-Si"), system_config("a-Si")
    written = {f"{quench.collection}.extxyz": quench.role for quench in recipe.quenches}
    assert written["train.extxyz"] == "train" and written[config.target.reference] == "reference"
    sections = {f.name for f in dataclasses.fields(SystemConfig)}
    assert set(yaml.safe_load(example)) == sections | set(SIMULATED)


def test_the_command_says_what_it_does_not_know(project, capsys):
    write_material(project, OWN)
    for name, message in (
        ("b", "materials/b.yaml: no material 'b' (known: a-Si"),
        ("a-Si", "'composition' is missing"),
    ):
        assert main(["simulate", name]) == 2
        assert message in capsys.readouterr().err
    assert as_mapping(system_config("a-Si"))["target"]["reference"] == "none"
