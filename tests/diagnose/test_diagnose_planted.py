"""Planted faults are named, and sound runs are left alone: real runs in the built-in world."""

import grounds
import pytest
from sick_faults import FAULTS, MECHANISMS, healthy
from sick_runs import judge, trained

RUNS = 10

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def ground(nano):
    return grounds.nano(0, nano.folder.parent)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_named_in_at_least_nine_of_ten_runs(fault, ground, tmp_path):
    maker, names = FAULTS[fault]
    judged = [judge(trained(ground, maker(ground, seed), tmp_path / str(seed), seed)) for seed in range(RUNS)]
    named = [bool(one.at("note" if fault in MECHANISMS else "look") & names) for one in judged]
    assert sum(named) >= 0.9 * RUNS, [one.ever for one in judged]


def test_of_twenty_sound_runs_at_most_one_asks_for_a_look_and_none_is_called_after_a_mechanism(ground, tmp_path):
    """A note that is counted as naming a fault names it only where sound runs are without it."""
    runs = [trained(ground, healthy(ground, seed), tmp_path / str(seed), seed) for seed in range(2 * RUNS)]
    before, judged = ground.end(ground.model), [judge(run) for run in runs]
    for run in runs:  # else it would not be sound, and a look no false alarm
        ended, reward = ground.end(run / "model")
        assert ended > before[0] - 0.05 and reward > before[1], (run, ended, reward)
    alarms = {seed: one.said for seed, one in enumerate(judged) if one.at("look")}
    assert len(alarms) <= 1, alarms
    noted = {name for fault in MECHANISMS for name in FAULTS[fault][1]}
    assert sum(bool(one.at("note") & noted) for one in judged) <= 1, [one.ever for one in judged]
