"""Planted faults are named, and sound runs are left alone: real runs in the built-in world."""

import grounds
import pytest
from sick_runs import FAULTS, healthy, judge, trained

RUNS = 10

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ground(nano):
    return grounds.nano(0, nano.folder.parent)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_named_in_at_least_nine_of_ten_runs(fault, ground, tmp_path):
    maker, names = FAULTS[fault]
    judged = [judge(trained(ground, maker(ground, seed), tmp_path / str(seed), seed)) for seed in range(RUNS)]
    level = "note" if fault == "off_support" else "look"  # drift is more than a note only with an outcome
    named = [bool(one.at(level) & names) for one in judged]
    assert sum(named) >= 0.9 * RUNS, [one.ever for one in judged]


def test_of_twenty_sound_runs_at_most_one_asks_for_a_look(ground, tmp_path):
    judged = [judge(trained(ground, healthy(ground, seed), tmp_path / str(seed), seed)) for seed in range(2 * RUNS)]
    alarms = {seed: one.said for seed, one in enumerate(judged) if one.at("look")}
    assert len(alarms) <= 1, alarms
