"""Both sides of the sampling benchmark do the same work."""

import pytest

from bench.generate import Case, build, compare, ours, prompts_of, stops_of, theirs
from bench.shapes import SHAPES


@pytest.fixture(scope="module")
def model():
    return build(SHAPES["nano"])


def test_without_stop_tokens_both_sides_draw_equally_many(model):
    case = Case(3, 9, prompts=5, k=2, limit=4, ends=False)
    prompts = prompts_of(case, 512)
    assert [min(map(len, prompts)), max(map(len, prompts))] == [3, 9]
    assert ours(model, prompts, case, []) == theirs(model, prompts, case, [], rows=4) == 5 * 2 * 4


def test_with_stop_tokens_only_those_before_the_first_are_counted(model):
    """One token in 64 stops: the mean of 400 lengths cut at 100 is 51 ± 2, that of whole rows would be 100."""
    case = Case(3, 3, prompts=40, k=10, limit=100, ends=True)
    prompts, stops = prompts_of(case, 512), stops_of(case, 512)
    expected = sum((1 - len(stops) / 512) ** i for i in range(100))
    for count in (ours(model, prompts, case, stops), theirs(model, prompts, case, stops, rows=400)):
        assert count / 400 == pytest.approx(expected, rel=0.12)


def test_a_ratio_is_that_of_rates_measured_in_turn(model):
    row = compare(model, Case(3, 9, prompts=3, k=2, limit=3, ends=False), repeats=2)
    assert len(row["ratios"]) == 2 and min(row["ratios"]) <= row["ratio"] <= max(row["ratios"])
    assert row["generate_rows"] in (32, 96) and row["ours"] > 0
