"""dvc.yaml as DVC reads it: every system has its stages, and what they depend on is there or is made by another."""

from pathlib import Path

from dvc.repo import Repo

from glass_ml.settings.recipe import system_names

HERE = Path(__file__).parents[2]


def test_every_system_has_its_stages_and_they_lack_nothing(monkeypatch) -> None:
    monkeypatch.chdir(HERE)
    with Repo(str(HERE)) as repo:
        stages = {stage.name: stage for stage in repo.index.stages if getattr(stage, "name", None)}
        made = {Path(out.fs_path) for out in repo.index.outs}
    for system in system_names():
        assert {f"{name}@{system}" for name in ("train", "register", "invert")} <= stages.keys()
    for stage in stages.values():
        for needed in (Path(dep.fs_path) for dep in stage.deps if dep.protocol == "local"):
            known = {needed, *needed.parents} & made or any(needed in out.parents for out in made)
            outside = not needed.is_relative_to(HERE)  # measured data beside the project
            assert known or outside or needed.exists(), f"{stage.name}: {needed}"
