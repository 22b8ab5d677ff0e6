import numpy as np
import pytest
from planted import SCRIPTS, Writer, recall_precision

from logratio.audit import duplicates
from logratio.audit.rows import read_rows
from logratio.audit.similar import alike, forms


def flagged(rows, name_T):
    """Return the rows that repeat an earlier one, counted from 0."""
    first = duplicates.repeated(rows, name_T)
    return np.flatnonzero(first != np.arange(rows.count)).tolist()


@pytest.mark.parametrize("script", SCRIPTS)
def test_planted_copies_are_found_exact_and_near(script):
    writer = Writer(2, script)
    data = [writer.pair(words=60) for _ in range(300)]
    exact = list(range(300, 340))
    data += [dict(data[at]) for at in range(40)]
    near = list(range(340, 400))
    data += [{name: writer.edited(text) for name, text in data[at].items()} for at in range(100, 160)]
    rows = read_rows(data)
    found = alike(rows.texts)
    assert flagged(rows, found.form_T) == exact
    recall, precision = recall_precision(flagged(rows, found.leader_T), exact + near)
    assert recall >= 0.95 and precision >= 0.95
    one, other = duplicates.exact(rows, found.form_T), duplicates.near(rows, found)
    assert one.figures["repeated_rows"] == 40 and one.level == "look"
    assert other.figures["near_rows"] == len(set(flagged(rows, found.leader_T)) - set(exact)) and other.level == "look"


def test_clean_rows_are_fine():
    writer = Writer(3)
    rows = read_rows([writer.pair() for _ in range(100)])
    found = alike(rows.texts)
    assert duplicates.exact(rows, found.form_T).level == duplicates.near(rows, found).level == "fine"


ROW = {"prompt": "p", "chosen": "c", "rejected": "r"}


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ({}, True),
        ({"prompt": " P "}, True),
        ({"chosen": "r", "rejected": "c"}, False),
        ({"annotator": "x"}, False),
        ({"criterion": "x"}, False),
        ({"prompt": "q"}, False),
    ],
)
def test_what_makes_two_rows_the_same(other, same):
    rows = read_rows([ROW, ROW | other])
    assert bool(flagged(rows, forms(rows.texts))) is same


def test_rankings_and_labels_have_their_judgement_in_their_identity():
    ranking = {"prompt": "p", "responses": ["a", "b", "c"], "scores": [3, 2, 1]}
    rows = read_rows([ranking, ranking, ranking | {"scores": [1, 2, 3]}, ranking | {"scores": [30, 20, 10]}])
    assert flagged(rows, forms(rows.texts)) == [1, 3]
    label = {"prompt": "p", "completion": "a", "label": True}
    rows = read_rows([label, label | {"label": False}, label])
    assert flagged(rows, forms(rows.texts)) == [2]


def test_a_tie_has_no_order():
    row = {"prompt": "p", "response1": "a", "response2": "b", "preference_strength": 0}
    rows = read_rows([row, row | {"response1": "b", "response2": "a"}, row | {"preference_strength": 1}])
    assert flagged(rows, forms(rows.texts)) == [1]


def test_examples_name_both_rows():
    rows = read_rows([ROW, ROW | {"prompt": "q"}, ROW])
    example = duplicates.exact(rows, forms(rows.texts)).examples[0]
    assert (example.origin, example.why) == ("data, row 3", "repeats data, row 1")
    assert example.texts == {"prompt": "p", "response 1": "c", "response 2": "r"}
