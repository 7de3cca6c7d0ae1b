"""The verdict says what the numbers say, on both sides of every threshold."""

import copy

import pytest

from glass_ml.analysis import references
from glass_ml.analysis import verdict as rules
from glass_ml.analysis.verdict import verdict

SEARCHED = {"independent": 40, "training": "prepared/a-Si"}


def metrics() -> dict:
    structure = {
        "density": 0.049,
        "shortest.Si-Si": 2.15,
        "bond.Si-Si.mean": 2.37,
        "coordination.Si": 4.0,
        "nfold.Si.3": 0.02,
        "nfold.Si.4": 0.95,
        "nfold.Si.5": 0.03,
        "angle.Si-Si-Si.mean": 109.0,
        "angle.Si-Si-Si.spread": 11.0,
        "angle.below75": 0.002,
        "rings.5": 0.4,
        "rings.6": 0.9,
        "order.crystalline": 0.02,
    }
    known = {name: {"mean": value, "std": 0.0} for name, value in structure.items()}
    group = {"file": "reference-x.extxyz", "potential": "X", "density": [0.049, 0.049], "structures": 3, "frames": 3}
    record = {"version": 1, "role": "reference", "elements": ["Si"], "files": {"reference-x.extxyz": "0" * 64}}
    record["groups"] = [{**group, "atoms": 648, "descriptors": known}]
    fit = {"kind": "xray-sq", "use": "fit", "n_points": 200, "chi2_reduced": 1.0, "r_factor": 0.08}
    held = {**fit, "use": "validate", "r_factor": 0.09}
    return {
        "n_structures": 8,
        "measurements": {"diffraction": fit, "second": held},
        "structure": {name: {"mean": value, "std": 0.01} for name, value in structure.items()},
        "diversity": {"mean": 1.01, "min": 0.95},
        "copies": {"fraction": [0.0, 0.01], "mean": 0.005, "max": 0.01, "nearest": [7, 9], **SEARCHED},
        "references": record,
    }


def unknown(changed: dict) -> dict:
    """The same without reference descriptors."""
    return {key: value for key, value in changed.items() if key != "references"}


def test_a_good_ensemble_is_called_good_throughout():
    judged = verdict(metrics())
    assert judged.level == "good"
    assert set(judged.levels.values()) == {"good"}
    assert judged.headline == "The structures fit the measurement and are like the reference structures."
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
COORDINATION = references.LIMITS["coordination"]


@pytest.mark.parametrize(
    ("path", "value", "question", "level"),
    [
        (f"{FIT}/chi2_reduced", rules.CHI2_GOOD - 0.01, "fit", "good"),
        (f"{S}/shortest.Si-Si/mean", 0.93 * 2.15, "realism", "good"),
        (f"{S}/shortest.Si-Si/mean", 0.91 * 2.15, "realism", "poor"),
        (f"{S}/nfold.Si.4/mean", 0.95 - 1.9 * COORDINATION[0], "realism", "good"),
        (f"{S}/nfold.Si.4/mean", 0.95 - 2.1 * COORDINATION[0], "realism", "fair"),
        (f"{S}/nfold.Si.4/mean", 0.95 - 2.1 * COORDINATION[1], "realism", "poor"),
        (f"{S}/bond.Si-Si.mean/mean", 2.40, "realism", "good"),
        (f"{S}/bond.Si-Si.mean/mean", 2.42, "realism", "fair"),
        (f"{S}/bond.Si-Si.mean/mean", 2.48, "realism", "poor"),
        (f"{S}/angle.Si-Si-Si.mean/mean", 107.0, "realism", "good"),
        (f"{S}/angle.Si-Si-Si.mean/mean", 105.0, "realism", "fair"),
        (f"{S}/angle.Si-Si-Si.mean/mean", 102.0, "realism", "poor"),
        (f"{S}/angle.Si-Si-Si.spread/mean", 13.1, "realism", "good"),
        (f"{S}/angle.Si-Si-Si.spread/mean", 13.3, "realism", "fair"),
        (f"{S}/angle.Si-Si-Si.spread/mean", 15.5, "realism", "poor"),
        (f"{S}/angle.Si-Si-Si.spread/mean", 8.7, "realism", "fair"),
        (f"{S}/angle.below75/mean", 0.009, "realism", "good"),
        (f"{S}/angle.below75/mean", 0.02, "realism", "fair"),
        (f"{S}/angle.below75/mean", 0.13, "realism", "poor"),
        (f"{S}/rings.5/mean", 0.65, "realism", "good"),
        (f"{S}/rings.5/mean", 0.75, "realism", "fair"),
        (f"{S}/rings.5/mean", 1.3, "realism", "poor"),
        (f"{S}/order.crystalline/mean", 0.14, "realism", "good"),
        (f"{S}/order.crystalline/mean", 0.50, "realism", "fair"),
        (f"{S}/order.crystalline/mean", 0.90, "realism", "poor"),
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
    assert judged.headline.startswith(
        "The structures do not fit the measurements, but are like the reference structures"
    )


def test_nothing_fitted_and_nothing_held_out_are_said():
    changed = metrics()
    changed["measurements"] = {}
    judged = verdict(changed)
    assert judged.headline == "Nothing was fitted, but the structures are like the reference structures."
    assert any("samples of the prior" in s.text for s in judged.about("fit"))
    assert any("No measurement was held out" in s.text for s in judged.about("certainty"))


def test_unlike_atoms_that_are_not_bonded_are_watched_too():
    changed = metrics()
    changed["structure"]["shortest.Si-O"] = {"mean": 1.1, "std": 0.0}
    assert verdict(changed).levels["realism"] == "poor"


def test_a_varied_material_is_given_more_room():
    """Where reference structures differ by 4 % of the atoms in coordination, twice that is added to the limit."""
    changed = change(f"{S}/nfold.Si.4/mean", 0.95 - 2.1 * COORDINATION[0])
    assert verdict(changed).levels["realism"] == "fair"
    for n in (3, 4, 5):
        changed["references"]["groups"][0]["descriptors"][f"nfold.Si.{n}"]["std"] = 0.08 / 3
    assert verdict(changed).levels["realism"] == "good"


def test_without_references_only_what_holds_for_any_material_is_judged():
    """A structure full of odd coordinations and sharp angles is not condemned, and not called good."""
    changed = unknown(metrics())
    for name, value in {"nfold.Si.4": 0.3, "angle.Si-Si-Si.spread": 32.0, "angle.below75": 0.5}.items():
        changed["structure"][name] = {"mean": value, "std": 0.1}
    judged = verdict(changed)
    assert (judged.level, judged.levels["realism"]) == ("good", "none")
    assert judged.headline == "The structures fit the measurement, but nothing is known to judge them by."
    assert "Nothing is known of this material to judge by" in judged.text()
    assert "? 2% of the atoms are in crystalline surroundings." in judged.text()
    assert "realistic" not in judged.text()
    for shortest, level in ((2.01, "none"), (1.95, "poor")):  # 0.84 of the mean bond is 1.99
        changed["structure"]["shortest.Si-Si"]["mean"] = shortest
        assert verdict(changed).levels["realism"] == level
    assert verdict(changed).headline == "The structures fit the measurement, but are not possible as they are."


def test_lost_bonds_are_poor_with_and_without_references():
    changed = change(f"{S}/coordination.Si/mean", 0.0)
    for one in (changed, unknown(changed)):
        judged = verdict(one)
        assert judged.levels["realism"] == "poor" and "No bonds were found" in judged.text()


def test_what_was_judged_against_is_said():
    text = verdict(metrics()).text()
    assert "reference structures, 3 structures of reference-x.extxyz (X), 216 atoms each" in text
    assert "How real they are themselves is not judged" in text and "realistic" not in text
    assert "Coordination of Si is as in the reference structures: 3-fold 2.0% (2.0%), 4-fold 95.0% (95.0%)" in text
    far = verdict(change(f"{S}/density/mean", 0.055)).text()
    assert "their density is 0.0490 atoms/Å³, that of these structures 0.0550" in far


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
