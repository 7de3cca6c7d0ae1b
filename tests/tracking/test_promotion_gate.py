"""What a version must have shown, who held an alias and why, and that no promotion is lost."""

import json
import multiprocessing
import shutil
from itertools import pairwise

import pytest

from glass_ml.cli.main import main
from glass_ml.errors import InputError
from glass_ml.settings.platform import GateConfig
from glass_ml.tracking.history import events
from glass_ml.tracking.inversions import log_evaluation
from glass_ml.tracking.model_places import version_folder
from glass_ml.tracking.promotion import history, promote, rollback
from glass_ml.tracking.registry import aliases, get_version, known_versions, register_prior, resolve_model
from glass_ml.tracking.store import open_store

NAME = "glass-a-Si"
GOOD = {"reference.angle.rmse": 0.2, "reference.coordination.emd": 0.05, "copies.mean": 0.01, "held out.r_factor": 0.1}


@pytest.fixture
def version(project, store, tools):
    """Makes further versions of the prior, each with evaluations: target -> numbers."""

    def make(seed, **evaluations):
        folder = project / "models" / "a-Si"
        shutil.rmtree(folder)
        md5 = (project / "data.dvc").read_text().split("md5: ")[1].split()[0]
        tools.write_prior(folder, seed=seed, data_md5=md5)
        done = tools.register_trained(folder, store)
        for target, numbers in evaluations.items():
            inversion = tools.write_inversion(project / "out" / f"{target}-{seed}", seed=seed)
            log_evaluation(inversion, numbers, target=target, store=store)
        return done.version

    return make


def failed(promotion):
    return [condition.name for condition in promotion.refusals]


def test_every_failed_condition_is_listed_with_its_numbers(store, version):
    number = version(1, glass=GOOD | {"reference.angle.rmse": 0.9}, other={"copies.mean": 0.5})
    gate = GateConfig(held_out_loss={"0.12": 0.2, "0.25": 0.2, "1.00": 0.9})
    done = promote(NAME, number, "production", gate=gate, store=store)
    assert failed(done) == [
        "held-out loss at 0.12 Å", "held-out loss at 1.00 Å", "reference.angle.rmse", "copies.mean"
    ]  # fmt: skip
    details = {c.name: c.detail for c in done.conditions}
    assert details["held-out loss at 0.12 Å"] == "0.21; asked: at most 0.2"
    assert details["held-out loss at 1.00 Å"] == "not recorded; asked: at most 0.9"
    assert details["reference.angle.rmse"] == "0.9 on glass; asked: at most 0.4"
    assert details["copies.mean"] == "0.5 on other; asked: at most 0.1"
    assert "production" not in aliases(store, NAME) and not events(store, NAME)


def test_a_material_whose_references_differ_more_than_the_limit_is_given_twice_that(store, version):
    varied = GOOD | {"reference.coordination.emd": 0.28, "reference_floor.coordination.emd": 0.15}
    number = version(1, glass=varied)
    done = promote(NAME, number, "champion", store=store)
    details = {c.name: c.detail for c in done.conditions}
    assert not failed(done)
    assert details["reference.coordination.emd"] == (
        "0.28 on glass, where reference structures differ from each other by 0.15; asked: at most 0.3"
    )
    alike = GOOD | {"reference.coordination.emd": 0.28, "reference_floor.coordination.emd": 0.02}
    assert failed(promote(NAME, version(2, glass=alike), "champion", store=store))[0] == "reference.coordination.emd"


def test_a_prior_that_was_evaluated_in_a_folder_called_held_out_is_judged_as_a_prior(store, version):
    number = version(1, **{"held-out": GOOD})
    done = promote(NAME, number, "production", store=store)
    assert not failed(done) and {"held-out loss at 0.12 Å", "copies.mean"} <= {c.name for c in done.conditions}


def test_incomplete_lineage_is_refused(project, tools, tmp_path, monkeypatch):
    outside = tmp_path / "no-git"
    shutil.copytree(project, outside, ignore=shutil.ignore_patterns(".git"))
    monkeypatch.chdir(outside)
    tools.write_prior(outside / "models" / "a-Si", seed=2)
    store = open_store()
    done = register_prior("models/a-Si", system="a-Si", store=store)
    shutil.rmtree(version_folder(store, get_version(store, NAME, done.version)))
    tools.write_prior(outside / "models" / "a-Si", seed=3)
    assert failed(promote(NAME, done.version, "champion", store=store)) == [
        "training data", "git commit", "files", "evaluation"
    ]  # fmt: skip
    with pytest.raises(InputError, match="files are gone"):
        promote(NAME, done.version, "champion", force="urgent", store=store)
    with pytest.raises(InputError, match="unknown alias 'latest'"):
        promote(NAME, done.version, "latest", store=store)
    assert promote(NAME, 1, "candidate", store=store).conditions == ()


def test_uncommitted_code_is_refused_where_it_is_asked_to_be_clean(project, store, version):
    (project / "dvc.yaml").write_text("stages: {other: {cmd: none}}\n")
    number = version(1, glass=GOOD)
    assert failed(promote(NAME, number, "production", store=store)) == ["git state"]
    assert not failed(promote(NAME, number, "production", gate=GateConfig(clean=False), store=store))


def test_a_version_that_is_worse_than_the_holder_is_refused(store, version):
    first = version(1, glass=GOOD)
    assert not failed(promote(NAME, first, "production", store=store))
    worse = version(2, glass=GOOD | {"reference.angle.rmse": 0.25})
    refused = promote(NAME, worse, "production", store=store)
    assert failed(refused) == ["no worse than version 1"] and refused.previous == 1
    ratio = (0.25 / 0.2) ** (1 / 3)  # of three numbers that both have
    assert refused.refusals[0].detail.startswith(f"{ratio:.3f} times its numbers (glass held out.r_factor") or (
        f"{ratio:.3f} times its numbers" in refused.refusals[0].detail
    )
    assert not failed(promote(NAME, worse, "production", gate=GateConfig(tolerance=0.1), store=store))
    elsewhere = version(3, sulfur=GOOD)
    refused = promote(NAME, elsewhere, "production", store=store)
    assert "no evaluation in common with it (its: glass)" in refused.refusals[0].detail
    assert resolve_model(f"models:/{NAME}@production", store=store).version == worse


@pytest.mark.parametrize(
    ("holder", "candidate", "ratio"),
    [
        # One of the holder's numbers is zero: that of the candidate counts against it all the same.
        (GOOD | {"reference.coordination.emd": 0.0}, GOOD | {"reference.coordination.emd": 0.14}, 14 ** (1 / 3)),
        # A number without any error does not make up for all the others.
        (
            GOOD | {"reference.angle.rmse": 0.1, "reference.coordination.emd": 0.02, "reference.rings.emd": 0.1},
            GOOD | {"reference.angle.rmse": 0.39, "reference.coordination.emd": 2.2e-16, "reference.rings.emd": 1.0},
            (3.9 * 0.5 * 10) ** (1 / 4),
        ),
    ],
)
def test_a_number_near_zero_neither_drops_out_nor_decides_alone(holder, candidate, ratio, store, version):
    promote(NAME, version(1, glass=holder), "production", store=store)
    done = promote(NAME, version(2, glass=candidate), "production", store=store)
    assert failed(done) == ["no worse than version 1"]
    assert done.refusals[0].detail.startswith(f"{ratio:.3f} times its numbers (")
    assert "counted as 0.01 at least" in done.refusals[0].detail


def test_numbers_below_what_counts_are_equal(store, version):
    promote(NAME, version(1, glass=GOOD | {"reference.coordination.emd": 0.0}), "production", store=store)
    done = promote(NAME, version(2, glass=GOOD | {"reference.coordination.emd": 0.008}), "production", store=store)
    assert not failed(done) and done.conditions[-1].detail.startswith("1.000 times its numbers (")


def test_force_keeps_its_reason_and_rollback_restores(store, version):
    first, second = version(1, glass=GOOD), version(2, glass=GOOD | {"copies.mean": 0.6})
    promote(NAME, first, "production", store=store)
    forced = promote(NAME, second, "production", force="the only one for liquids", store=store)
    assert forced.forced and aliases(store, NAME)["production"] == second
    last = events(store, NAME, "production")[-1]
    assert last.kind == "forced" and last.reason.startswith(
        "the only one for liquids (failed: copies.mean: 0.6 on glass"
    )
    assert "the only one for liquids" in get_version(store, NAME, second).tags["promoted/production"]
    assert rollback(NAME, "production", store=store).version == first
    assert aliases(store, NAME)["production"] == first
    with pytest.raises(InputError, match="no holder of 'production' to go back to: version 1 is the first"):
        rollback(NAME, "production", store=store)
    assert [(e.number, e.kind, e.previous, e.version) for e in history(NAME, store=store)] == [
        (1, "promoted", None, first), (2, "forced", first, second), (3, "rolled back", second, first)
    ]  # fmt: skip


def test_rollbacks_go_back_one_holder_after_another(store, version):
    made = [version(k, glass=GOOD) for k in range(3)]
    for number in made:
        promote(NAME, number, "champion", store=store)
    assert [rollback(NAME, "champion", store=store).version for _ in range(2)] == made[1::-1]
    promote(NAME, made[2], "champion", store=store)
    assert rollback(NAME, "champion", store=store).version == made[0]


@pytest.mark.parametrize("number", [1, 2])
def test_a_rollback_of_an_alias_that_was_taken_away_gives_it_back_to_its_last_holder(number, store, version, capsys):
    made = [version(k, glass=GOOD) for k in range(number)]
    for each in made:
        promote(NAME, each, "production", store=store)
    store.client.delete_registered_model_alias(NAME, "production")
    assert main(["models", "rollback", NAME, "--from", "production"]) == 0
    assert f"version {made[-1]} of {NAME} is 'production' again (before: nobody)" in capsys.readouterr().out
    assert aliases(store, NAME)["production"] == made[-1]
    taken, given = events(store, NAME, "production")[-2:]
    assert (taken.kind, taken.version, given.reason) == ("moved by hand", None, "it had been taken away")
    if number == 1:
        with pytest.raises(InputError, match="version 1 is the first"):
            rollback(NAME, "production", store=store)
    else:
        assert rollback(NAME, "production", store=store).version == made[0]


def test_an_interrupted_promotion_is_finished_and_a_move_by_hand_is_noted(store, version, monkeypatch):
    first, second = version(1, glass=GOOD), version(2, glass=GOOD)
    promote(NAME, first, "production", store=store)

    def killed(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(store.client), "set_registered_model_alias", killed)
    with pytest.raises(KeyboardInterrupt):
        promote(NAME, second, "production", store=store)
    monkeypatch.undo()
    assert aliases(store, NAME)["production"] == first and events(store, NAME)[-1].pending
    assert not history(NAME, store=store)[-1].pending and aliases(store, NAME)["production"] == second
    store.client.set_registered_model_alias(NAME, "production", str(first))
    last = history(NAME, store=store)[-1]
    assert (last.kind, last.previous, last.version) == ("moved by hand", second, first)
    assert len(history(NAME, store=store)) == 3


def _promote_often(number, times):
    for k in range(times):
        alias = ("champion", "production")[k % 2]
        promote(NAME, number, alias, force="by turns")


@pytest.mark.slow
def test_concurrent_promotions_lose_none(store, version):
    made = [version(k, glass=GOOD) for k in range(4)]
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_promote_often, args=(number, 4)) for number in made]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    for alias in ("champion", "production"):
        chain = events(store, NAME, alias)
        assert [e.number for e in chain] == list(range(1, len(chain) + 1)) and len(chain) >= len(made)
        assert all(a.version == b.previous for a, b in pairwise(chain))
        assert not any(e.pending for e in chain) and aliases(store, NAME)[alias] == chain[-1].version
        assert {e.version for e in chain} == set(made)


def test_the_commands(project, store, version, capsys):
    assert main(["models", "history", NAME]) == 2 and "no registered model" in capsys.readouterr().err
    number = version(1, glass=GOOD)
    assert main(["models", "promote", NAME, "1", "--to", "production", "--force"]) == 2
    assert "say why" in capsys.readouterr().err
    (project / "params.yaml").write_text('promotion: {held_out_loss: {"0.12": 0.1}}\n')
    assert main(["models", "promote", NAME, "1", "--to", "production", "--json"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["promoted"] is False and "FAILED held-out loss at 0.12 Å: 0.21" in printed.err
    (project / "params.yaml").write_text("promotion: {held_out_los: {}}\n")
    assert main(["models", "promote", NAME, "1", "--to", "production"]) == 2
    assert "did you mean 'held_out_loss'" in capsys.readouterr().err
    (project / "params.yaml").unlink()
    assert main(["models", "promote", NAME, "1", "--to", "production"]) == 0
    assert capsys.readouterr().out.startswith("version 1 of glass-a-Si is now 'production'\n  ok     training data")
    assert main(["models", "rollback", NAME]) == 2
    assert "version 1 is the first" in capsys.readouterr().err
    assert main(["models", "history", NAME]) == 0
    assert f"production: version {number}, promoted by" in capsys.readouterr().out
    assert main(["models", "rollback", NAME, "--from", "candidate"]) == 2
    assert known_versions(store, NAME)[0].description.startswith("# Structures of a-Si")
