import numpy as np
import pytest

from logratio.evaluate.retain import retain_measures
from logratio.maths.counter import stream
from logratio.maths.intervals import NOTHING


def test_losses_and_their_difference_by_hand():
    before = [np.array([-1, -2], np.float32), np.array([-3, -1, -2, -4], np.float32)]
    after = [np.array([-2, -2], np.float32), np.array([-3, -1, -2, -1], np.float32)]
    measures = retain_measures(before, after)
    assert measures["retain_before"].mean == pytest.approx(13 / 6)
    assert measures["retain_after"].mean == pytest.approx(11 / 6)
    assert measures["retain_change"].mean == pytest.approx(-2 / 6)
    assert measures["retain_change"].n == 2


def test_the_paired_interval_sees_what_two_intervals_hide():
    """Texts differ far more from each other than training changes any of them."""
    draw = stream(0, "retain")
    before = [draw.normal(-3 - 2 * draw.random(), 1, 40).astype(np.float32) for _ in range(60)]
    after = [values - np.float32(0.05) + draw.normal(0, 0.01, 40).astype(np.float32) for values in before]
    measures = retain_measures(before, after)
    assert measures["retain_after"].low < measures["retain_before"].high, "unpaired intervals overlap"
    assert measures["retain_change"].low > 0.04
    assert measures["retain_change"].high < 0.06


def test_without_a_reference_there_is_only_after():
    after = [np.array([-2.0], np.float32), np.array([-1.0], np.float32)]
    measures = retain_measures(None, after)
    assert measures["retain_after"].mean == 1.5
    assert measures["retain_before"] == measures["retain_change"] == NOTHING


def test_a_text_without_a_scored_token_counts_for_nothing():
    values = [np.array([-2.0], np.float32), np.zeros(0, np.float32), np.array([-1.0], np.float32)]
    assert retain_measures(values, values)["retain_after"].n == 2
