"""Findings survive the way to a file and back."""

from __future__ import annotations

import json
import math

import pytest

from logratio.findings import Drawing, Example, Finding, Past, finding, worst


def test_a_finding_is_the_same_after_a_file() -> None:
    """Every field comes back, nested ones too."""
    said = Finding(
        "near_duplicates",
        "look",
        "12 of 600 rows nearly repeat another.",
        remedy="Drop them: --fix out.jsonl.",
        figures={"rows": 12, "share": 0.02, "of": "rows", "unknown": None},
        drawing=Drawing("bars", "Rows", "kind", "rows", ["exact", "near"], {"rows": [3, None]}),
        examples=[Example("pairs.jsonl, row 3", "repeats row 1", {"prompt": "<b>"})],
        seconds=0.5,
        past=Past("stop", 20, "60 of 600 rows nearly repeat another."),
    )
    back = finding(json.loads(json.dumps(said.as_json(), allow_nan=False)))
    assert back.as_json() == said.as_json()
    assert (back.drawing, back.examples[0], back.past) == (said.drawing, said.examples[0], said.past)
    older = {name: value for name, value in said.as_json().items() if name != "past"}
    assert finding(older).past is None  # written before there was such a field


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_unknown(number: float) -> None:
    """JSON has no such numbers, and a page must not show one as 0."""
    said = Finding(
        "kl", "fine", "KL.", figures={"kl": number}, drawing=Drawing("lines", "", "", "", [1.0], {"a": [number]})
    )
    plain = said.as_json()
    assert plain["figures"] == {"kl": None}
    assert plain["drawing"]["series"] == {"a": [None]}


def test_the_worst_level_counts() -> None:
    """Levels are in order; nothing found is fine."""
    assert worst([]) == "fine"
    assert worst([Finding("a", "note", ""), Finding("b", "look", ""), Finding("c", "fine", "")]) == "look"
    assert worst([Finding("a", "look", ""), Finding("b", "stop", "")]) == "stop"
