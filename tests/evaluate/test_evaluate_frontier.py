"""Frontiers from samples are those of the enumerated world, and say by how much they err."""

import itertools
import math

import numpy as np
import pytest
import torch

from logratio.errors import ConfigError, NonFiniteError
from logratio.evaluate.frontier import BIAS, best_of_n, beta_ladder, frontier_at, gibbs_tilts
from logratio.exact.frontier import best_of_n_curve, gibbs_curve
from logratio.exact.world import build, random_world
from logratio.maths.counter import stream

BETAS = [4.0, 1.0, 0.4]
NS = [1, 2, 8]
WORLD = random_world(5, prompts=3, responses=6)
EVEN = build(WORLD.reward_XY, reference_XY=WORLD.reference_XY)  # estimates weigh prompts equally


def drawn(n, seed, world=EVEN):
    """Rewards of n samples of the reference at each prompt."""
    share, reward = world.reference_XY.exp().numpy(), world.reward_XY.numpy()
    picks = [stream(seed, x).choice(len(p), size=n, p=p / p.sum()) for x, p in enumerate(share)]
    return np.stack([reward[x, pick] for x, pick in enumerate(picks)])


def test_tilts_are_the_exact_frontier_within_sampling_error():
    made = [gibbs_tilts(drawn(800, seed), BETAS) for seed in range(24)]
    for at, exact in enumerate(gibbs_curve(EVEN, BETAS)):
        for name in ("reward", "kl"):
            values = np.array([getattr(tilts[at], name).mean for tilts in made])
            error = 4 * values.std(ddof=1) / math.sqrt(len(values))
            assert abs(values.mean() - getattr(exact, name)) < error + 1e-3
            assert error < 0.03  # or the comparison would say little


def test_the_bias_of_few_samples_is_the_one_that_is_told():
    made = [gibbs_tilts(drawn(16, seed), [0.5])[0] for seed in range(1_500)]
    (exact,) = gibbs_curve(EVEN, [0.5])
    for name in ("reward", "kl"):
        errors = np.array([getattr(tilt, name).mean - getattr(exact, name) for tilt in made])
        told = np.mean([getattr(tilt, f"bias_{name}") for tilt in made])
        assert errors.mean() < 0
        assert told == pytest.approx(errors.mean(), rel=0.5)
    assert "log N" in BIAS


def test_a_tilt_never_goes_beyond_log_n_and_says_when_few_samples_carry_it():
    near, far = gibbs_tilts(drawn(32, 0), [50.0, 1e-4])
    assert near.effective == pytest.approx(32, rel=0.01) and near.trusted
    assert far.kl.mean <= math.log(32) + 1e-9 and not far.trusted
    assert far.reward.mean == pytest.approx(drawn(32, 0).max(1).mean())


def test_best_of_n_is_the_mean_over_all_subsets():
    rewards, scores = np.array([[3.0, 1.0, 4.0, 1.5, 9.0]]), np.array([[1.0, 2.0, 2.0, 0.0, -1.0]])
    for n in range(1, 6):
        subsets = list(itertools.combinations(range(5), n))
        (best,) = best_of_n(rewards, [n])
        assert best.reward.mean == pytest.approx(np.mean([rewards[0, list(s)].max() for s in subsets]))
        (other,) = best_of_n(rewards, [n], scores)
        orders = [[i for i in s if scores[0, i] == max(scores[0, j] for j in s)] for s in subsets]
        # among equal scores every order of drawing is as likely, so each of them is kept as often
        assert other.reward.mean == pytest.approx(np.mean([rewards[0, o].mean() for o in orders]))


def test_best_of_n_is_unbiased_and_under_its_bound():
    made = [best_of_n(drawn(24, seed), NS) for seed in range(300)]
    for at, exact in enumerate(best_of_n_curve(EVEN, NS)):
        values = np.array([curve[at].reward.mean for curve in made])
        assert abs(values.mean() - exact.reward) < 4 * values.std(ddof=1) / math.sqrt(len(values)) + 1e-12
    large = best_of_n(drawn(20_000, 1), NS)
    for best, exact in zip(large, best_of_n_curve(EVEN, NS), strict=True):
        assert best.kl.mean == pytest.approx(exact.kl, abs=0.01)
        assert best.kl.mean <= best.bound + 1e-12


def test_kl_of_ties_is_exact_where_samples_are_in_proportion():
    world = build(torch.tensor([[0.0, 1.0, 2.0]]), reference_XY=torch.tensor([[8.0, 5.0, 3.0]]).double().log())
    rewards = np.array([[0.0] * 8 + [1.0] * 5 + [2.0] * 3])
    for best, exact in zip(best_of_n(rewards, [1, 3, 16]), best_of_n_curve(world, [1, 3, 16]), strict=True):
        assert best.kl.mean == pytest.approx(exact.kl, abs=1e-12)


def test_without_ties_the_bound_is_what_is_known():
    (best,) = best_of_n(np.random.default_rng(0).normal(size=(3, 8)), [4])
    assert best.kl is None and best.distance == best.bound == math.log(4) - 3 / 4


def test_frontier_is_read_between_trusted_tilts_only():
    rewards = drawn(400, 2)
    tilts = gibbs_tilts(rewards, beta_ladder(rewards))
    known = [tilt for tilt in tilts if tilt.trusted]
    middle = (known[3].kl.mean + known[4].kl.mean) / 2
    assert known[3].reward.mean < frontier_at(tilts, middle) < known[4].reward.mean
    assert frontier_at(tilts, math.log(400)) is None


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: gibbs_tilts([[1.0]], [1.0]), "at least 2"),
        (lambda: gibbs_tilts([[1.0, 2.0]], [0.0]), "above 0"),
        (lambda: best_of_n([[1.0, 2.0]], [3]), "from 1 to 2"),
        (lambda: best_of_n([[1.0, 2.0]], [1], [[1.0]]), "needs one of both"),
    ],
)
def test_what_cannot_be_estimated_is_refused(call, said):
    with pytest.raises(ConfigError, match=said):
        call()


def test_a_reward_that_is_no_number_is_refused():
    with pytest.raises(NonFiniteError):
        gibbs_tilts([[1.0, math.nan]], [1.0])
