"""The complementarity study: its matrix on a small project, and what its numbers are made to say."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write
from small_project import write_material

from glass_ml.analysis.complementarity import ignorance, study_text, unknown
from glass_ml.cli.main import main
from glass_ml.stages.study import subsets
from glass_ml.tracking.store import open_store

RECIPE = """\
target: {reference: hidden.extxyz}
sampling: {schedule: {steps: 600}}
study: {edges: [Si K], triplets: {Si-Si-Si: 2.85}, r_max: 5.0, q_range: [1.5, 12], n_structures: 2, n_atoms: 40,
        steps: 6, processes: 1}
"""


@pytest.fixture
def study_project(project: Path) -> Path:
    frames = []
    for seed in range(3):
        atoms = bulk("Si", "diamond", 5.43, cubic=True).repeat(2)
        atoms.rattle(0.12, seed=seed)
        frames.append(atoms)
    folder = project / "data" / "a-Si"
    folder.mkdir(parents=True)
    write(folder / "hidden.extxyz", frames)
    write_material(project, RECIPE)
    return project


def test_every_choice_of_probes_is_scored_and_recorded(study_project: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["study", "complementarity", "a-Si", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert list(result["probes"]) == ["g(r)", "X-ray", "neutron", "EXAFS", "angles"]
    fitted = [tuple(row["fitted"]) for row in result["rows"]]
    assert len(fitted) == len(set(fitted)) == 1 + 5 + 10 + 1 and fitted[0] == ()
    for row in result["rows"]:
        assert set(row["spectra"]) == {name for names in result["probes"].values() for name in names}
        assert {"angle.rmse", "coordination.emd"} <= set(row["descriptors"])
    by_choice = {tuple(row["fitted"]): row for row in result["rows"]}
    for probe, (name,) in result["probes"].items():  # what is fitted is met better than by the prior alone
        assert by_choice[probe,]["spectra"][name]["mean"] < by_choice[()]["spectra"][name]["mean"]
    results = study_project / "studies" / "a-Si" / "results"
    assert json.loads((results / "complementarity.json").read_text()) == result
    assert (results / "complementarity.png").stat().st_size > 20_000
    assert (results / "complementarity.md").read_text().startswith("# Which probe knows most of a-Si")

    store = open_store()
    runs = store.client.search_runs([store.experiments["studies"]])
    parents = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    assert len(parents) == 1 and len(runs) == 18
    assert {r.data.tags["mlflow.parentRunId"] for r in runs if r is not parents[0]} == {parents[0].info.run_id}

    ensemble = study_project / "studies" / "a-Si" / "ensembles" / "gr_EXAFS.extxyz"
    assert main(["trace", str(ensemble)]) in (0, 1)  # the small prior's training data do not exist
    lines = capsys.readouterr().out.splitlines()
    for what in ("structure", "lineage", "model", "target", "measurement EXAFS Si K: scattering table"):
        assert any(line.startswith(what) and " ok " in line for line in lines), what


def test_choices_are_none_each_two_and_all() -> None:
    assert [len(s) for s in subsets("abc")] == [0, 1, 1, 1, 2, 2, 2, 3]  # type: ignore[arg-type]
    assert [len(s) for s in subsets("ab")] == [0, 1, 1, 2]  # type: ignore[arg-type]


def made_up(errors: dict[tuple[str, ...], float], spread: float = 0.01) -> dict:
    """A result in which the coordination of each choice has a known error; the floor is 0.1, the prior alone 1.1."""

    def row(fitted, value):
        found = {"mean": value, "std": spread}
        return {
            "fitted": list(fitted),
            "spectra": {"g(r)": found, "EXAFS Si K": found},
            "descriptors": {"coordination.emd": found, "rings.emd": {"mean": 0.5, "std": 0.1}},
        }

    return {
        "system": "a-X",
        "note": "Made up.",
        "settings": {"noise": 0.01, "n_structures": 4, "n_atoms": 10, "steps": 5},
        "probes": {"g(r)": ["g(r)"], "EXAFS": ["EXAFS Si K"]},
        "floor": {"coordination.emd": {"mean": 0.1, "std": 0.0}, "rings.emd": {"mean": 0.5, "std": 0.0}},
        "rows": [row((), 1.1), *(row(f, v) for f, v in errors.items())],
    }


def test_what_is_left_is_counted_from_the_floor() -> None:
    result = made_up({("g(r)",): 0.6, ("EXAFS",): 0.35, ("g(r)", "EXAFS"): 0.1})
    assert unknown(result) == ["coordination.emd"]  # the prior alone knows the rings
    left = [ignorance(result, row)[0] for row in result["rows"]]
    np.testing.assert_allclose(left, [1.0, 0.5, 0.25, 0.0], atol=1e-9)


@pytest.mark.parametrize(
    "gr, exafs, spread, words",
    [
        (0.3, 0.8, 0.01, "g(r) is the most informative single probe; EXAFS comes next"),
        (0.8, 0.3, 0.01, "g(r) is not the most informative single probe here: EXAFS says more"),
        (0.5, 0.52, 0.5, "say about as much"),
    ],
)
def test_the_sentences_follow_the_numbers(gr: float, exafs: float, spread: float, words: str) -> None:
    text = study_text(made_up({("g(r)",): gr, ("EXAFS",): exafs, ("g(r)", "EXAFS"): 0.2}, spread))
    assert words in text
