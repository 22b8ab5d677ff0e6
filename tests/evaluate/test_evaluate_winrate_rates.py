"""Figures of duels: what each counts, and how often their intervals hold the truth."""

import numpy as np
import pytest

from logratio.evaluate.winrate.answers import Answer
from logratio.evaluate.winrate.judging import Duel, Outcome
from logratio.evaluate.winrate.rates import figures
from logratio.evaluate.winrate.resample import draws, mean_ends
from logratio.maths.counter import stream
from logratio.maths.intervals import share_interval


def outcome(question, value, lengths=(10, 10), forward=None, backward=None, **more):
    texts = ["a" * lengths[0], "b" * lengths[1]]
    duel = Duel(question, 0, 0, 1, *(Answer(text, text) for text in texts))
    flipped = None if backward is None else (forward - 0.5) * (backward - 0.5) < 0
    first = None if backward is None else (forward + 1 - backward) / 2
    return Outcome(duel, value, value if forward is None else forward, backward, first, flipped, **more)


def names(n):
    return [f"{i:04d}" for i in range(n)]


def test_counts_and_rate():
    found = [outcome(0, 1.0), outcome(1, 0.5), outcome(2, 0.0), outcome(3, 0.7), outcome(4, None, failed="slow")]
    told = figures(found, names(5))
    assert [told[name] for name in ("wins", "ties", "losses", "failed", "prompts")] == [2, 1, 1, 1, 4]
    assert told["rate"]["mean"] == pytest.approx(2.2 / 4) and told["rate"]["n"] == 4
    assert told["controlled"] is None  # too few prompts
    assert told["flips"]["n"] == 0 and told["flips"]["mean"] is None  # judged in one order


def test_orders_that_disagree_are_flips_and_the_first_place_is_measured():
    always_first = [outcome(i, 0.5, forward=1.0, backward=0.0) for i in range(20)]
    told = figures(always_first, names(20))
    assert told["rate"]["mean"] == 0.5 and told["flips"]["mean"] == 1 and told["shown_first"]["mean"] == 1
    fair = [outcome(i, 1.0, forward=1.0, backward=1.0) for i in range(10)]
    told = figures(fair, names(10))
    assert told["flips"]["mean"] == 0 and told["shown_first"]["mean"] == 0.5
    half = [outcome(0, 0.75, forward=1.0, backward=0.5)]  # a tie in one order is no change of mind
    assert figures(half, names(1))["flips"]["mean"] == 0


def test_length_matched_counts_answers_within_a_quarter_of_each_other():
    found = [
        outcome(0, 1.0, (100, 125)),
        outcome(1, 0.0, (100, 126)),
        outcome(2, 0.0, (80, 100)),
        outcome(3, 0.0, (0, 1)),
        outcome(4, 1.0, (0, 0)),
    ]
    told = figures(found, names(5))
    assert told["matched"]["n"] == 3 and told["matched"]["mean"] == pytest.approx(2 / 3)
    assert told["longer"]["n"] == 4 and told["longer"]["mean"] == pytest.approx(
        0.75
    )  # b is longer in all, and wins all but the first


def test_categories_have_their_own_rates_and_prompts_without_one_are_left_out():
    found = [outcome(0, 1.0), outcome(1, 0.0), outcome(2, 1.0), outcome(3, 1.0)]
    told = figures(found, names(4), kinds=["x", "x", "y", None])["categories"]
    assert {kind: (own["mean"], own["n"]) for kind, own in told.items()} == {"x": (0.5, 2), "y": (1.0, 1)}


def test_both_bad_is_a_share_of_what_was_judged():
    found = [outcome(0, 0.5, both_bad=True), outcome(1, 1.0), outcome(2, None, failed="x")]
    assert figures(found, names(3))["both_bad"]["mean"] == 0.5


def test_no_verdict_at_all_gives_no_rate():
    told = figures([outcome(0, None, failed="x")], names(1))
    assert told["rate"]["mean"] is None and told["failed"] == 1


def judged(n, p, draw):
    """n preferences with mean p, one in ten a tie."""
    tie = draw.random(n) < 0.1
    return np.where(tie, 0.5, (draw.random(n) < (p - 0.05) / 0.9).astype(float))


@pytest.mark.parametrize("n, p", [(400, 0.55), (100, 0.6), (30, 0.9), (20, 0.5)])
def test_the_interval_of_a_rate_covers_it(n, p):
    draw, hits = stream(0, "coverage", n), []
    for _ in range(2000):
        own = share_interval(judged(n, p, draw), names(n))
        hits.append(own.low <= p <= own.high)
    assert np.mean(hits) >= 0.93


def test_several_answers_to_a_prompt_do_not_count_as_so_many_prompts():
    draw, hits = stream(1, "coverage"), []
    prompts = [f"{i // 4}" for i in range(400)]
    for _ in range(500):
        easy = np.repeat(draw.beta(1.2, 0.8, 100), 4)  # some prompts are won by most answers, others by few
        own = share_interval((draw.random(400) < easy).astype(float), prompts)
        hits.append(own.low <= 0.6 <= own.high)
    assert np.mean(hits) >= 0.93


@pytest.mark.slow
def test_the_percentile_bootstrap_is_too_narrow_where_few_decide():
    """Why the interval that is reported is another one."""
    draw, hits = stream(0, "bootstrap"), []
    for _ in range(600):
        low, high = mean_ends(judged(30, 0.9, draw), names(30), 0)
        hits.append(low <= 0.9 <= high)
    assert np.mean(hits) < 0.925


def test_the_bootstrap_agrees_with_the_interval_that_is_reported_where_many_decide():
    draw = stream(1, "many")
    prompts = [f"{i // 3}" for i in range(1500)]
    base = np.repeat(draw.random(500), 3)
    y = (draw.random(1500) < base).astype(float)
    own, plain = share_interval(y, prompts), mean_ends(y, prompts, 0)
    assert plain == (pytest.approx(own.low, abs=0.004), pytest.approx(own.high, abs=0.004))


def test_draws_are_of_all_prompts_and_the_same_for_a_seed():
    first, again, other = (np.concatenate(list(draws(50, seed, 40))) for seed in (3, 3, 4))
    assert (first == again).all() and (first != other).any()
    assert first.shape == (40, 50) and (first.sum(axis=1) == 50).all()
