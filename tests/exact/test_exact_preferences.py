import math

import pytest
import torch

from logratio.errors import ConfigError
from logratio.exact import comparisons, coverage, preferences
from logratio.exact.world import random_world

WORLD = random_world(7, prompts=3, responses=5, longest=6)
TRUE = preferences.bradley_terry(WORLD.reward_XY)


def test_every_preference_and_its_transpose_add_up_to_one():
    for made in (
        TRUE,
        preferences.flipped(TRUE, 0.2),
        preferences.mixture([(1, TRUE), (2, preferences.bradley_terry(-WORLD.reward_XY))]),
        preferences.cycle(0.8, prompts=3, responses=5),
        preferences.longer_preferred(WORLD.length_XY),
        preferences.longer_preferred(WORLD.length_XY, 0.3),
        preferences.deterministic(TRUE),
        preferences.majority(TRUE, 4),
    ):
        assert torch.equal(preferences.check(made), made)


def test_bradley_terry_log_odds_are_reward_differences():
    gap = WORLD.reward_XY[:, :, None] - WORLD.reward_XY[:, None, :]
    assert torch.allclose(torch.logit(TRUE), gap, rtol=0, atol=1e-12)


def test_flips_mix_a_preference_with_its_transpose():
    """p' = (1−ε)p + ε(1−p): .8 at ε = .2 becomes .68, of log-odds .754."""
    p = torch.tensor([[[0.5, 0.8], [0.2, 0.5]]], dtype=torch.float64)
    assert preferences.flipped(p, 0.2)[0, 0, 1].item() == pytest.approx(0.68, abs=1e-15)
    assert math.log(0.68 / 0.32) == pytest.approx(0.754, abs=5e-4)
    assert torch.allclose(preferences.flipped(p, 1.0), p.transpose(1, 2))


def test_two_opposed_groups_of_equal_size_cancel():
    made = preferences.mixture([(3, TRUE), (3, TRUE.transpose(1, 2))])
    assert torch.allclose(made, torch.full_like(made, 0.5), rtol=0, atol=1e-15)


def test_annotator_types_count_by_their_share():
    made = preferences.mixture([(1, TRUE), (3, preferences.longer_preferred(WORLD.length_XY))])
    expected = TRUE / 4 + 3 * preferences.longer_preferred(WORLD.length_XY) / 4
    assert torch.allclose(made, expected, rtol=0, atol=1e-15)


def test_rock_paper_scissors_and_its_win_rates_against_an_uneven_rival():
    """a = .8, μ = (.6, .3, .1): P(y≻μ) = (.56, .35, .59)."""
    cycle = preferences.cycle(0.8)
    assert cycle[0].tolist() == [
        [0.5, 0.8, pytest.approx(0.2)],
        [pytest.approx(0.2), 0.5, 0.8],
        [0.8, pytest.approx(0.2), 0.5],
    ]
    rival = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    assert (cycle[0] @ rival).tolist() == pytest.approx([0.56, 0.35, 0.59], abs=1e-12)


def test_a_majority_of_three_and_the_split_of_two():
    p = TRUE
    assert torch.allclose(preferences.majority(p, 3), p**3 + 3 * p**2 * (1 - p), rtol=0, atol=1e-14)
    assert torch.allclose(preferences.majority(p, 2), p, rtol=0, atol=1e-14)
    assert torch.allclose(preferences.majority(p, 4001), preferences.deterministic(p), rtol=0, atol=0.01)


def test_length_wins_regardless_of_quality():
    made = preferences.longer_preferred(torch.tensor([[3, 1, 3]]))
    assert made[0].tolist() == [[0.5, 1, 0.5], [0, 0.5, 0], [0.5, 1, 0.5]]
    soft = preferences.longer_preferred(torch.tensor([[3, 1, 3]]), 0.5)
    assert soft[0, 0, 1].item() == pytest.approx(1 / (1 + math.exp(-1)))


def test_pair_distributions_sum_to_one_and_ask_no_response_against_itself():
    for made in (
        coverage.uniform(3, 5),
        coverage.product(WORLD.reference_XY),
        coverage.uneven(0, 3, 5),
        coverage.only(3, 5, [(0, 1), (3, 4)]),
        coverage.without(coverage.uniform(3, 5), [2]),
    ):
        assert torch.allclose(made.sum((1, 2)), torch.ones(3).double(), rtol=0, atol=1e-14)
        assert (made.diagonal(dim1=1, dim2=2) == 0).all() and (made >= 0).all()


def test_components_and_what_is_never_compared_are_reported():
    made = coverage.only(1, 6, [(1, 0), (4, 1), (2, 3)])
    assert coverage.components(made).tolist() == [[0, 0, 2, 2, 0, 5]]
    assert coverage.never_compared(made).tolist() == [[False, False, False, False, False, True]]
    one_way = coverage.normalised(torch.tensor([[[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]))
    assert coverage.components(one_way).tolist() == [[0, 0, 2]]
    assert coverage.never_compared(one_way).tolist() == [[False, False, True]]
    chain = coverage.only(1, 9, [(i, i + 1) for i in range(8)])
    assert coverage.components(chain).tolist() == [[0] * 9]


def test_the_population_holds_each_order_with_its_share():
    pairs = coverage.uneven(1, 3, 5)
    rows = comparisons.population(WORLD, TRUE, pairs)
    wins = rows.wins(3, 5)
    expected = WORLD.weight_X[:, None, None] * (pairs + pairs.transpose(1, 2)) * TRUE
    assert torch.allclose(wins, expected, rtol=0, atol=1e-15) and wins.sum().item() == pytest.approx(1, abs=1e-14)
    assert torch.allclose(rows.good(3, 5) + rows.bad(3, 5), (wins + wins.transpose(1, 2)).sum(-1), rtol=0, atol=1e-15)


def test_soft_labels_are_the_same_population_in_half_the_rows():
    pairs = coverage.uniform(3, 5)
    plain, soft = comparisons.population(WORLD, TRUE, pairs), comparisons.soft(WORLD, TRUE, pairs)
    assert len(soft) * 2 == len(plain) == 3 * 5 * 4
    assert torch.allclose(plain.wins(3, 5), soft.wins(3, 5), rtol=0, atol=1e-15)


def test_ties_take_their_share_from_both_orders_and_stand_once():
    ties = torch.full((3, 5, 5), 0.25)
    rows = comparisons.population(WORLD, TRUE, coverage.uniform(3, 5), ties_XYY=ties)
    tied = rows.tie_C == 1
    assert rows.weight_C.sum().item() == pytest.approx(1) and rows.weight_C[tied].sum().item() == pytest.approx(0.25)
    assert int(tied.sum()) == 3 * 10


def test_margins_follow_their_rows():
    gap = WORLD.reward_XY[:, :, None] - WORLD.reward_XY[:, None, :]
    rows = comparisons.population(WORLD, TRUE, coverage.uniform(3, 5), margin_XYY=gap)
    assert torch.equal(rows.margin_C, gap[rows.prompt_C, rows.winner_C, rows.loser_C])


def test_a_sample_is_a_function_of_its_key_and_approaches_the_population_as_one_over_root_n():
    whole = comparisons.population(WORLD, TRUE, coverage.uniform(3, 5))
    drawn = comparisons.sample(whole, 1000, 0)
    assert torch.equal(drawn.weight_C, comparisons.sample(whole, 1000, 0).weight_C)
    assert drawn.weight_C.sum().item() == pytest.approx(1) and torch.equal(
        drawn.weight_C * 1000, (drawn.weight_C * 1000).round()
    )
    squares = {}
    for n in (100, 10_000):
        gaps = [(comparisons.sample(whole, n, seed).wins(3, 5) - whole.wins(3, 5)).square().sum() for seed in range(40)]
        squares[n] = torch.stack(gaps).mean().item() * n
    variance = (whole.weight_C * (1 - whole.weight_C)).sum().item()  # of one draw: E n‖ŵ − w‖² = Σ w(1 − w)
    assert all(value == pytest.approx(variance, rel=0.15) for value in squares.values())


def test_what_is_no_preference_or_no_pair_is_refused():
    with pytest.raises(ConfigError, match="P \\+ Pᵀ differs from 1"):
        preferences.check(torch.full((1, 2, 2), 0.7))
    with pytest.raises(ConfigError, match="outside \\[0, 1\\]"):
        preferences.check(torch.tensor([[[0.5, 1.5], [-0.5, 0.5]]]))
    with pytest.raises(ConfigError, match="\\[prompts, responses, responses\\]"):
        preferences.check(torch.full((2, 2), 0.5))
    with pytest.raises(ConfigError, match="flip rate is 2"):
        preferences.flipped(TRUE, 2)
    with pytest.raises(ConfigError, match="odd number"):
        preferences.cycle(0.8, responses=4)
    with pytest.raises(ConfigError, match="must be > 0"):
        preferences.mixture([(0, TRUE)])
    with pytest.raises(ConfigError, match="at least 1 vote"):
        preferences.majority(TRUE, 0)
    with pytest.raises(ConfigError, match="strength is 0"):
        preferences.longer_preferred(WORLD.length_XY, 0)
    with pytest.raises(ConfigError, match="at least one pair"):
        coverage.without(coverage.uniform(1, 2), [0])
    with pytest.raises(ConfigError, match="for both"):
        comparisons.population(WORLD, TRUE, coverage.uniform(3, 4))
    with pytest.raises(ConfigError, match="at least 1 comparison"):
        comparisons.sample(comparisons.population(WORLD, TRUE, coverage.uniform(3, 5)), 0)
