"""The learning rate over a run, by hand."""

import math

import pytest

from logratio.train.schedule import rate


def rates(schedule, steps=20, warmup=0.2, peak=3e-6):
    return [rate(step, steps, peak=peak, schedule=schedule, warmup=warmup) for step in range(steps)]


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_warm_up_begins_at_peak_over_n_and_reaches_the_peak(schedule):
    assert rates(schedule)[:4] == pytest.approx([3e-6 * share for share in (0.25, 0.5, 0.75, 1.0)])
    assert rates(schedule)[4] == pytest.approx(3e-6)  # step n is the first after warm-up


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 0.99])
def test_no_step_has_rate_0_and_none_exceeds_the_peak(schedule, steps, warmup):
    found = rates(schedule, steps, warmup)
    assert all(0 < value <= 3e-6 * (1 + 1e-12) for value in found)


def test_linear_falls_by_equal_amounts_to_one_of_them():
    falling = rates("linear")[4:]
    assert falling == pytest.approx([3e-6 * (1 - k / 16) for k in range(16)])
    assert falling[-1] == pytest.approx(3e-6 / 16)


def test_cosine_is_half_way_in_the_middle_and_flat_at_both_ends():
    falling = rates("cosine")[4:]
    assert falling == pytest.approx([1.5e-6 * (1 + math.cos(math.pi * k / 16)) for k in range(16)])
    assert falling[8] == pytest.approx(1.5e-6)
    assert falling[0] - falling[1] < falling[7] - falling[8] > falling[14] - falling[15]


def test_constant_stays():
    assert set(rates("constant")[4:]) == {3e-6}
