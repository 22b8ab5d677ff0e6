"""Rewards at equal KL: where a path crosses, which setting counts, and how wide the interval is."""

import math

import numpy as np
import pytest

from logratio.evaluate.tracks import Track, crossing, reward_at


def track(setting, *places, prompts=4, noise=0.0, seed=0):
    """A run whose evaluations are at (KL, reward), every prompt alike but for noise in the reward."""
    rng = np.random.default_rng(seed)
    kls = np.array([[kl] * prompts for kl, _ in places])
    rewards = np.array([[reward] * prompts for _, reward in places]) + noise * rng.normal(size=kls.shape)
    return Track(setting, kls, rewards)


@pytest.mark.parametrize(
    ("path", "level", "reward"),
    [
        ([(0, 0), (2, 4)], 1.5, 3.0),
        ([(0, 0), (2, 4)], 2.0, 4.0),
        ([(0, 0), (2, 4)], 2.5, None),
        ([(0, 0), (4, 2), (2, 6), (5, 0)], 3.0, 4.0),  # three crossings: 1.5, 4 and 4
        ([], 1.0, None),
    ],
)
def test_a_path_is_read_where_it_crosses(path, level, reward):
    found = crossing([kl for kl, _ in path], [gain for _, gain in path], level)
    assert found == (None if reward is None else pytest.approx(reward))


def test_the_best_setting_counts_and_only_where_all_its_runs_came():
    low = [track("low", (0, 0), (4, 2)), track("low", (0, 0), (4, 4))]
    far = [track("far", (0, 0), (4, 8)), track("far", (0, 0), (1, 9))]
    at = reward_at([*low, *far], 1.0)
    assert (at.setting, at.runs, at.settings) == ("far", 2, 2)
    assert at.reward.mean == pytest.approx((2 + 9) / 2)
    at = reward_at([*low, *far], 2.0)
    assert (at.setting, at.settings) == ("low", 1)
    assert at.reward.mean == pytest.approx(1.5)
    assert reward_at([*low, *far], 9.0).reward.mean is None


def test_prompts_that_agree_and_one_run_leave_no_doubt():
    at = reward_at([track("a", (0, 0), (2, 4))], 1.0)
    assert at.reward.low == pytest.approx(at.reward.high) == pytest.approx(2.0)


def test_a_sample_without_a_reward_counts_in_no_mean_of_its_evaluation():
    whole = track("a", (0, 0), (1, 1), (3, 2), prompts=6, noise=1.0)
    kls, rewards = whole.kls + np.random.default_rng(1).normal(size=(3, 6)), whole.rewards.copy()
    rewards[1, [0, 4]] = rewards[2, 3] = np.nan
    kept = np.isfinite(rewards)
    path = [[own[m][kept[m]].mean() for m in range(3)] for own in (kls, whole.rewards)]
    at = reward_at([Track("a", kls, rewards)], 1.5)
    assert at.reward.mean == pytest.approx(crossing(*path, 1.5)) and at.reward.low < at.reward.mean
    rewards[2] = np.nan  # an evaluation of which nothing is known is no place on the path
    assert reward_at([Track("a", kls, rewards)], 2.5).reward.mean is None


def test_interval_is_that_of_the_mean_over_prompts():
    own = track("a", (0, 0), (1, 1), (2, 2), prompts=400, noise=1.0)
    at = reward_at([own], 1.0, draws=4_000)
    assert at.reward.se == pytest.approx(own.rewards[1].std() / math.sqrt(400), rel=0.08)
    assert at.reward.low < own.rewards[1].mean() < at.reward.high


def test_runs_that_differ_widen_it():
    same = [track("a", (0, 0), (1, 1)) for _ in range(3)]
    apart = [track("a", (0, 0), (1, reward)) for reward in (0.5, 1.0, 1.5)]
    assert reward_at(same, 0.5).reward.se == pytest.approx(0)
    # the mean of three drawn from {0.25, 0.5, 0.75}
    assert reward_at(apart, 0.5, draws=4_000).reward.se == pytest.approx(math.sqrt(0.125 / 3 / 3), rel=0.1)
