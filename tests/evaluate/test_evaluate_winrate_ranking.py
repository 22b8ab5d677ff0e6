"""Strengths against closed forms, their intervals on simulated duels, and cycles that no ranking shows."""

import math
from itertools import combinations

import numpy as np
import pytest

from logratio.evaluate.winrate.ranking import CENTRE, ELO, cycles, ranking, strengths
from logratio.maths.counter import stream
from logratio.maths.intervals import Measure


def table(*cells, models=3):
    wins = np.zeros((1, models, models))
    for i, j, won in cells:
        wins[0, i, j] = won
    return wins


@pytest.mark.parametrize("won, lost", [(7, 3), (0.5, 99.5), (100, 0), (0, 0)])
def test_two_models_have_the_closed_form(won, lost):
    (theta,) = strengths(table((0, 1, won), (1, 0, lost), models=2))
    assert theta[0] - theta[1] == pytest.approx(math.log((won + 0.5) / (lost + 0.5)), abs=1e-9)
    assert theta.sum() == pytest.approx(0, abs=1e-12)


def test_strengths_that_made_the_wins_are_found():
    true = np.array([1.2, 0.1, -0.4, -0.9])
    p = 1 / (1 + np.exp(true[None] - true[:, None]))
    (theta,) = strengths((1e7 * p * (1 - np.eye(4)))[None])
    assert np.abs(theta - true).max() < 1e-6


def test_the_fit_has_as_many_wins_as_were_won():
    draw = stream(0, "wins")
    wins = draw.integers(0, 30, (6, 5, 5)).astype(float)
    theta = strengths(wins)
    won = (wins + 0.5) * (1 - np.eye(5))
    p = 1 / (1 + np.exp(theta[:, None, :] - theta[:, :, None]))
    expected = ((won + won.transpose(0, 2, 1)) * p * (1 - np.eye(5))).sum(axis=2)
    assert np.abs(expected - won.sum(axis=2)).max() < 1e-7  # the score equations of Bradley and Terry


def test_a_model_that_wins_all_has_finite_points_and_interval():
    pairs = [(0, 1), (0, 2), (1, 2)] * 40
    values = [1.0, 1.0, 0.5] * 40
    places, _ = ranking(3, pairs, values, [str(i // 3) for i in range(120)])
    assert [own.model for own in places][0] == 0
    assert (places[0].best, places[0].worst) == (1, 1)
    assert math.isfinite(places[0].points.low) and math.isfinite(places[0].points.high)
    assert places[1].points.mean == pytest.approx(places[2].points.mean)
    assert sum(own.points.mean for own in places) / 3 == pytest.approx(CENTRE)


def test_one_prompt_ranks_without_an_interval():
    places, _ = ranking(3, [(0, 1), (0, 2), (1, 2)], [1.0, 1.0, 1.0], ["p"] * 3)
    assert [own.model for own in places] == [0, 1, 2]
    assert all(own.points.low is None and (own.best, own.worst) == (1, 3) for own in places)


def simulated(true, prompts, seed):
    draw = stream(seed, "duels")
    pairs = np.array(list(combinations(range(len(true)), 2)) * prompts)
    p = 1 / (1 + np.exp(true[pairs[:, 1]] - true[pairs[:, 0]]))
    names = [f"{i // (len(true) * (len(true) - 1) // 2)}" for i in range(len(pairs))]
    return pairs, (draw.random(len(pairs)) < p).astype(float), names


def test_intervals_cover_the_points_that_made_the_duels():
    true = np.array([0.6, 0.0, -0.6])
    hits = []
    for seed in range(25):
        places, _ = ranking(3, *simulated(true, 100, seed), seed=seed)
        for own in places:
            hits.append(own.points.low <= CENTRE + ELO * true[own.model] <= own.points.high)
    assert np.mean(hits) >= 0.9  # 75 that hang together in threes; the slow test has many more


@pytest.mark.slow
def test_intervals_cover_nineteen_times_in_twenty():
    true = np.array([0.6, 0.0, -0.6])
    hits = []
    for seed in range(500):
        places, _ = ranking(3, *simulated(true, 100, seed), seed=seed)
        hits += [own.points.low <= CENTRE + ELO * true[own.model] <= own.points.high for own in places]
    assert 0.93 <= np.mean(hits) <= 0.97


def rate(mean, half=0.05):
    return Measure(mean, mean - half, mean + half, 100, half / 2)


def test_a_cycle_is_found_once_and_called_sure_by_its_intervals():
    found = cycles({(0, 1): rate(0.6), (1, 2): rate(0.7), (0, 2): rate(0.4)})
    assert [(own.models, own.sure) for own in found] == [((0, 1, 2), True)]
    assert not cycles({(0, 1): rate(0.6), (1, 2): rate(0.7), (0, 2): rate(0.5)})  # a tie closes no circle
    assert not cycles({(0, 1): rate(0.6), (1, 2): rate(0.7), (0, 2): rate(0.6)})
    (unsure,) = cycles({(0, 1): rate(0.6, 0.2), (1, 2): rate(0.7), (0, 2): rate(0.4)})
    assert not unsure.sure
    (back,) = cycles({(0, 1): rate(0.4), (1, 2): rate(0.3), (0, 2): rate(0.6)})
    assert back.models == (0, 2, 1)


def test_a_cycle_shows_in_the_misfit_and_a_ladder_does_not():
    pairs, prompts = [(0, 1), (1, 2), (0, 2)] * 50, [str(i // 3) for i in range(150)]
    _, round_ = ranking(3, pairs, [1.0, 1.0, 0.0] * 50, prompts)
    assert round_ == pytest.approx(0.5)
    true = np.array([1.0, 0.0, -1.0])
    p = [1 / (1 + math.exp(true[b] - true[a])) for a, b in pairs]
    _, ladder = ranking(3, pairs, p, prompts)
    assert ladder < 0.01
