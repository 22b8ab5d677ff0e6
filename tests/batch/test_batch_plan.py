from hypothesis import given
from hypothesis import strategies as st

from logratio.batch.plan import plan

LENGTHS = st.lists(st.integers(1, 120), max_size=60)


@given(LENGTHS, st.integers(1, 4), st.integers(1, 150))
def test_every_group_once_within_budget_and_equally_many_bins(lengths, world, budget):
    ranks = plan(lengths, world=world, budget=budget)
    assert len(ranks) == world
    assert len({len(bins) for bins in ranks}) == 1
    assert sorted(i for bins in ranks for bin_ in bins for i in bin_) == list(range(len(lengths)))
    for bin_ in (bin_ for bins in ranks for bin_ in bins):
        assert sum(lengths[i] for i in bin_) <= budget or len(bin_) == 1


@given(LENGTHS, st.integers(120, 400))
def test_at_most_one_bin_is_half_empty(lengths, budget):
    (bins,) = plan(lengths, world=1, budget=budget)
    assert sum(1 for b in bins if sum(lengths[i] for i in b) <= budget / 2) <= 1
