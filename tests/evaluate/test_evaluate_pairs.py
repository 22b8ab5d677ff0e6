import numpy as np
import pytest

from logratio.batch.group import Group
from logratio.evaluate.pairs import NAMES, length_baseline, pair_measures, text_measures
from logratio.maths.intervals import NOTHING, mean_interval, proportion_interval


def group(row, prompt, chosen, rejected, *, tie=0.0):
    """A pair whose sides have the given numbers of tokens."""
    responses = tuple(np.arange(n, dtype=np.int32) + 1 for n in (chosen, rejected))
    made = Group(
        row,
        np.array(prompt, np.int32),
        responses,
        tuple(np.ones(len(r), np.bool_) for r in responses),
        np.array([[0, 1]], np.int32),
    )
    return made.with_columns(edge={"tie": np.array([tie], np.float32)})


def values(*sides):
    return np.concatenate([np.asarray(side, np.float32) for side in sides])


GROUPS = [group(0, [7], 2, 1), group(1, [8], 1, 3), group(2, [9], 2, 2)]
POLICY = [values([-1, -2], [-4]), values([-3], [-1, -1, -1]), values([-1, -1], [-1, -3])]
REFERENCE = [values([-2, -3], [-3]), values([-2], [-1, -1, -1]), values([-1, -2], [-2, -3])]
# Log-ratios by hand: chosen 2, -1, 1; rejected -1, 0, 1.


def test_every_measure_by_hand():
    measures = pair_measures(GROUPS, POLICY, REFERENCE, beta=0.5)
    assert tuple(measures) == NAMES
    assert measures["accuracy"].mean == pytest.approx((1 + 0 + 0.5) / 3)
    assert measures["margin"] == mean_interval([1.5, -0.5, 0.0])
    assert measures["logratio_chosen"] == mean_interval([2.0, -1.0, 1.0])
    assert measures["logratio_rejected"] == mean_interval([-1.0, 0.0, 1.0])
    assert measures["logratio_chosen_per_token"].mean == pytest.approx(2 / 5)
    assert measures["logratio_rejected_per_token"].mean == pytest.approx(0 / 6)
    assert all(measure.n == 3 for measure in measures.values())


def test_measures_without_a_reference_by_hand():
    measures = text_measures(GROUPS, POLICY)
    assert measures["nll_chosen_per_token"].mean == pytest.approx((3 + 3 + 2) / 5)
    assert measures["nll_rejected_per_token"].mean == pytest.approx((4 + 3 + 4) / 6)
    assert measures["likelihood_accuracy"].mean == pytest.approx((1 + 0.5 + 1) / 3)
    assert set(pair_measures(GROUPS, POLICY, None, beta=0.5).values()) == {NOTHING}


def test_pairs_that_people_called_a_tie_have_no_say():
    tied = [*GROUPS, group(3, [6], 50, 1, tie=1.0)]
    extra = values([-9] * 50, [-1])
    with_tie = pair_measures(tied, [*POLICY, extra], [*REFERENCE, extra - 1], beta=0.5)
    assert with_tie == pair_measures(GROUPS, POLICY, REFERENCE, beta=0.5)
    assert length_baseline(tied) == length_baseline(GROUPS)


def test_the_length_baseline_states_the_better_rule():
    longer, rule = length_baseline([group(i, [i + 1], 5, 2 if i < 6 else 9) for i in range(8)])
    assert rule == "longer wins"
    assert longer.mean == proportion_interval(6, 8).mean
    shorter, rule = length_baseline([group(i, [i + 1], 2, 5 if i < 6 else 1) for i in range(8)])
    assert rule == "shorter wins" and shorter.mean == 0.75
    equal, _ = length_baseline([group(i, [i + 1], 3, 3) for i in range(8)])
    assert equal.mean == 0.5


def test_pairs_of_one_prompt_are_one_cluster():
    apart = [group(i, [i + 1], 1, 1) for i in range(40)]
    together = [group(i, [i // 4 + 1], 1, 1) for i in range(40)]
    own = [values([1.0 if i // 4 % 2 else -1.0], [0.0]) for i in range(40)]
    zero = [values([0.0], [0.0])] * 40
    wide, narrow = (pair_measures(groups, own, zero, beta=1.0) for groups in (together, apart))
    for name in ("accuracy", "margin", "logratio_chosen"):
        assert wide[name].mean == narrow[name].mean
        assert wide[name].high - wide[name].low > 1.7 * (narrow[name].high - narrow[name].low)
