"""Which numbers of two versions the gate compares: those that rest on the same data, each from one evaluation."""

import json
import shutil
from pathlib import Path

import pytest

from glass_ml.cli.main import main
from glass_ml.tracking.inversions import log_evaluation
from glass_ml.tracking.outbox import keep
from glass_ml.tracking.promotion import promote
from glass_ml.tracking.versions import get_version

NAME = "glass-a-Si"
GOOD = {"reference.angle.rmse": 0.2, "reference.coordination.emd": 0.05, "copies.mean": 0.01, "held out.r_factor": 0.1}
TARGET = ("target_sha256", "measurements_sha256")


@pytest.fixture
def version(project, store, tools):
    """Makes a version of the prior, evaluated on the target of the moment in a folder called "one"."""

    def make(seed, numbers, reference=None):
        folder = project / "models" / "a-Si"
        shutil.rmtree(folder)
        md5 = (project / "data.dvc").read_text().split("md5: ")[1].split()[0]
        tools.write_prior(folder, seed=seed, data_md5=md5)
        done = tools.register_trained(folder, store)
        evaluate(tools, project, store, seed, numbers, reference)
        return done.version

    return make


def evaluate(tools, project, store, seed, numbers, reference=None):
    inversion = tools.write_inversion(project / "out" / str(seed) / "one", seed=seed)
    if reference:
        (inversion / "evaluation.json").write_text(json.dumps({"reference_sha256": reference}))
    log_evaluation(inversion, numbers, store=store)


def last(promotion):
    condition = promotion.conditions[-1]
    assert condition.name.startswith("no worse than")
    return condition.passed, condition.detail


def tags(store, number):
    found = get_version(store, NAME, number).tags
    return {key.removeprefix("evaluation/one/"): text for key, text in found.items() if key.startswith("evaluation/")}


@pytest.mark.parametrize("file", ["targets/sq.yaml", "targets/sq.csv"])
def test_numbers_on_another_target_in_a_folder_of_the_same_name_are_not_compared(file, store, version):
    promote(NAME, version(1, GOOD), "production", store=store)
    before = Path(file).read_text()
    Path(file).write_text(before + "\n")
    second = version(2, {name: value / 2 for name, value in GOOD.items()})
    passed, said = last(promote(NAME, second, "production", store=store))
    assert not passed and "no evaluation in common with it (its: one); left out: one (other data)" in said
    Path(file).write_text(before)
    assert last(promote(NAME, version(3, GOOD), "production", store=store))[0]


def test_distances_from_other_reference_structures_are_not_compared(store, version):
    promote(NAME, version(1, GOOD, reference="ab"), "production", store=store)
    better = GOOD | {"reference.angle.rmse": 0.02, "held out.r_factor": 0.11}
    passed, said = last(promote(NAME, version(2, better, reference="cd"), "production", store=store))
    assert not passed and said.startswith("1.100 times its numbers (one held out.r_factor 0.11 for 0.1)")
    assert "left out: reference.* on one (other reference structures" in said
    assert last(promote(NAME, version(3, better, reference="ab"), "production", store=store))[0]


def test_an_evaluation_that_waited_is_sent_as_it_is_by_then(project, store, version, tools):
    number = version(1, GOOD)
    folder = tools.write_inversion("out/1/one", seed=7)
    keep("evaluation", folder="out/1/one", metrics={"reference.angle.rmse": 0.01})
    said = {"measurements": {}, "reference": {"angle.rmse": {"mean": 0.3}}, "reference_sha256": "ab"}
    (folder / "evaluation.json").write_text(json.dumps(said))
    assert main(["sync"]) == 0
    found = tags(store, number)
    assert (found["reference.angle.rmse"], found["reference_sha256"]) == ("0.3", "ab")


def test_an_evaluation_takes_the_place_of_the_earlier_one_whole(project, store, version, tools):
    number = version(1, GOOD, reference="ab")
    assert tags(store, number).keys() == {*GOOD, "run", *TARGET, "reference_sha256"}
    first = tags(store, number)["run"]
    (project / "out/1/one/evaluation.json").unlink()
    tools.write_inversion("out/1/one", seed=7)
    log_evaluation("out/1/one/", {"held out.r_factor": 0.3}, store=store)
    log_evaluation("out/1/one/", {"held out.r_factor": 0.4}, target="one more", store=store)
    found = {key: text for key, text in tags(store, number).items() if "one more" not in key}
    assert found.keys() == {"held out.r_factor", "run", *TARGET} and found["held out.r_factor"] == "0.3"
    assert found["run"] != first and "reference.angle.rmse" not in get_version(store, NAME, number).description


def test_an_evaluation_that_was_broken_off_loses_no_number_and_is_not_compared(
    project, store, version, tools, monkeypatch
):
    promote(NAME, version(1, GOOD), "production", store=store)
    second = version(2, GOOD)
    write, written = type(store.client).set_model_version_tag, []

    def killed(client, name, number, key, value):
        if "evaluation/one/held out.r_factor" in written:
            raise KeyboardInterrupt
        written.append(key)
        return write(client, name, number, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(type(store.client), "set_model_version_tag", killed)
        with pytest.raises(KeyboardInterrupt):
            evaluate(tools, project, store, 2, {"held out.r_factor": 0.05, "copies.mean": 0.01})
    assert tags(store, second).keys() >= GOOD.keys() and tags(store, second)["held out.r_factor"] == "0.05"
    passed, said = last(promote(NAME, second, "production", store=store))
    assert not passed and "left out: one (version 2 does not say on which data" in said
    evaluate(tools, project, store, 2, GOOD)
    assert last(promote(NAME, second, "production", store=store))[0]


def test_evaluations_that_do_not_say_on_which_data_are_compared_by_name_among_themselves(store, version):
    def forget(number):
        for part in TARGET:
            store.client.delete_model_version_tag(NAME, str(number), f"evaluation/one/{part}")

    first, second = version(1, GOOD), version(2, GOOD)
    promote(NAME, first, "production", store=store)
    forget(first)
    passed, said = last(promote(NAME, second, "production", store=store))
    assert not passed and "one (version 1 does not say on which data: 'glass-ml evaluate' on its inversion" in said
    forget(second)
    passed, said = last(promote(NAME, second, "production", store=store))
    assert passed and said.endswith("taken for the same data by name alone: one")
