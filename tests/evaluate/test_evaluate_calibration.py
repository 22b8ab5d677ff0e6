import numpy as np
import pytest

from logratio.evaluate.calibration import calibration, equal_mass
from logratio.evaluate.implied import Implied
from logratio.maths.counter import stream


def calls(probability, preferred=None, prompt=None):
    p = np.asarray(probability, np.float64)
    y = np.ones(len(p)) if preferred is None else np.asarray(preferred, np.float64)
    return Implied(p, y, np.arange(len(p)) if prompt is None else np.asarray(prompt))


def drawn(draw, n, *, truth=lambda logit: logit):
    """Calls with normal log-odds, judged by the true log-odds; oriented by the label, as data is."""
    logit = draw.normal(0, 1.5, n)
    first = draw.random(n) < 1 / (1 + np.exp(-truth(logit)))
    return calls(1 / (1 + np.exp(np.where(first, -logit, logit))))


HAND = calls([0.8] * 8 + [0.2] * 2 + [0.6] * 5 + [0.4] * 5)
"""Of ten calls of 80 % eight are right, of ten of 60 % five."""


def test_two_bins_by_hand():
    found = calibration(HAND, least=10)
    assert [(b["predicted"], b["observed"], b["n"]) for b in found.bins] == [
        (pytest.approx(0.6), 0.5, 10),
        (pytest.approx(0.8), 0.8, 10),
    ]
    assert found.bins[1]["low"] < 0.8 < found.bins[1]["high"]
    expected = {"reliability": 0.5 * 0.1**2, "resolution": 0.5 * 0.3**2, "uncertainty": 0.25, "within": 0}
    assert found.parts == pytest.approx(expected, abs=1e-15)
    assert found.measures["brier"].mean == pytest.approx(0.21)
    assert found.measures["overconfidence"].mean == pytest.approx(0.05)
    assert 0 <= found.measures["ece"].mean < 0.05 < found.measures["ece"].high  # 0.05 before its bias is taken off


def test_the_score_is_the_sum_of_its_parts_whatever_the_calls():
    draw = stream(0, "parts")
    for n in (1, 7, 50, 500):
        p, y = draw.random(n), np.where(draw.random(n) < 0.3, draw.random(n), 1.0)
        p[: n // 3] = 0.5 + 1e-6 * draw.normal(size=n // 3)  # favours neither
        found = calibration(calls(p, y, draw.integers(0, max(1, n // 2), n)))
        parts = found.parts
        total = parts["reliability"] - parts["resolution"] + parts["uncertainty"] + parts["within"]
        assert found.measures["brier"].mean == pytest.approx(total, abs=1e-6)  # an even call counts as ½ exactly
        assert sum(own["n"] for own in found.bins) == n


def test_which_response_is_called_the_first_does_not_matter():
    draw = stream(1, "sides")
    p, y, turned = draw.random(200), draw.random(200), draw.random(200) < 0.5
    other = calibration(calls(np.where(turned, 1 - p, p), np.where(turned, 1 - y, y)))
    found = calibration(calls(p, y))
    assert other.to_json()["bins"] == [pytest.approx(own) for own in found.bins]
    assert {name: own.mean for name, own in other.measures.items()} == pytest.approx(
        {name: own.mean for name, own in found.measures.items()}
    )


def test_a_policy_that_is_its_reference_is_a_coin():
    found = calibration(calls(0.5 + 1e-6 * stream(2, "coin").normal(size=100)))
    assert found.measures["brier"].mean == pytest.approx(0.25, abs=1e-5)
    assert (found.measures["ece"].mean, found.measures["overconfidence"].mean) == (0, 0)
    assert len(found.bins) == 1 and found.parts["resolution"] == 0


def test_sure_and_wrong_is_the_worst():
    found = calibration(calls([1e-9] * 40))
    assert found.measures["brier"].mean == pytest.approx(1)
    assert found.measures["ece"].mean == pytest.approx(1, abs=1e-4)
    assert found.measures["overconfidence"].mean == pytest.approx(1)


def test_bins_have_equal_mass_and_equal_calls_stay_together():
    values = stream(3, "bins").random(1000)
    assert np.bincount(equal_mass(values, 10)).tolist() == [100] * 10
    tied = np.array([0.5] * 70 + [0.6] * 5 + [0.9] * 25)
    bins = equal_mass(tied, 10)
    assert all(len(set(bins[tied == value])) == 1 for value in (0.5, 0.6, 0.9))
    assert sorted(set(bins)) == list(range(bins.max() + 1))
    assert (np.diff(bins[np.argsort(tied, kind="stable")]) >= 0).all()


def plain(found):
    return sum(own["n"] * abs(own["predicted"] - own["observed"]) for own in found.bins) / sum(
        own["n"] for own in found.bins
    )


def test_the_error_of_a_calibrated_policy_is_near_0_though_plain_bins_say_otherwise():
    draw = stream(4, "calibrated")
    found = [calibration(drawn(draw, 200)) for _ in range(200)]
    ece = np.array([own.measures["ece"].mean for own in found])
    assert np.mean([plain(own) for own in found]) > 0.06  # all of it noise
    assert ece.mean() < 0.03
    assert np.mean([own.measures["ece"].low == 0 for own in found]) >= 0.9


def test_the_error_of_an_overconfident_policy_is_found_and_its_interval_holds_it():
    draw = stream(5, "overconfident")
    truth = plain(calibration(drawn(draw, 400_000, truth=lambda logit: logit / 3)))
    found = [calibration(drawn(draw, 500, truth=lambda logit: logit / 3)).measures for _ in range(200)]
    assert 0.1 < truth < 0.2
    assert np.mean([own["ece"].mean for own in found]) == pytest.approx(truth, abs=0.006)
    assert np.mean([own["ece"].low <= truth <= own["ece"].high for own in found]) >= 0.9
    assert np.mean([own["overconfidence"].low > 0 for own in found]) >= 0.95


def test_judgements_of_one_prompt_are_not_counted_as_independent():
    own = drawn(stream(6, "clusters"), 300)
    once = calibration(own).measures
    five = calibration(calls(np.repeat(own.probability, 5), prompt=np.repeat(own.prompt, 5))).measures
    for name in ("brier", "ece", "overconfidence"):
        assert five[name].low == pytest.approx(once[name].low, abs=2e-3)
        assert five[name].high == pytest.approx(once[name].high, abs=2e-3)
