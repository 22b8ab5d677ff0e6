import numpy as np
import pytest
from planted import SCRIPTS, Writer, recall_precision

from logratio.audit.prompts import dominance
from logratio.audit.responses import SAME, breaks_off, closeness, empty, identical_pairs, truncated
from logratio.audit.rows import read_rows
from logratio.audit.similar import alike, forms, similarity


@pytest.mark.parametrize("script", SCRIPTS)
def test_nearly_identical_pairs_are_found(script):
    writer = Writer(1, script)
    data = [writer.pair(words=120) for _ in range(200)]
    for at in range(50):
        data[at]["rejected"] = writer.edited(data[at]["chosen"])
    rows = read_rows(data)
    planted = [at for at, row in enumerate(data) if similarity(row["chosen"], row["rejected"]) >= SAME]
    found = np.flatnonzero(closeness(rows, alike(rows.texts)) >= SAME).tolist()
    assert len(planted) >= 40
    recall, precision = recall_precision(found, planted)
    assert recall >= 0.95 and precision == 1.0


def test_pairs_that_differ_in_white_space_and_rows_with_identical_responses_are_counted():
    pair = {"prompt": "p", "chosen": "The same", "rejected": "the  same\n"}
    rows = read_rows([pair, pair | {"rejected": "The same"}, pair | {"rejected": "another"}])
    for found in (alike(rows.texts), None):
        figures = identical_pairs(rows, found).figures
        assert figures["same_but_for_case_or_space"] == 1 and figures["identical_rows"] == 1 and figures["pairs"] == 3


def test_single_responses_have_no_pairs():
    rows = read_rows([{"prompt": "p", "completion": "a", "label": True}])
    assert identical_pairs(rows, None).says == "There are no pairs to look at."


def test_empty_responses_are_counted_among_rows_read_and_marks_alone_among_responses():
    pair = {"prompt": "p", "chosen": "a", "rejected": "b"}
    finding = empty(read_rows([pair, pair | {"chosen": " \n"}, pair | {"rejected": "…?!"}, pair | {"chosen": "👍"}]))
    assert finding.figures["empty_rows"] == 1 and finding.figures["responses_without_a_word"] == 1
    assert finding.level == "look"


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("It ends.", False),
        ("It goes", True),
        ("It goes on, ", True),
        ("It ends?)", False),
        ("`code`", False),
        ("结束了。", False),
        ("还没有", True),
        ("انتهى.", False),
        ("هل انتهى؟", False),
        ("لم ينته،", True),
        ("done 👍", False),
        ("จบแล้ว", False),
        ("3", True),
        ("", False),
    ],
)
def test_what_breaks_off(text, broken):
    assert breaks_off(text) is broken


def test_truncated_responses_are_counted_by_side_and_only_long_ones():
    writer = Writer(2)
    data = [{name: f"{text}." for name, text in writer.pair(words=60).items()} for _ in range(100)]
    assert truncated(read_rows(data)).level == "fine"
    for at in range(40):
        data[at]["rejected"] = data[at]["rejected"][:-1]
    data[50]["chosen"] = "short"
    finding = truncated(read_rows(data))
    assert finding.level == "look" and finding.figures["unfinished"] == 40 and finding.figures["long_responses"] == 199
    assert finding.figures["unfinished_share_rejected"] == pytest.approx(0.4)
    assert finding.figures["unfinished_share_chosen"] == 0


def prompts(counts):
    data = [
        {"prompt": f"p{prompt}", "chosen": f"a{row}", "rejected": f"b{row}"}
        for prompt, count in enumerate(counts)
        for row in range(count)
    ]
    rows = read_rows(data)
    return dominance(rows, forms(rows.texts))


def test_prompts_that_hold_most_rows_are_seen():
    assert prompts([1] * 300).level == "fine"
    assert prompts([1] * 300).figures["effective_prompts"] == pytest.approx(300)
    finding = prompts([100] + [1] * 300)
    assert finding.level == "look" and finding.figures["top_share"] == pytest.approx(0.25)
    assert finding.figures["effective_prompts"] == pytest.approx(400**2 / (100**2 + 300))
    assert prompts([30] * 30).level == "look", "900 rows on 30 prompts"
    assert prompts([3, 1, 1]).level == "fine", "three rows are too few to dominate"


def test_texts_without_prompts_have_none_that_dominates():
    rows = read_rows([{"text": "a b"}, {"text": "c d"}])
    assert dominance(rows, forms(rows.texts)).says == "The rows have no prompts."
