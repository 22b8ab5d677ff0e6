"""The frontier bounds every policy, its slope is β, and best-of-N lies under it and within its bound."""

import pytest
import torch

from logratio.exact.bestofn import kl_bound
from logratio.exact.frontier import best_of_n_curve, gibbs_curve, place
from logratio.exact.gibbs import log_partition
from logratio.exact.world import build, policy, random_world

WORLD = random_world(3, prompts=4, responses=7)


def test_no_policy_is_above_the_frontier():
    for seed in range(20):
        torch.manual_seed(seed)
        other = place(WORLD, policy(WORLD.reference_XY + torch.randn(4, 7, dtype=torch.float64)))
        for beta in (0.1, 0.5, 2.0):
            best = float(WORLD.average(beta * log_partition(WORLD, beta)))
            assert other.reward - beta * other.kl <= best + 1e-12


def test_slope_is_beta():
    for beta in (0.2, 1.0, 3.0):
        near, far = gibbs_curve(WORLD, [beta * 1.0001, beta * 0.9999])
        assert (far.reward - near.reward) / (far.kl - near.kl) == pytest.approx(beta, rel=1e-6)


def test_best_of_one_is_the_reference_and_best_of_n_stays_within_its_bound():
    one, *more = best_of_n_curve(WORLD, [1, 2, 4, 8, 32])
    assert one.kl == pytest.approx(0, abs=1e-12)
    assert one.reward == pytest.approx(place(WORLD, WORLD.reference_XY).reward)
    for n, found in zip([2, 4, 8, 32], more, strict=True):
        assert 0 < found.kl < kl_bound(n)


def test_chosen_by_another_score_the_reward_falls():
    world = build(torch.tensor([[0.0, 1.0, 2.0]]))
    (by_reward,), (by_other,) = best_of_n_curve(world, [4]), best_of_n_curve(world, [4], -world.reward_XY)
    assert by_other.kl == pytest.approx(by_reward.kl)
    assert by_other.reward == pytest.approx(2 - by_reward.reward)
