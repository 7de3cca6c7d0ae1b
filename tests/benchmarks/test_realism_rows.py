"""Relaxation onto data, and how rows of the realism benchmark are made of what the methods return."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.build import bulk

pytest.importorskip("numba", reason="the baselines need glass_ml[benchmarks]")

from baselines.cases import CASES, Hidden
from baselines.methods import CALLS, METHODS, SETTINGS, Counted, changed, settings
from baselines.relaxation import relaxed
from baselines.score import diversity, floor, load, rescaled, save, scores, summary, table
from realism import _merged

from glass_ml.measurements.likelihood import build_likelihood
from glass_ml.measurements.target import load_target
from glass_ml.observables.registry import make_observable
from glass_ml.settings.recipe import system_config
from glass_ml.structures.io import from_atoms
from glass_ml.structures.random import generator
from glass_ml.structures.state import Structures, concatenate

CASE = CASES["a-Si"]


def silicon(noise: float, seed: int = 0) -> Structures:
    one = from_atoms([bulk("Si", "diamond", a=5.43, cubic=True) * (2, 2, 2)])
    return one.at(one.positions + noise * torch.randn(one.positions.shape, generator=generator(seed)).double())


def target_of(structures: Structures, folder):
    r = torch.arange(20, 100, dtype=torch.float64) * 0.05
    g = make_observable("gr", r, radiation="number", broadening=0.05).forward(structures)[0]
    (folder / "gr.csv").write_text("".join(f"{a},{b}\n" for a, b in zip(r.tolist(), g.tolist(), strict=True)))
    (folder / "target.yaml").write_text(
        f"system: a-Si\ncomposition: {{Si: 1}}\ndensity: {float(structures.density[0])}\nmeasurements:\n"
        "  - {file: gr.csv, kind: gr, radiation: number, broadening: 0.05, sigma: 0.02}\n"
    )
    return load_target(folder / "target.yaml")


def test_relaxation_reaches_the_data_and_stops_where_asked(tmp_path):
    likelihood = build_likelihood(target_of(silicon(0.05, seed=1), tmp_path), silicon(0))

    def chi2(structures):
        return float(likelihood.chi2(structures)[0])

    start = silicon(0.05, seed=2)
    found = list(relaxed(start, likelihood, (0, 3, 8, 300)))
    assert [stop for stop, _, _ in found] == [0, 3, 8, 300]
    assert torch.allclose(found[0][1].positions, start.wrapped().positions)
    misfits = [chi2(structures) for _, structures, _ in found]
    assert misfits[0] > 2 * misfits[1] > 2 * misfits[2] > 100 * misfits[3]
    alone = next(s for _, s, _ in relaxed(start, likelihood, (8,)))
    assert torch.allclose(alone.positions, found[2][1].positions, atol=1e-6)


def test_floor_holds_all_frames_of_a_quench_out():
    a, b = silicon(0.08, seed=3), silicon(0.08, seed=4)
    truth = Hidden(concatenate([a, a, b]), ("a", "a", "b"), 2.33, None, "thermal")
    found = floor(CASE, truth)
    expected = scores(a, CASE, b)
    for name in ("gr_rmse", "angle_rmse"):
        assert expected[name][0] > 0.01
        np.testing.assert_allclose(found[name][:2], expected[name][0], rtol=1e-9)


def test_scores_of_a_crystal_against_itself_and_a_hot_one():
    cold, hot = silicon(0.02), silicon(0.3, seed=5)
    own = scores(cold, CASE, cold)
    assert own["gr_rmse"][0] == own["angle_rmse"][0] == own["rings_emd"][0] == 0
    assert own["coordinated.Si"][0] == 1 and own["below75"][0] == 0
    other = scores(hot, CASE, cold)
    assert other["coordinated.Si"][0] < 0.9 and other["below75"][0] > 0 and other["shortest"][0] < own["shortest"][0]
    assert diversity(concatenate([cold, cold])) < 1e-3
    assert np.isnan(diversity(cold))


def test_structures_are_kept_and_rescaled(tmp_path):
    pair = concatenate([silicon(0.1, seed=6), silicon(0.1, seed=7)])
    save(tmp_path / "pair.npz", pair)
    again = load(tmp_path / "pair.npz")
    assert torch.equal(again.positions, pair.positions) and torch.equal(again.system, pair.system)
    assert torch.allclose(rescaled(pair, 0.04).density, torch.full((2,), 0.04, dtype=torch.float64))


@pytest.mark.parametrize("row", SETTINGS)
def test_settings_come_from_params_and_one_dict(row):
    shipped = system_config(CASE.system, tuned=False).sampling
    config = settings(CASE, row)
    assert config.temperature.structure == {"posterior": 1, "optimiser": 0}.get(row, shipped.temperature.structure)
    assert config.schedule == replace(shipped.schedule, steps=CALLS) and config.guidance == shipped.guidance
    with pytest.raises(AttributeError):
        changed(config, {"step": {"no_such": 1}})


def test_calls_are_counted_and_everything_else_passes():
    class Twice:
        shortest = ((14, 14, 2.0),)

        def denoise(self, structures, sigma, pairs=None):
            return 2 * structures

    counted = Counted(Twice())
    assert counted.denoise(3, 0.1) == 6 and counted.denoise(3, sigma=0.1, pairs=None) == 6
    assert counted.calls == 2 and counted.shortest == ((14, 14, 2.0),)


def test_curves_average_seeds_by_structures_and_tables_show_what_there_is():
    points = [
        {"setting": 8, "main": False, "n": 1, "core_s": 1.0, "gr_rmse": {"mean": 0.1}},
        {"setting": 4, "main": True, "n": 4, "core_s": 9.0, "gr_rmse": {"mean": 0.5}},
        {"setting": 8, "main": True, "n": 3, "core_s": 5.0, "gr_rmse": {"mean": 0.3}},
    ]
    four, eight = _merged(points)
    assert four["setting"] == 4 and eight["main"]
    assert eight["gr_rmse"]["mean"] == pytest.approx(0.25) and eight["core_s"] == pytest.approx(4.0)
    text = table({"a": {"gr_rmse": summary([0.1, 0.3]), "coordinated.Si": summary([0.9])}, "b": {}})
    assert "0.2000 ± 0.1414" in text and "90.0 ± 0.0" in text and "ring EMD" not in text
    assert json.dumps(summary([1.0])) == '{"mean": 1.0, "std": 0.0, "n": 1}'
    assert set(METHODS) > {"tempered", "published", "published-scan"}
