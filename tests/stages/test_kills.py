"""Everything killed at random moments, in short: `python benchmarks/kills.py` does it at length."""

import pytest
from kills import Project, inspect, work


@pytest.mark.slow
def test_every_finished_thing_is_there_once(tmp_path):
    project = Project(tmp_path, seed=11)
    rounds = work(project, 6, print)
    assert project.kills.total() == 6 and rounds >= 2
    wrong = {name: pair for name, pair in inspect(tmp_path, rounds).items() if pair[0] != pair[1]}
    assert not wrong
