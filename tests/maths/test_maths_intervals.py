import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logratio.errors import NonFiniteError
from logratio.maths.counter import stream
from logratio.maths.intervals import Measure, mean_interval, proportion_interval, share_interval, t_quantile

T_TABLE = {1: 12.7062, 2: 4.3027, 3: 3.1824, 5: 2.5706, 10: 2.2281, 30: 2.0423, 60: 2.0003, 120: 1.9799, 1000: 1.9623}
"""97.5 % points as printed in statistical tables."""


@pytest.mark.parametrize("df", T_TABLE)
def test_t_quantiles_are_those_of_printed_tables(df):
    assert t_quantile(df) == pytest.approx(T_TABLE[df], abs=6e-5)


def test_t_quantiles_fall_without_a_jump_where_the_formula_changes():
    points = [t_quantile(df) for df in range(195, 207)]
    steps = -np.diff(points)
    assert (steps > 0).all()
    assert np.abs(np.diff(steps)).max() < 2e-6


def test_the_plain_interval_is_the_textbook_one():
    values = [1.0, 2.0, 4.0, 9.0]
    se = np.std(values, ddof=1) / 2
    measure = mean_interval(values)
    assert measure.mean == 4.0 and measure.n == 4
    assert measure.se == pytest.approx(se)
    assert (measure.low, measure.high) == pytest.approx((4 - 3.18244631 * se, 4 + 3.18244631 * se))


def test_weights_give_a_ratio_of_sums_and_weight_zero_leaves_out():
    measure = mean_interval([1.0, 3.0, 100.0], weights=[3, 1, 0])
    assert measure.mean == 1.5 and measure.n == 2
    assert mean_interval([1.0, 3.0, math.nan], weights=[3, 1, 0]) == measure
    equal = mean_interval([1.0, 3.0, 8.0], weights=[5, 5, 5])
    assert equal.se == pytest.approx(mean_interval([1.0, 3.0, 8.0]).se)


def test_repeating_every_row_of_a_cluster_adds_nothing():
    values = [1.0, 2.0, 4.0, 9.0]
    once = mean_interval(values)
    thrice = mean_interval(np.repeat(values, 3), clusters=np.repeat(["a", "b", "c", "d"], 3))
    assert (thrice.mean, thrice.low, thrice.high) == pytest.approx((once.mean, once.low, once.high))
    assert thrice.n == 12
    assert mean_interval(np.repeat(values, 3)).se < 0.6 * once.se


@pytest.mark.parametrize("interval", [mean_interval, share_interval])
def test_too_little_data_is_null_and_never_nan(interval):
    assert interval([]) == Measure(None, None, None, 0)
    assert json.loads(json.dumps(mean_interval([2.0]).to_json(), allow_nan=False)) == {
        "mean": 2.0,
        "low": None,
        "high": None,
        "n": 1,
        "se": None,
    }
    assert mean_interval([1.0, 2.0], clusters=["a", "a"]).low is None
    assert proportion_interval(0, 0) == Measure(None, None, None, 0)


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(NonFiniteError, match="1 of 2 values"):
        mean_interval([1.0, math.inf])
    with pytest.raises(ValueError, match="equally many"):
        mean_interval([1.0, 2.0], weights=[1.0])


def test_wilson_interval_solves_its_defining_equation():
    z = 1.959963984540054
    measure = proportion_interval(7, 20)
    for end in (measure.low, measure.high):
        assert abs(0.35 - end) == pytest.approx(z * math.sqrt(end * (1 - end) / 20))
    assert proportion_interval(20, 20).high == 1.0
    assert proportion_interval(20, 20).low == pytest.approx(20 / (20 + z**2))


def test_a_share_without_clusters_is_wilson():
    ours = share_interval([1.0] * 7 + [0.0] * 13)
    exact = proportion_interval(7, 20)
    assert (ours.mean, ours.n) == (exact.mean, exact.n)
    assert (ours.low, ours.high) == pytest.approx((exact.low, exact.high), abs=0.01)
    assert share_interval([1.0] * 20).low == pytest.approx(proportion_interval(20, 20).low)


def test_a_share_of_ties_keeps_a_width():
    measure = share_interval([0.5] * 20)
    assert measure.mean == 0.5 and measure.low < 0.35 and measure.high > 0.65


def test_a_share_counts_a_cluster_once_where_its_rows_agree():
    clustered = share_interval([1.0] * 30 + [0.0] * 30, clusters=np.repeat(np.arange(20), 3))
    exact = proportion_interval(10, 20)
    assert (clustered.low, clustered.high) == pytest.approx((exact.low, exact.high), abs=0.02)
    assert share_interval([1.0] * 60, clusters=np.repeat(np.arange(20), 3)).low == pytest.approx(
        proportion_interval(20, 20).low
    )


def _coverage(draw, truth: float, trials: int = 1000) -> float:
    held = [measure.low <= truth <= measure.high for measure in (draw(stream(0, "coverage", t)) for t in range(trials))]
    return float(np.mean(held))


def _clustered_rows(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    sizes = rng.integers(1, 5, 40)
    clusters = np.repeat(np.arange(40), sizes)
    return rng.normal(size=40)[clusters] + 0.5 * rng.normal(size=len(clusters)), clusters


def test_intervals_cover_the_truth_as_often_as_they_say():
    """Within four binomial standard errors of 95 %: 0.922 … 0.978 at 1,000 trials."""

    def clustered(rng):
        values, clusters = _clustered_rows(rng)
        return mean_interval(values, clusters=clusters)

    def share(rng):
        latent, clusters = _clustered_rows(rng)
        return share_interval((latent > 0).astype(float), clusters=clusters)

    def ratio(rng):
        tokens = rng.integers(5, 50, 60)
        return mean_interval(2 + rng.normal(size=60) / np.sqrt(tokens), weights=tokens)

    cases = [
        (lambda rng: mean_interval(rng.normal(size=8)), 0.0),
        (lambda rng: proportion_interval(int(rng.binomial(30, 0.85)), 30), 0.85),
        (clustered, 0.0),
        (share, 0.5),
        (ratio, 2.0),
    ]
    coverage = [_coverage(draw, truth) for draw, truth in cases]
    assert all(0.922 <= c <= 0.978 for c in coverage), coverage


def test_rows_that_share_a_prompt_are_overconfident_without_clusters():
    assert _coverage(lambda rng: mean_interval(_clustered_rows(rng)[0]), 0.0, 400) < 0.9


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=40), st.integers(1, 5))
def test_a_share_lies_in_its_interval_and_that_in_zero_to_one(values, cluster_size):
    clusters = [i // cluster_size for i in range(len(values))]
    measure = share_interval(values, clusters)
    assert 0 <= measure.low <= measure.mean <= measure.high <= 1
