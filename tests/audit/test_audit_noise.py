"""Label noise: estimated within three points from repeated judgements, bounded otherwise."""

import numpy as np
import pytest
from judged_pairs import coin, columns, more_of, pairs, sentence, votes

from logratio.audit.cued import cued
from logratio.audit.noise import noise, rate_of, repeated
from logratio.maths.intervals import share_interval

FLIPS = (0.0, 0.05, 0.10, 0.20)


def found(rows):
    data = columns(rows)
    return noise(data, cued(data))


def twice(seed, count, flips, each=2):
    """Every pair judged several times, each verdict flipped with this probability."""
    rng = np.random.default_rng(seed)
    rows = []
    for row in pairs(seed, count, coin, per_prompt=2):
        for _ in range(each):
            other = {"prompt": row["prompt"], "chosen": row["rejected"], "rejected": row["chosen"]}
            rows.append(other if rng.random() < flips else row)
    return [rows[i] for i in rng.permutation(len(rows))]


@pytest.mark.parametrize("flips", FLIPS)
def test_planted_flips_are_estimated_from_repeated_judgements(flips):
    finding = found(twice(1, 1_500, flips))
    assert finding.figures["method"] == "repeated judgements" and finding.figures["pairs"] == 1_500
    assert finding.figures["noise_share"] == pytest.approx(flips, abs=0.03)
    assert finding.figures["noise_share_low"] <= flips <= finding.figures["noise_share_high"]
    assert finding.level == {0.0: "note", 0.05: "fine", 0.10: "note", 0.20: "look"}[flips]
    assert ("copies" in finding.remedy) == (flips == 0)  # nobody is named, and nobody disagrees


def test_the_interval_holds_the_truth_as_often_as_it_says():
    held = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        wrong = (rng.random((400, 3)) < 0.15).sum(1)
        data = 2 * wrong * (3 - wrong) / 6
        differ = share_interval(data)
        held.append(rate_of(differ.low) <= 0.15 <= rate_of(differ.high))
    assert np.mean(held) > 0.88


def test_repeats_of_one_person_are_no_second_judgement():
    rows = [{**row, "annotator": "a"} for row in twice(2, 100, 0.3)]
    assert len(repeated(columns(rows)).disagree_I) == 0
    named = votes(3, 20, 200, 3, lambda person: 0.1)
    assert len(repeated(columns(named)).disagree_I) == 200
    assert found(named).figures["noise_share"] == pytest.approx(0.1, abs=0.03)


def test_the_rate_inverts_the_disagreement():
    for flips in (0.0, 0.01, 0.2, 0.5):
        assert rate_of(2 * flips * (1 - flips)) == pytest.approx(flips)
    assert rate_of(0.7) == 0.5


@pytest.mark.parametrize("flips", FLIPS)
def test_with_labels_that_follow_a_rule_the_bound_is_near_the_truth(flips):
    count = 4_000 if flips < 0.2 else 12_000  # the classifier's own errors are 5 points at 4,000, 2 at 12,000
    finding = found(pairs(4, count, more_of("bdf"), flips=flips))
    assert "upper bound" in finding.says and finding.figures["method"] == "upper bound by cross-validated agreement"
    assert finding.figures["noise_at_most_share"] == pytest.approx(flips, abs=0.03)
    assert finding.figures["noise_at_most_share_high"] > flips


def test_with_labels_by_coin_the_bound_is_a_half():
    assert found(pairs(5, 1_000, coin)).figures["noise_at_most_share"] == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("flips", FLIPS)
def test_rings_bound_it_where_a_prompt_has_many_responses(flips):
    """Forty prompts, eight responses in an order that no cue knows, all pairs judged once."""
    rng = np.random.default_rng(6)
    rows = []
    for prompt in range(60):
        texts = [sentence(rng) for _ in range(8)]
        for i in range(8):
            for j in range(i + 1, 8):
                first, second = (i, j) if rng.random() >= flips else (j, i)
                rows.append({"prompt": f"q{prompt}", "chosen": texts[first], "rejected": texts[second]})
    finding = found(rows)
    assert finding.figures["method"] == "upper bound by intransitive judgements"
    assert finding.figures["noise_at_most_share"] == pytest.approx(flips, abs=0.03)


def test_rankings_have_no_rings_by_construction():
    """One row with four scores is one judgement, not six: it must not count as proof of order."""
    rng = np.random.default_rng(7)
    rows = [
        {"prompt": f"q{n}", "responses": [sentence(rng) for _ in range(4)], "scores": rng.permutation(4).tolist()}
        for n in range(100)
    ]
    assert found(rows).figures["method"] == "upper bound by cross-validated agreement"


def test_too_little_to_say():
    finding = found(pairs(8, 20, coin))
    assert finding.level == "note" and "too few" in finding.says


def triads(prompts, rings=0):
    """Prompts with three responses judged two by two: an order, or a ring in the first ones."""
    rng = np.random.default_rng(9)
    rows = []
    for prompt in range(prompts):
        a, b, c = (sentence(rng) for _ in range(3))
        for won, lost in ((a, b), (b, c), (c, a) if prompt < rings else (a, c)):
            rows.append({"prompt": f"q{prompt}", "chosen": won, "rejected": lost})
    return rows


def test_no_ring_among_many_triads_leaves_the_exact_interval():
    """No event in 600 prompts: the share of rings ends at 1 − 0.025^(1/600) = ε(1 − ε)."""
    finding = found(triads(600))
    high = finding.figures["noise_at_most_share_high"]
    assert finding.figures["noise_at_most_share"] == 0 and finding.figures["method"].endswith("intransitive judgements")
    assert high * (1 - high) == pytest.approx(1 - 0.025 ** (1 / 600), rel=1e-9)
    assert finding.says.startswith("At most 0.6\u202f% of") and finding.level == "fine"


def test_the_bound_that_is_told_is_the_upper_end():
    finding = found(triads(200, rings=10))
    share, high = (finding.figures[f"noise_at_most_share{end}"] for end in ("", "_high"))
    assert share == pytest.approx(rate_of(2 * 10 / 200)) and high > share + 0.02
    assert finding.says.startswith(f"At most {100 * high:.1f}\u202f%")


def test_rings_of_one_prompt_bound_nothing():
    rng = np.random.default_rng(10)
    texts = [sentence(rng) for _ in range(12)]
    rows = [{"prompt": "q", "chosen": texts[i], "rejected": texts[j]} for i in range(12) for j in range(i)]
    assert "too few" in found(rows).says
