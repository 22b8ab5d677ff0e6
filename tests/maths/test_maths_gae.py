"""Advantages in closed form, against the definition written out; and what their values explain."""

import numpy as np
import pytest

from logratio.maths.gae import advantages, explained_variance

LENGTHS = np.array([3, 1, 5, 0, 4])
DRAW = np.random.default_rng(0)
REWARD, VALUE = DRAW.normal(size=(2, LENGTHS.sum()))


def responses(values):
    return np.split(values, np.cumsum(LENGTHS)[:-1])


def test_lambda_1_without_discount_is_what_is_still_to_come_less_the_value():
    found = responses(advantages(REWARD, VALUE, LENGTHS, gamma=1.0, lam=1.0))
    for own, reward, value in zip(found, responses(REWARD), responses(VALUE), strict=True):
        assert own == pytest.approx(reward[::-1].cumsum()[::-1] - value, abs=1e-12)


def test_lambda_0_is_the_temporal_difference():
    found = responses(advantages(REWARD, VALUE, LENGTHS, gamma=0.9, lam=0.0))
    for own, reward, value in zip(found, responses(REWARD), responses(VALUE), strict=True):
        following = np.append(value[1:], 0.0)[: len(value)]
        assert own == pytest.approx(reward + 0.9 * following - value, abs=1e-12)


def test_between_them_it_is_the_sum_as_defined():
    gamma, lam = 0.95, 0.8
    found = responses(advantages(REWARD, VALUE, LENGTHS, gamma=gamma, lam=lam))
    for own, reward, value in zip(found, responses(REWARD), responses(VALUE), strict=True):
        delta = [reward[t] + gamma * (value[t + 1] if t + 1 < len(value) else 0) - value[t] for t in range(len(value))]
        expected = [sum((gamma * lam) ** k * d for k, d in enumerate(delta[t:])) for t in range(len(delta))]
        assert own == pytest.approx(expected, abs=1e-12)


def test_a_perfect_value_leaves_no_advantage():
    """V_t = γ-discounted rewards to come: every δ is 0, whatever λ is."""
    value = np.concatenate(
        [
            np.array([sum(0.9**k * r for k, r in enumerate(part[t:])) for t in range(len(part))])
            for part in responses(REWARD)
        ]
    )
    for lam in (0.0, 0.5, 1.0):
        assert np.abs(advantages(REWARD, value, LENGTHS, gamma=0.9, lam=lam)).max() < 1e-12


def test_a_response_does_not_see_its_neighbour():
    one = advantages(REWARD[:3], VALUE[:3], np.array([3]), gamma=1.0, lam=0.95)
    assert advantages(REWARD, VALUE, LENGTHS, gamma=1.0, lam=0.95)[:3] == pytest.approx(one, abs=1e-15)
    assert len(advantages(REWARD[:0], VALUE[:0], np.array([0, 0]), gamma=1.0, lam=0.95)) == 0


def test_explained_variance_at_its_landmarks():
    assert explained_variance(REWARD, REWARD) == 1.0
    assert explained_variance(REWARD, REWARD + 5) == pytest.approx(1.0)  # an offset is no error of shape
    assert explained_variance(REWARD, np.zeros_like(REWARD)) == pytest.approx(0.0)
    assert explained_variance(REWARD, -REWARD) == pytest.approx(-3.0)
    assert explained_variance(np.ones(3), np.array([0.0, 1.0, 2.0])) == 0.0
