"""What scores are measured against: the sheet's figures, and failed judgements left out."""

import numpy as np
import pytest

from logratio.maths.advantages import group_advantages, is_dead, overlong, to_go, whiten


@pytest.mark.parametrize(("normalise", "size"), [("population", 1.0), ("sample", 0.5**0.5), ("none", 1.5)])
@pytest.mark.parametrize("scores", [(4.0, 1.0), (1.0, 4.0)])
def test_of_two_unequal_scores_only_the_sign_is_left_by_a_standard_deviation(normalise, size, scores):
    found = group_advantages(scores, normalise=normalise)
    assert found == pytest.approx(size * np.sign([scores[0] - scores[1], scores[1] - scores[0]]), abs=1e-15)


def test_leaving_a_score_out_is_the_mean_of_the_others():
    scores = np.array([0.3, -1.2, 2.0, 0.3])
    by_hand = [own - np.delete(scores, i).mean() for i, own in enumerate(scores)]
    found = group_advantages(scores, leave_one_out=True)
    assert found == pytest.approx(by_hand, abs=1e-15)
    assert found == pytest.approx(4 / 3 * group_advantages(scores), abs=1e-15)


@pytest.mark.parametrize("normalise", ["population", "sample", "none"])
@pytest.mark.parametrize("scores", [[2.0, 2.0, 2.0], [0.1 + 0.2, 0.3], [5.0], []])
def test_a_group_without_a_difference_is_dead_and_has_no_advantage(normalise, scores):
    assert is_dead(scores)
    assert not group_advantages(scores, normalise=normalise).any()
    assert np.isfinite(group_advantages(scores, normalise=normalise, leave_one_out=True)).all()


def test_small_differences_of_scores_count_and_rounding_does_not():
    assert not is_dead([0.0, 1e-4]) and not is_dead([1000.0, 1000.1])
    assert is_dead(np.float32([1000.1, 1000.1 + 6e-5]))
    assert is_dead([0.3 - 0.3, 0.1 + 0.2 - 0.3], size=0.3) and is_dead([0.0, -0.0])


@pytest.mark.parametrize("scale", [1e-9, 1e-6, 1.0, 1e6])
def test_whether_scores_differ_does_not_depend_on_their_scale(scale):
    scores = scale * np.array([0.0, 0.5, 1.0])
    assert not is_dead(scores) and is_dead(scale * np.array([1.0, 1.0 + 5e-7]))
    assert group_advantages(scores, normalise="population") == pytest.approx([-(1.5**0.5), 0, 1.5**0.5])


def test_failed_judgements_take_no_part():
    scores = [1.0, np.nan, 3.0, 50.0]
    found = group_advantages(scores, normalise="population", counted_K=[True, True, True, False])
    assert found.tolist() == [-1.0, 0.0, 1.0, 0.0]
    assert is_dead([1.0, np.nan]) and is_dead([1.0, 2.0], [True, False])


def test_whitening_has_mean_0_and_variance_1_and_without_centring_keeps_the_mean():
    value = np.random.default_rng(0).normal(3, 5, 1000)
    white = whiten(value)
    assert white.mean() == pytest.approx(0, abs=1e-12) and white.var() == pytest.approx(1, abs=1e-6)
    scaled = whiten(value, centre=False)
    assert scaled.mean() == pytest.approx(value.mean(), abs=1e-12) and scaled.var() == pytest.approx(1, abs=1e-6)
    assert whiten([2.0, 2.0]).tolist() == [0.0, 0.0]


def test_whitening_takes_its_moments_from_what_has_weight():
    value, weight = np.array([1.0, 3.0, 1e9]), np.array([1.0, 1.0, 0.0])
    assert whiten(value, weight=weight)[:2] == pytest.approx([-1, 1], abs=1e-7)
    assert whiten(value, weight=np.zeros(3)).tolist() == value.tolist()


def test_what_is_still_to_come_ends_with_its_response():
    assert to_go([1.0, 2.0, 4.0, 8.0, 16.0], [3, 0, 2]).tolist() == [7.0, 6.0, 4.0, 24.0, 16.0]
    assert to_go([], []).tolist() == []


def test_the_punishment_of_long_responses_grows_between_its_ends():
    assert overlong([3, 10, 15, 20, 21], start=10, end=20).tolist() == [0.0, 0.0, -0.5, -1.0, -1.0]
