import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logratio.report.decimate import min_max, moving_mean

VALUES = st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), min_size=1, max_size=400)


@given(VALUES, st.integers(1, 40))
def test_thinning_keeps_ends_peaks_and_order_and_invents_nothing(ys, buckets):
    xs = list(range(len(ys)))
    kept_x, kept_y = min_max(xs, ys, buckets)
    assert kept_x == sorted(set(kept_x)) and kept_x[0] == 0 and kept_x[-1] == xs[-1]
    assert all(y == ys[x] or (math.isnan(y) and math.isnan(ys[x])) for x, y in zip(kept_x, kept_y, strict=True))
    assert len(kept_x) <= max(2 * buckets, 3 * buckets + 2)
    finite = [y for y in ys if not math.isnan(y)]
    if finite:
        shown = [y for y in kept_y if not math.isnan(y)]
        assert (min(shown), max(shown)) == (min(finite), max(finite))


def test_a_single_spike_among_a_hundred_thousand_steps_is_kept():
    ys = [1.0] * 100_000
    ys[54_321] = 9.0
    xs, thin = min_max(range(100_000), ys, 240)
    assert len(xs) <= 722 and (54_321, 9.0) in zip(xs, thin, strict=True)


def test_a_value_that_is_not_finite_leaves_a_gap():
    ys = [1.0] * 1000
    ys[500] = math.inf
    xs, thin = min_max(range(1000), ys, 10)
    assert math.isnan(dict(zip(xs, thin, strict=True))[500])


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=60), st.integers(1, 10))
def test_the_moving_mean_is_the_mean_of_the_last_window(ys, window):
    for i, mean in enumerate(moving_mean(ys, window)):
        last = ys[max(0, i - window + 1) : i + 1]
        if 2 * len(last) < window:
            assert math.isnan(mean)
        else:
            assert mean == pytest.approx(sum(last) / len(last), abs=1e-9)


def test_the_moving_mean_passes_over_gaps_and_stops_where_too_little_is_left():
    means = moving_mean([1.0, math.nan, 3.0, math.nan, math.nan, math.nan], 2)
    assert means[:4] == [1.0, 1.0, 3.0, 3.0] and math.isnan(means[5])
