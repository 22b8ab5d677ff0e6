"""Agreement and outlying annotators: α against published values, planted people found, healthy pools left alone."""

import numpy as np
import pytest
from judged_pairs import coin, columns, pairs, votes

from logratio.audit.agreement import agreement, judgements, krippendorff
from logratio.audit.annotators import annotators, holm, lower_tail


def table(*units):
    """Counts of the verdicts 0, 1 and 2 in each unit."""
    return np.array([[unit.count(verdict) for verdict in range(3)] for unit in units], float)


def test_alpha_of_an_example_by_hand():
    """Two judges, ten units, from Krippendorff's own 2011 example of binary data: α = 0.095."""
    one = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0]
    other = [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    units = [[a, b] for a, b in zip(one, other, strict=True)]
    alpha = krippendorff(table(*units), np.arange(10))
    assert alpha.mean == pytest.approx(0.095, abs=5e-4)
    assert alpha.low < alpha.mean < alpha.high


def test_alpha_at_its_ends():
    same = krippendorff(table(*[[0, 0], [1, 1]] * 20), np.arange(40))
    assert (same.mean, same.low, same.high) == (1, 1, 1)
    opposed = krippendorff(table(*[[0, 1]] * 40), np.arange(40))
    assert opposed.mean == pytest.approx(1 - 40 * 2 / (2 * 40 * 40 / 79), abs=1e-12)
    one_verdict = krippendorff(table(*[[0, 0]] * 5), np.arange(5))
    assert one_verdict.mean == 1


def test_the_interval_of_alpha_holds_the_truth():
    """Two judges who each err in 20 %: α tends to 1 − 0.32/0.5 = 0.36."""
    held = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        truth = rng.integers(0, 2, 300)
        units = np.abs(truth[:, None] - (rng.random((300, 2)) < 0.2))
        counts = np.stack([(units == verdict).sum(1) for verdict in range(3)], axis=1).astype(float)
        alpha = krippendorff(counts, np.arange(300))
        held.append(alpha.low <= 0.36 <= alpha.high)
    assert np.mean(held) > 0.88


def test_agreement_is_of_two_judgements():
    np.testing.assert_allclose(agreement(table([0, 0, 1], [0, 0], [0, 1, 2])), [1 / 3, 1, 0])


def test_ties_are_verdicts():
    rows = votes(1, 10, 50, 3, lambda person: 0.0, ties=0.5)
    own = judgements(columns(rows))
    assert own.count_I3.sum() == 150 and 0.3 < own.count_I3[:, 2].sum() / 150 < 0.7


def test_planted_outliers_are_found_and_nobody_else():
    bad = {3, 17}
    finding = annotators(columns(votes(2, 40, 400, 5, lambda person: 0.5 if person in bad else 0.1)))
    assert finding.level == "look" and finding.figures["annotators_outlying"] == 2
    assert "p003" in finding.says and "p017" in finding.says
    assert {"p003", "p017"} == {example.why.split()[0] for example in finding.examples}


def test_a_healthy_pool_raises_no_alarm():
    alarms = [
        annotators(columns(votes(seed, 30, 150, 3, lambda person: 0.15))).figures["annotators_outlying"] > 0
        for seed in range(20)
    ]
    assert sum(alarms) <= 1


def test_a_hard_prompt_makes_nobody_an_outlier():
    """Half of the prompts are coin tosses, and some people saw only those."""
    rng = np.random.default_rng(4)
    rows = []
    for item in range(400):
        hard = item // 5 % 2 == 1
        people = rng.choice(np.arange(15) + 15 * hard, 4, replace=False)
        for person in people:
            wrong = rng.random() < (0.4 if hard else 0.05)
            rows.append(
                {
                    "prompt": f"q{item // 5}",
                    "chosen": f"{'b' if wrong else 'a'} {item}",
                    "rejected": f"{'a' if wrong else 'b'} {item}",
                    "annotator": f"p{person}",
                }
            )
    assert annotators(columns(rows)).figures["annotators_outlying"] == 0


def test_agreement_by_chance_calls_for_a_look():
    finding = annotators(columns(votes(5, 20, 200, 3, lambda person: 0.5)))
    assert finding.level == "look" and finding.figures["krippendorff_alpha"] == pytest.approx(0, abs=0.1)


def test_the_binomial_tail():
    assert lower_tail(0, 3, 0.5) == pytest.approx(1 / 8)
    assert lower_tail(1, 3, 0.5) == pytest.approx(4 / 8)
    assert lower_tail(3, 3, 0.2) == pytest.approx(1)
    assert lower_tail(90, 1000, 0.5) < 1e-100
    assert (lower_tail(2, 5, 0.0), lower_tail(5, 5, 1.0), lower_tail(4, 5, 1.0)) == (1.0, 1.0, 0.0)


def test_holm_steps_down():
    p = np.array([0.02, 0.0025, 0.9, 0.003])
    assert holm(p, 0.01).tolist() == [False, True, False, True]  # 0.0025 ≤ 0.01/4, 0.003 ≤ 0.01/3, 0.02 > 0.01/2
    assert holm(np.array([0.004, 0.004]), 0.005).tolist() == [False, False]
    assert len(holm(np.zeros(0), 0.01)) == 0


def test_without_repeats_nothing_is_said():
    finding = annotators(columns(pairs(6, 30, coin)))
    assert finding.level == "fine" and "nothing is said of agreement" in finding.says


@pytest.mark.parametrize("who", [{}, {"annotator": "a"}])
def test_copies_of_rows_are_no_agreement(who):
    """100 rows, 30 of them copied, unnamed or by one annotator."""
    rows = [row | who for row in pairs(7, 100, coin)]
    finding = annotators(columns(rows + rows[:30]))
    assert "nothing is said of agreement" in finding.says and "agreement_share" not in finding.figures
    assert finding.says.startswith("1 annotator is named, but" if who else "Nobody is named, and 30 pairs")


def test_a_persons_second_judgement_of_a_pair_does_not_count():
    rows = votes(8, 10, 60, 2, lambda person: 0.2)
    once, again = (annotators(columns(data)).figures for data in (rows, rows + rows))
    assert once == again and once["pairs"] == 60


def test_repeats_by_nobody_known_are_told_with_doubt():
    rows = [
        {key: value for key, value in row.items() if key != "annotator"} for row in votes(9, 10, 60, 3, lambda p: 0.1)
    ]
    finding = annotators(columns(rows))
    assert finding.level == "note" and "copies of rows" in finding.says and finding.figures["agreement_share"] < 1
