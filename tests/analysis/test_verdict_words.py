"""The verdict says what the numbers say, on both sides of every threshold."""

import copy

import pytest

from glass_ml.analysis import verdict as rules
from glass_ml.analysis.verdict import verdict

SEARCHED = {"independent": 40, "training": "prepared/a-Si"}


def metrics() -> dict:
    structure = {
        "shortest.Si-Si": 2.15,
        "bond.Si-Si.mean": 2.37,
        "coordination.Si": 4.0,
        "nfold.Si.3": 0.02,
        "nfold.Si.4": 0.95,
        "nfold.Si.5": 0.03,
        "angle.Si-Si-Si.mean": 109.0,
        "angle.Si-Si-Si.spread": 11.0,
        "angle.below75": 0.002,
        "order.crystalline": 0.02,
    }
    fit = {"kind": "xray-sq", "use": "fit", "n_points": 200, "chi2_reduced": 1.0, "r_factor": 0.08}
    held = {**fit, "use": "validate", "r_factor": 0.09}
    return {
        "n_structures": 8,
        "measurements": {"diffraction": fit, "second": held},
        "structure": {name: {"mean": value, "std": 0.01} for name, value in structure.items()},
        "diversity": {"mean": 1.01, "min": 0.95},
        "copies": {"fraction": [0.0, 0.01], "mean": 0.005, "max": 0.01, "nearest": [7, 9], **SEARCHED},
    }


def test_a_good_ensemble_is_called_good_throughout():
    judged = verdict(metrics())
    assert judged.level == "good"
    assert set(judged.levels.values()) == {"good"}
    assert judged.headline == "The structures fit the measurement and look realistic."
    assert judged.fitted == ("diffraction",)
    assert judged.held_out == ("second",)


def change(path: str, value) -> dict:
    changed = copy.deepcopy(metrics())
    *parents, last = path.split("/")
    place = changed
    for parent in parents:
        place = place[parent]
    place[last] = value
    return changed


FIT, HELD, S = "measurements/diffraction", "measurements/second", "structure"


@pytest.mark.parametrize(
    ("path", "value", "question", "level"),
    [
        (f"{FIT}/chi2_reduced", rules.CHI2_GOOD - 0.01, "fit", "good"),
        (f"{S}/shortest.Si-Si/mean", 2.01, "realism", "good"),
        (f"{S}/shortest.Si-Si/mean", 1.95, "realism", "poor"),
        (f"{S}/nfold.Si.4/mean", 0.905, "realism", "good"),
        (f"{S}/nfold.Si.4/mean", 0.88, "realism", "fair"),
        (f"{S}/nfold.Si.4/mean", 0.70, "realism", "poor"),
        (f"{S}/angle.Si-Si-Si.spread/mean", 14.4, "realism", "good"),
        (f"{S}/angle.Si-Si-Si.spread/mean", 15.0, "realism", "fair"),
        (f"{S}/angle.Si-Si-Si.spread/mean", 19.0, "realism", "poor"),
        (f"{S}/angle.below75/mean", 0.009, "realism", "good"),
        (f"{S}/angle.below75/mean", 0.02, "realism", "fair"),
        (f"{S}/angle.below75/mean", 0.13, "realism", "poor"),
        (f"{S}/order.crystalline/mean", 0.14, "realism", "good"),
        (f"{S}/order.crystalline/mean", 0.50, "realism", "fair"),
        ("diversity/min", 0.81, "certainty", "good"),
        ("diversity/min", 0.79, "certainty", "poor"),
        ("copies/max", 0.029, "certainty", "good"),
        (f"{HELD}/r_factor", 0.115, "certainty", "good"),
        (f"{HELD}/r_factor", 0.20, "certainty", "fair"),
        (f"{HELD}/r_factor", 0.40, "certainty", "poor"),
        ("n_structures", 2, "certainty", "fair"),
        ("n_structures", 1, "certainty", "poor"),
    ],
)
def test_each_threshold_counts(path, value, question, level):
    assert verdict(change(path, value)).levels[question] == level


@pytest.mark.parametrize(("r", "level"), [(0.09, "good"), (0.2, "fair"), (0.4, "poor")])
def test_beyond_the_uncertainty_the_r_factor_decides(r, level):
    changed = change(f"{FIT}/chi2_reduced", 20.0)
    changed["measurements"]["diffraction"]["r_factor"] = r
    assert verdict(changed).levels["fit"] == level


def test_a_fit_that_is_too_good_is_questioned():
    statement = verdict(change(f"{FIT}/chi2_reduced", 0.01)).about("fit")[0]
    assert "overstated" in statement.text


def test_the_worst_measurement_decides():
    changed = metrics()
    changed["measurements"]["third"] = {"use": "fit", "chi2_reduced": 50.0, "r_factor": 0.6}
    judged = verdict(changed)
    assert judged.level == "poor"
    assert judged.headline.startswith("The structures do not fit the measurements, but look realistic")


def test_nothing_fitted_and_nothing_held_out_are_said():
    changed = metrics()
    changed["measurements"] = {}
    judged = verdict(changed)
    assert judged.headline == "Nothing was fitted, but the structures look realistic."
    assert any("samples of the prior" in s.text for s in judged.about("fit"))
    assert any("No measurement was held out" in s.text for s in judged.about("certainty"))


def test_unlike_atoms_that_are_not_bonded_are_watched_too():
    changed = metrics()
    changed["structure"]["shortest.Si-O"] = {"mean": 1.1, "std": 0.0}
    assert verdict(changed).levels["realism"] == "poor"


def test_a_metallic_glass_is_not_judged_by_the_rules_of_networks():
    changed = metrics()
    changed["structure"] = {
        name: {"mean": value, "std": 0.1}
        for name, value in {
            "shortest.Zr-Cu": 2.4,
            "bond.Zr-Cu.mean": 2.8,
            "coordination.Zr": 14.8,
            "coordination.Cu": 11.5,
            "nfold.Cu.12": 0.4,
            "angle.Zr-Cu-Zr.spread": 32.0,
            "angle.below75": 0.5,
        }.items()
    }
    judged = verdict(changed)
    assert judged.levels["realism"] == "good"
    assert any("packed" in s.text for s in judged.about("realism"))


def test_the_text_answers_the_three_questions_in_order():
    lines = verdict(metrics()).text().splitlines()
    questions = [line for line in lines if line.endswith("?")]
    assert questions == list(rules.QUESTIONS.values())


def test_copies_of_training_data_are_said():
    good = verdict(metrics()).text()
    assert "The replicas are distinct: they differ by 1.01 on average, 0.95 at least" in good
    assert "+ No copies of training data: 1.0% of the surroundings or less, as chance gives (40 independent" in good
    for share, level, mark in ((0.05, "fair", "~"), (0.4, "poor", "-")):
        changed = change("copies/max", share)
        changed["copies"]["fraction"][1] = share
        judged = verdict(changed)
        assert judged.levels["certainty"] == level
        words = (
            f"{mark} {share:.0%} of the surroundings in replica 1 are copies of training structures, mostly of number 9"
        )
        assert words in judged.text() and "in prepared/a-Si (40 independent" in judged.text()


def test_copies_that_were_not_looked_for_are_said_and_blamed_on_nobody():
    judged = verdict({**metrics(), "copies": {"not_checked": "the training data (data/a-Si) are not here"}})
    assert judged.levels["certainty"] == "good"
    assert "? Whether the structures copy training data was not checked: the training data (data" in judged.text()
    assert "was not checked." in verdict({**metrics(), "copies": {}}).text()
