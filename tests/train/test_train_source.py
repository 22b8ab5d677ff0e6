"""Steps of a file, and the borrowed responses of KTO."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logratio.batch.group import Group
from logratio.errors import DataError
from logratio.maths.counter import permutation, stream
from logratio.train.source import FileSource, mismatch
from worlds import random_groups

GROUPS = random_groups(23, seed=1)


def source(**changes):
    plain = {"groups": GROUPS, "positions": np.arange(23), "batch_size": 5, "epochs": 1.0, "seed": 0}
    return FileSource(**{**plain, **changes})


def rows(step):
    return [group.row for group in step.groups]


def test_a_step_is_a_slice_of_the_epochs_permutation():
    data = source(epochs=3, seed=7)
    assert (data.steps_per_epoch, data.steps) == (5, 15)
    for index in range(15):
        epoch, place = divmod(index, 5)
        assert rows(data.step(index)) == permutation(23, 7, epoch)[place * 5 : place * 5 + 5].tolist()
        assert data.step(index).index == index


def test_every_epoch_visits_every_group_once_in_another_order_and_the_last_step_is_smaller():
    data = source(epochs=2)
    epochs = [[rows(data.step(index)) for index in range(start, start + 5)] for start in (0, 5)]
    assert all(sorted(sum(steps, [])) == list(range(23)) for steps in epochs)
    assert [len(step) for step in epochs[0]] == [5, 5, 5, 5, 3]
    assert epochs[0] != epochs[1]


def test_a_step_does_not_depend_on_the_steps_read_before():
    data, other = source(epochs=2), source(epochs=2)
    forwards = [rows(data.step(index)) for index in range(10)]
    assert [rows(other.step(index)) for index in reversed(range(10))][::-1] == forwards


def test_an_epochs_order_is_made_once(monkeypatch):
    """At a million rows sorting takes 0.2 s, more than many a step."""
    made = []
    monkeypatch.setattr("logratio.train.source.permutation", lambda *key: made.append(key) or permutation(*key))
    data = source(epochs=2, seed=91)
    steps = [rows(data.step(index)) for index in range(10)]
    assert made == [(23, 91, 0), (23, 91, 1)]
    assert sum(steps, []) == [*permutation(23, 91, 0).tolist(), *permutation(23, 91, 1).tolist()]


def test_the_seed_orders_and_only_the_given_positions_are_read():
    positions = np.array([2, 3, 5, 7, 11, 13])
    one, other = (source(positions=positions, batch_size=6, seed=seed) for seed in (0, 1))
    assert sorted(rows(one.step(0))) == sorted(rows(other.step(0))) == positions.tolist()
    assert rows(one.step(0)) != rows(other.step(0))


@pytest.mark.parametrize(("epochs", "steps"), [(0.2, 1), (0.5, 2), (1, 5), (1.4, 7), (2.6, 13), (0.01, 1)])
def test_a_fraction_of_an_epoch_is_so_many_steps(epochs, steps):
    assert source(epochs=epochs).steps == steps


def test_reference_log_probs_follow_their_group():
    values = [np.full(group.scored, group.row, np.float32) for group in GROUPS]
    for group in source(reference=values, seed=3).step(2).groups:
        assert group.columns.token["reference"].tolist() == [group.row] * group.scored


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=23))
def test_no_partner_shares_the_prompt(prompts):
    groups, hashes = GROUPS[: len(prompts)], np.array(prompts, np.uint64)
    if len(set(prompts)) == 1:
        with pytest.raises(DataError, match=f"all {len(prompts)} rows share one prompt"):
            mismatch(groups, hashes, 64)
        return
    mixed = mismatch(groups, hashes, 64)
    assert all(prompts[own] != prompts[partner] for own, partner in enumerate(mixed.partners))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=23).filter(lambda prompts: len(set(prompts)) > 1))
def test_the_partner_is_the_next_one_around_the_cycle_that_has_another_prompt(prompts):
    n, hashes = len(prompts), np.array(prompts, np.uint64)
    cycle = stream("mismatched partners", n).permutation(n)
    partners = mismatch(GROUPS[:n], hashes, 64).partners
    for place, own in enumerate(cycle):
        ahead = (cycle[(place + step) % n] for step in range(1, n))
        assert partners[own] == next(other for other in ahead if prompts[other] != prompts[own])


def test_a_borrowed_response_is_scored_and_counts_in_no_term():
    groups = random_groups(8, k=1, labels=True)
    mixed = mismatch(groups, np.arange(8, dtype=np.uint64), 64)
    for own, group in enumerate(mixed):
        partner = groups[int(mixed.partners[own])]
        assert group.prompt is groups[own].prompt and group.row == groups[own].row
        assert len(group.responses) == 2 and np.array_equal(group.responses[1], partner.responses[0])
        assert group.scored == groups[own].scored + int(partner.loss[0].sum())
        columns = group.columns.response
        assert columns["mismatched"].tolist() == [0, 1]
        assert columns["weight"].tolist() == [groups[own].columns.response["weight"][0], 0]
        assert columns["label"][0] == groups[own].columns.response["label"][0]


def test_partners_are_fixed_by_the_data_set_and_go_round_it():
    """No run has a say in it, so the reference of a borrowed response can be cached; each is borrowed once."""
    hashes = np.arange(23, dtype=np.uint64)
    partners = mismatch(GROUPS, hashes, 64).partners
    assert sorted(partners) == list(range(23))
    assert (partners == mismatch(GROUPS, hashes, 64).partners).all()
    seen, at = set(), 0
    while at not in seen:
        seen.add(at)
        at = int(partners[at])
    assert len(seen) == 23
    assert (partners != (np.arange(23) + 1) % 23).any()  # not merely the next row


def test_a_borrowed_response_ends_where_the_model_knows_no_more_positions():
    """Own rows fit into 10 tokens; a prompt of 8 with the other row's response of 9 would not."""

    def group(row, prompt, response):
        ids = [np.arange(n, dtype=np.int32) for n in (prompt, response)]
        own = Group(row, ids[0], (ids[1],), (np.ones(response, np.bool_),), np.zeros((0, 2), np.int32))
        return own.with_columns(response={"weight": np.ones(1, np.float32)})

    mixed = mismatch([group(0, 8, 2), group(1, 1, 9)], np.arange(2, dtype=np.uint64), 10)
    assert [len(own.responses[1]) for own in mixed] == [len(own.loss[1]) for own in mixed] == [2, 2]
    assert mixed[0].responses[1].tolist() == [0, 1]
    assert mixed[0].scored == 2 + 2 and mixed[1].scored == 9 + 2
