"""Findings as blocks of a page: level by word, figures as text, drawings as figures, nothing lost in silence."""

import json
import math

import pytest

from logratio.findings import Drawing, Example, Finding, Past
from logratio.report.found import EXAMPLES, PASSING, block, blocks, counted, drawn, read_findings, worst_first
from logratio.report.kit import Bars, Heat, Plot, Scatter

LEVELS = [Finding(name, name, f"It is {name}.") for name in ("fine", "stop", "note", "look")]


def test_the_gravest_come_first_with_a_word_and_a_tone_and_stay_open():
    shown = block(LEVELS, "x").found
    assert [(own.word, own.tone, own.open) for own in shown] == [
        ("stop", "bad", True),
        ("look", "warn", True),
        ("note", "plain", False),
        ("fine", "good", False),
    ]
    assert [own.word for own in block(LEVELS, "x", PASSING).found] == ["fail", "warn", "note", "pass"]
    assert len({own.anchor for own in shown}) == 4


def test_levels_are_counted_under_their_words():
    assert counted(LEVELS) == "1 stop, 1 look, 1 note, 1 fine"
    assert counted(LEVELS, PASSING) == "1 fail, 1 warn, 1 note, 1 pass"
    assert counted([]) == ""


def test_figures_are_written_as_numbers_and_names_as_words():
    figures = {
        "share_won": 0.63251,
        "pairs": 9641,
        "learning_rate": 3e-5,
        "unknown": None,
        "rule": "longer",
        "nan": math.nan,
    }
    [own] = block([Finding("near_duplicates", "look", "s", "", figures)], "x").found
    assert own.name == "near duplicates"
    assert dict(own.figures) == {
        "share won": "0.6325",
        "pairs": "9,641",
        "learning rate": "3e\u22125",
        "unknown": "not known",
        "rule": "longer",
        "nan": "nan",
    }


def test_many_examples_are_counted_and_long_texts_cut():
    examples = [Example(f"row {i}", "why", {"text": "x" * 5_000}) for i in range(EXAMPLES + 3)]
    [own] = block([Finding("f", "look", "s", examples=examples)], "x").found
    assert len(own.examples) == EXAMPLES and ("further examples, not shown", "3") in own.figures
    assert own.examples[0].texts[0][1].endswith("[1,000 more characters]")


@pytest.mark.parametrize(
    ("kind", "x", "figure"),
    [
        ("lines", [2, 1, 3], Plot),
        ("points", [2, 1, 3], Scatter),
        ("bars", ["a", "b", "c"], Bars),
        ("heat", ["a", "b", "c"], Heat),
    ],
)
def test_every_kind_of_drawing_becomes_a_figure_with_its_numbers(kind, x, figure):
    made = drawn(Drawing(kind, "t", "x", "y", x, {"s": [1.0, None, 3.0]}, "note"))
    assert isinstance(made, figure) and made.title == "t" and made.note == "note"


def test_lines_are_drawn_in_the_order_of_x():
    made = drawn(Drawing("lines", "t", "x", "y", [2, 1, 3], {"s": [20.0, 10.0, None]}))
    [series] = made.series
    assert series.x == [1.0, 2.0, 3.0] and series.y[:2] == [10.0, 20.0] and math.isnan(series.y[2])


@pytest.mark.parametrize(
    "drawing",
    [
        Drawing("lines", "t", "x", "y", [1, 2], {"s": [1.0]}),
        Drawing("lines", "t", "x", "y", ["a", "b"], {"s": [1.0, 2.0]}),
        Drawing("bars", "t", "x", "y", [], {}),
    ],
)
def test_a_drawing_whose_numbers_do_not_belong_together_is_left_out(drawing):
    assert drawn(drawing) is None


def test_findings_are_read_back_as_they_were_written(tmp_path):
    file, problems = tmp_path / "findings.json", []
    file.write_text(json.dumps([own.as_json() for own in LEVELS]))
    assert list(read_findings(file, problems)) == LEVELS and not problems
    file.write_text(json.dumps({"findings": [own.as_json() for own in LEVELS], "more": 1}))
    assert list(read_findings(file, problems)) == LEVELS and not problems
    assert read_findings(tmp_path / "absent.json", problems) is None and not problems


def test_what_cannot_be_read_is_counted(tmp_path):
    file, problems = tmp_path / "findings.json", []
    broken = [
        {},
        None,
        {**LEVELS[0].as_json(), "level": "dreadful"},
        {**LEVELS[0].as_json(), "drawing": {"kind": "lines"}},
    ]
    file.write_text(json.dumps([LEVELS[0].as_json(), *broken]))
    assert read_findings(file, problems) == (LEVELS[0],)
    assert problems == ["findings.json: 4 of 5 findings are not readable and are left out."]
    file.write_text("{")
    assert read_findings(file, problems) == () and "not readable as a list" in problems[1]


@pytest.mark.parametrize(
    ("seconds", "said"), [(None, ""), (0.0001, "under 0.01 s"), (0.314, "0.31 s"), (123.4, "120 s")]
)
def test_times_have_two_digits(seconds, said):
    assert block([Finding("f", "fine", "s", seconds=seconds)], "x").found[0].took == said


def test_the_order_of_equals_is_kept():
    found = [Finding(name, "look", "s") for name in "cab"]
    assert [own.name for own in worst_first([*found, LEVELS[1]])] == ["stop", "c", "a", "b"]


@pytest.mark.parametrize("fine", [0, 3, 4, 9])
def test_what_is_fine_is_folded_where_it_is_much(fine):
    found = [Finding(f"sound_{i}", "fine", "Sound.") for i in range(fine)] + [Finding("sick", "stop", "Sick.")]
    first, *rest = blocks(found, "own")
    assert first.found[0].name == "sick" and not first.folded
    assert [part.folded for part in rest] == ([f"{fine} fine, one by one"] if fine >= 4 else [])
    assert sum(len(part.found) for part in (first, *rest)) == fine + 1
    assert len({own.anchor for part in (first, *rest) for own in part.found}) == fine + 1
    assert [part.folded for part in blocks(found[:-1], "own")] == ([f"{fine} fine, one by one"] if fine >= 4 else [""])


def test_what_was_graver_earlier_is_said_and_not_folded_away():
    sick = Finding("collapse", "fine", "Samples vary.", past=Past("stop", 20, "Samples repeat."))
    telling, rest = blocks([sick, *(Finding(f"f{i}", "fine", "s") for i in range(9))], "x")
    (shown,) = telling.found
    assert shown.says == "Samples vary. At step 20 of the run this was stop: Samples repeat." and len(rest.found) == 9
