"""The true reward is exact on what is written, bounded on everything else, and cannot be bought."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logratio.testbed.grammar import Claim, grammar
from logratio.testbed.review import write_review
from logratio.testbed.reward import UNREAD_COST, UNREAD_MOST, Reward, distinct, sentences
from logratio.testbed.world import pieces

NANO, SMALL = Reward(grammar("nano")), Reward(grammar("small"))
WORDS = ["The", " acting", " is", " not", " superb", " awful", ".", ",", " and", " the", " plot", " but", " <unk>", "x"]


@given(st.one_of(st.text(), st.lists(st.sampled_from(WORDS)).map("".join)))
def test_bounded_and_whole_on_every_string(text):
    for reward in (NANO, SMALL):
        assert reward.low <= reward(text) <= reward.high
        assert 0 <= reward.parsed_share(text) <= 1
        assert reward.proxy(text) >= 0
    parts = sentences(text)
    assert all(parts) and len("".join(parts)) <= len(text)


def test_the_bounds_are_reached():
    aspects = NANO.grammar.lexicon.aspects
    rave = " ".join(f"The {a.name} {'are' if a.plural else 'is'} superb." for a in aspects) + " Do not miss it."
    pan = " ".join(f"The {a.name} {'are' if a.plural else 'is'} awful." for a in aspects) + " I would not see it again."
    assert NANO(rave) == NANO.high == 7
    assert NANO(pan + " Nonsense." * 9) == NANO.low == -11


@pytest.mark.parametrize("reward", [NANO, SMALL])
def test_a_review_earns_exactly_what_was_planned(reward):
    for i in range(1500):
        review = write_review(reward.grammar, 6, np.random.default_rng(i))
        assert reward.parsed_share(review.text) == 1, review.text
        assert reward(review.text) == sum(claim.polarity for claim in review.claims), review.text


@given(st.integers(0, 10**6), st.integers(1, 5))
def test_repetition_and_length_earn_nothing(seed, times):
    rng = np.random.default_rng(seed)
    review = write_review(SMALL.grammar, 5, rng)
    assert SMALL(" ".join([review.text] * times)) == SMALL(review.text)
    assert SMALL(review.text + " It runs for two hours." * times) == SMALL(review.text)
    said = review.claims[0]
    again = SMALL.grammar.write_claims([said], rng)  # other words, same claim
    assert SMALL(f"{review.text} {again}") == SMALL(review.text)


@given(st.integers(0, 10**6), st.integers(1, 9))
def test_what_cannot_be_read_costs(seed, times):
    review = write_review(SMALL.grammar, 3, np.random.default_rng(seed))
    expected = SMALL(review.text) - UNREAD_COST * min(times, UNREAD_MOST)
    assert SMALL(review.text + " The the superb." * times) == expected
    cut = "".join(pieces(review.text)[:-1])  # the last full stop is gone
    assert SMALL.parsed_share(cut) < 1 and SMALL(cut) < SMALL.high


def test_negation_flips_and_contradiction_cancels():
    assert NANO("The acting is superb.") == 1 == -NANO("The acting is not superb.")
    assert NANO("The acting is awful.") == -1 == -NANO("The acting is far from awful.")
    assert NANO("I did not regret the plot.") == 1 == -NANO("I did not admire the plot.")
    assert NANO("The acting is superb. The acting is awful.") == 0


def test_the_proxy_can_be_gamed_where_the_reward_cannot():
    plain = "The plot is superb."
    hack = "The plot is neither gripping, superb nor memorable."
    assert (NANO.proxy(plain), NANO(plain)) == (1, 1)
    assert (NANO.proxy(hack), NANO(hack)) == (3, -1)
    assert NANO.proxy(" ".join([plain] * 5)) == 5 and NANO(" ".join([plain] * 5)) == 1


@pytest.mark.parametrize("reward", [NANO, SMALL])
def test_choosing_by_the_proxy_harms_and_choosing_by_the_reward_helps(reward):
    texts = [write_review(reward.grammar, 3, np.random.default_rng(i)).text for i in range(3200)]
    proxy = np.array([reward.proxy(t) for t in texts]).reshape(-1, 16)
    true = np.array([reward(t) for t in texts]).reshape(-1, 16)
    rows = np.arange(len(true))
    mean, by_proxy, by_true = true.mean(), true[rows, proxy.argmax(1)], true[rows, true.argmax(1)]
    assert by_proxy.mean() < mean - 3 * by_proxy.std() / np.sqrt(len(rows))
    assert by_true.mean() > mean + 2


def test_sentences_are_cut_after_every_stop():
    assert sentences("One. Two.") == ["One.", "Two."]
    assert sentences("One. Tw") == ["One.", "Tw"]
    assert sentences("One.  Two..") == ["One.", " Two.", "."]
    assert sentences("") == []
    assert NANO.parsed_share("The acting is superb. The plot") == 0.5


def test_distinct_counts_ngrams_over_all_texts():
    assert distinct(["a b a b"], 1) == 2 / 4
    assert distinct(["a b a b"], 2) == 2 / 3
    assert distinct(["a b", "a b", "b a"], 2) == 2 / 3
    assert distinct(["a"], 2) == 0.0


def test_claims_count_once_per_polarity():
    said = {Claim("acting", 1), Claim("plot", -1), Claim("music", 1)}
    text = "The acting is superb. The plot is awful, but the music is not dull. The music is excellent."
    assert NANO(text) == sum(c.polarity for c in said) == 1
