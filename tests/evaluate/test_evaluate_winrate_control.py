"""The length-controlled rate: its solver against conditions of optimality, its identities, a planted effect."""

import numpy as np
import pytest

from logratio.errors import NonFiniteError
from logratio.evaluate.winrate.control import LEAST, controlled
from logratio.evaluate.winrate.logistic import GRID, cross_validated, fit, objective
from logratio.maths.counter import stream


def sigmoid(x):
    return (1 + np.tanh(x / 2)) / 2


def rows(n, theta=0.4, phi=1.5, seed=0, noise=True):
    """Answers whose preference follows the model exactly, lengths in characters; the label drawn, or its mean."""
    draw = stream(seed, "lengths")
    a, b = draw.integers(20, 400, n), draw.integers(20, 250, n)
    gap = (a - b).astype(float)
    p = sigmoid(theta + phi * np.tanh(gap / gap.std(ddof=1)))
    y = (draw.random(n) < p).astype(float) if noise else p
    return y, (a, b), [f"{i:04d}" for i in range(n)]


def design(n=60, seed=1):
    draw = stream(seed, "design")
    x = np.stack([np.ones(n), np.tanh(draw.normal(size=n)), draw.normal(size=n)], axis=1)
    return x, draw.random(n), draw.integers(0, 3, (5, n)).astype(float)


@pytest.mark.parametrize("c", [1e-4, 0.05, 1.0, 1e4])
def test_every_fit_meets_the_conditions_of_its_optimum(c):
    x, y, weight = design()
    beta = fit(x, y, weight, c)
    slope = c * ((weight * (sigmoid(beta @ x.T) - y)) @ x)  # the penalty's subgradient must balance it
    zero = beta == 0
    assert np.abs(slope + np.sign(beta))[~zero].max(initial=0) < 1e-6
    assert np.abs(slope)[zero].max(initial=0) <= 1 + 1e-9
    if c == 1e-4:
        assert zero.all()
    if c == 1e4:
        assert not zero.any()


def test_separable_rows_have_a_finite_fit_that_no_neighbour_beats():
    x, _, weight = design()
    y = np.ones(len(x))
    beta = fit(x, y, weight, 100.0)
    best = objective(beta, x, y, weight, 100.0)
    assert np.isfinite(beta).all() and beta[:, 0].min() > 3
    for shift in np.eye(3):
        for size in (-1e-3, 1e-3):
            assert (objective(beta + size * shift, x, y, weight, 100.0) >= best - 1e-9).all()


def test_a_regression_does_not_depend_on_the_others_beside_it():
    x, y, weight = design()
    together = fit(x, y, weight, 3.0)
    alone = np.concatenate([fit(x, y, own[None], 3.0) for own in weight])
    assert np.abs(together - alone).max() < 1e-8


def test_cross_validation_lets_noise_be_and_keeps_what_is_there():
    draw = stream(0, "noise")
    n, folds = 400, np.arange(400) % 5
    x = np.stack([np.ones(n), np.tanh(draw.normal(size=n))], axis=1)
    coin, told = (draw.random(n) < 0.5).astype(float), (draw.random(n) < sigmoid(2 * x[:, 1])).astype(float)
    assert cross_validated(x, coin, folds) < 0.05 < cross_validated(x, told, folds)
    assert GRID[0] == pytest.approx(1e-4) and GRID[-1] == pytest.approx(1e4) and len(GRID) == 10


def test_values_that_are_not_finite_are_refused():
    x, y, weight = design()
    with pytest.raises(NonFiniteError):
        fit(x, np.where(np.arange(len(y)) == 3, np.nan, y), weight, 1.0)


@pytest.mark.parametrize("theta", [-0.8, 0.0, 0.5])
def test_a_planted_effect_of_length_is_found_and_taken_out(theta):
    y, lengths, prompts = rows(2000, theta, phi=1.5)
    own = controlled(y, lengths, prompts)
    assert own.length == pytest.approx(1.5, abs=0.25)
    assert own.rate.mean == pytest.approx(sigmoid(theta), abs=0.035)  # 2.6 standard errors
    assert own.rate.high - own.rate.low < 0.07
    assert y.mean() - sigmoid(theta) > 0.05  # the plain rate is somewhere else


@pytest.mark.slow
def test_the_interval_covers_the_rate_at_equal_length():
    missed, many = [], 400
    for seed in range(many):
        own = controlled(*rows(300, 0.3, 1.2, seed=seed))
        missed.append(not own.rate.low <= sigmoid(0.3) <= own.rate.high)
    assert sum(missed) / many <= 0.07


def test_a_model_against_itself_has_a_half():
    _, lengths, prompts = rows(200)
    for level in ((lengths[0], lengths[0]), lengths):
        own = controlled(np.full(200, 0.5), level, prompts)
        assert (own.rate.mean, own.rate.low, own.rate.high) == (0.5, 0.5, 0.5)
        assert (own.model, own.length) == (0, 0)


@pytest.mark.parametrize("hard", [None, np.linspace(-1, 2, 200)])
def test_swapping_the_models_gives_the_rest_of_one(hard):
    y, lengths, prompts = rows(200, theta=0.7)
    ahead = controlled(y, lengths, prompts, difficulty=hard)
    back = controlled(1 - y, lengths[::-1], prompts, difficulty=hard)
    assert back.rate.mean == pytest.approx(1 - ahead.rate.mean, abs=1e-9)
    assert back.rate.low == pytest.approx(1 - ahead.rate.high, abs=1e-7)
    assert back.model == pytest.approx(-ahead.model, abs=1e-7)
    assert back.length == pytest.approx(ahead.length, abs=1e-7)  # what a judge pays for length is the judge's
    assert back.strength == ahead.strength


def test_the_order_of_rows_says_nothing():
    y, lengths, prompts = rows(150)
    order = np.argsort(stream(1, "order").random(150))
    own = controlled(y, lengths, prompts)
    other = controlled(y[order], [side[order] for side in lengths], [prompts[i] for i in order])
    assert other.rate.mean == pytest.approx(own.rate.mean, abs=1e-9)
    assert other.strength == own.strength


def test_difficulty_is_controlled_for_where_it_is_known():
    draw = stream(2, "difficulty")
    y, lengths, prompts = rows(3000, 0.0, 0.0, noise=False)
    hard = draw.normal(size=3000)
    y = (draw.random(3000) < sigmoid(0.2 + 1.0 * hard)).astype(float)
    own = controlled(y, lengths, prompts, difficulty=hard)
    assert own.difficulty == pytest.approx(1.0, abs=0.12)
    assert own.rate.mean == pytest.approx(sigmoid(0.2 + hard).mean(), abs=0.03)


def test_a_model_that_wins_all_has_a_rate_near_one():
    _, lengths, prompts = rows(100)
    own = controlled(np.ones(100), lengths, prompts)
    assert 0.95 < own.rate.low <= own.rate.mean < 1


def test_the_half_of_an_empty_regression_has_no_interval():
    draw = stream(5, "coin")
    y, (_, lengths, prompts) = (draw.random(40) < 0.5).astype(float), rows(40)
    own = controlled(y, lengths, prompts)
    assert y.mean() != 0.5 and (own.model, own.length) == (0, 0)
    assert (own.rate.mean, own.rate.low, own.rate.high) == (0.5, None, None)


def test_too_few_prompts_or_one_gap_of_length_give_no_rate():
    y, lengths, prompts = rows(LEAST - 1)
    assert controlled(y, lengths, prompts) is None
    assert controlled(y, lengths, [prompts[0]] * len(y)) is None
    assert controlled(np.ones(20), (np.full(20, 9), np.full(20, 4)), [f"{i}" for i in range(20)]) is None


def test_prompts_with_many_answers_are_drawn_whole():
    y, lengths, prompts = rows(60)
    once = controlled(y, lengths, prompts)
    often = controlled(np.tile(y, 4), [np.tile(side, 4) for side in lengths], prompts * 4)
    wide = [own.rate.high - own.rate.low for own in (once, often)]
    assert wide[1] == pytest.approx(wide[0], rel=0.35)  # copies tell nothing new; independent rows would halve it
