import pytest

from logratio.report.kit import Interval
from logratio.report.summary import Measured, tiles, verdict


def share(mean, half=0.04, n=480):
    return Interval(mean, mean - half, mean + half, n, share=True)


def run(after, before=None, length=None, kl=None, name="accuracy"):
    measured = {name: after}
    if length is not None:
        measured["length_baseline"] = length
    if kl is not None:
        measured["kl"] = kl
    return Measured({name: before} if before else {}, measured, "final policy")


@pytest.mark.parametrize(
    ("after", "before", "length", "tone", "said"),
    [
        (share(0.65), share(0.50), share(0.54), "good", "rose from 50.0\u202f% to 65.0\u202f%."),
        (share(0.52), share(0.50), share(0.40), "warn", "the intervals overlap"),
        (share(0.40), share(0.50), share(0.30), "bad", "fell from 50.0\u202f% to 40.0\u202f%."),
        (share(0.65), share(0.50), share(0.63), "warn", "rose from"),
        (share(0.65), share(0.50), None, "warn", "rose from"),
        (share(0.65, n=240), share(0.50), share(0.54), "warn", "not on the same data"),
        (share(0.65), None, share(0.54), "warn", "not measured at step 0"),
        (share(1.0, 0.28, 10), Interval(0.5, 0.24, 0.76, 10, True), None, "warn", "the intervals overlap"),
        (share(1.0, 0.28, 10), Interval(0.5, 0.24, 0.76, 10, True, alike=True), None, "warn", "rose from 50.0"),
        (share(0.7, 0.28, 10), Interval(0.5, 0.24, 0.76, 10, True, alike=True), None, "warn", "the intervals overlap"),
        (Interval(0.65, share=True), Interval(0.5, share=True), None, "warn", "without intervals"),
    ],
)
def test_a_rise_is_claimed_only_where_intervals_part_and_length_does_not_explain_it(after, before, length, tone, said):
    answer = verdict(run(after, before, length))
    assert answer.tone == tone and said in answer.headline


def test_the_support_names_the_baseline():
    support = verdict(run(share(0.65), share(0.5), share(0.54))).support
    assert "Judging by length alone scores 54.0\u202f%, so length alone does not explain this." in support


def test_loss_stands_in_where_there_are_no_pairs_and_falling_is_good():
    before, after = Interval(2.5, 2.4, 2.6, 300), Interval(2.0, 1.9, 2.1, 300)
    assert verdict(run(after, before, name="nll_per_token")).tone == "good"
    assert verdict(run(before, after, name="nll_per_token")).tone == "bad"


def test_without_any_measurement_nothing_is_claimed():
    answer = verdict(Measured({}, {}, "no step"))
    assert answer.tone == "warn" and "cannot say" in answer.headline
    assert tiles(Measured({}, {}, "no step")) == []


def test_tiles_hold_what_was_measured_with_before_and_after():
    [accuracy, length, kl] = tiles(run(share(0.65), share(0.5), share(0.54), Interval(7.0, 6.5, 7.5, 128)))
    assert accuracy.value == "50.0\u202f% → 65.0\u202f%" and length.value == "54.0\u202f%" and kl.value == "7.00"
