"""Formats with two responses and a verdict on them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...records import Pair, Text, Tie
from ..problems import BOTH_BAD, NO_WINNER, TIE, NoPreference, Unreadable, Unusable, kind_of
from ..schema import PROMPTS, Row
from ..shared import joined
from .base import Format

_STRENGTH = ("preference_strength", "overall_preference")
_FIRST = ("response1", "response_1")
_SECOND = ("response2", "response_2")


def helpsteer(row: Row) -> Pair:
    """HelpSteer2 and 3: a strength from −3 (the first is much better) to 3; its size is the margin, 0 a tie.

    Wang et al. 2024 (arXiv:2410.01257) and 2025 (arXiv:2505.11475).
    """
    strength = _verdict(row, row.first(*_STRENGTH))
    responses = row.content(row.first(*_FIRST)), row.content(row.first(*_SECOND))
    prompt = row.content(row.first("prompt", "context"))
    return _judged(row, prompt, responses, 0 if strength < 0 else 1, "tie" if strength == 0 else None, abs(strength))


def shp(row: Row) -> Pair:
    """Stanford Human Preferences: label 1 says that response A has more votes; margin = ln(score_ratio).

    Ethayarajh et al. 2022 (arXiv:2110.08420). The logarithm makes the ratio of votes a Bradley–Terry difference.
    """
    winner = 0 if _verdict(row, "labels") == 1 else 1
    ratio = row.number("score_ratio") if row.has("score_ratio") else None
    if ratio is not None and ratio <= 0:
        raise Unreadable(f"`score_ratio` is {ratio:g}, must be above 0")
    responses = row.text("human_ref_A"), row.text("human_ref_B")
    return _judged(row, row.text("history"), responses, winner, None, None if ratio is None else math.log(ratio))


def arena(row: Row) -> Pair:
    """Chatbot Arena: two whole conversations, and model_a, model_b, tie or both bad.

    Zheng et al. 2023 (arXiv:2306.05685).
    """
    if "winner" in row.values and row.values["winner"] is None:
        raise NoPreference(NO_WINNER)
    word = row.text("winner")
    if word not in _WINNERS:
        raise Unreadable(f'`winner` is "{word}", must be one of {", ".join(_WINNERS)}')
    winner, tie = _WINNERS[word]
    responses = row.messages("conversation_a"), row.messages("conversation_b")
    return _judged(row, row.with_system(()), responses, winner, tie)


_WINNERS: Mapping[str, tuple[int, Tie | None]] = {
    "model_a": (0, None),
    "model_b": (1, None),
    "tie": (0, "tie"),
    "tie (bothbad)": (0, "both_bad"),
    "both_bad": (0, "both_bad"),
}


def labelled(row: Row) -> Pair:
    """Two responses in the order in which a person saw them, and a, b, tie or both_bad, as `logratio label` writes."""
    if "winner" in row.values and row.values["winner"] is None:
        raise NoPreference(NO_WINNER)
    word = row.text("winner").strip().lower()
    if word not in _SIDES:
        raise Unreadable(f'`winner` is "{word}", must be one of {", ".join(_SIDES)}')
    winner, tie = _SIDES[word]
    return _judged(row, row.prompt(), (row.content("response_a"), row.content("response_b")), winner, tie)


_SIDES: Mapping[str, tuple[int, Tie | None]] = {
    "a": (0, None),
    "b": (1, None),
    "response_a": (0, None),
    "response_b": (1, None),
    **_WINNERS,
}


def summaries(row: Row) -> Pair:
    """Summarise-from-feedback's comparisons: a post, two summaries, and the index of the better one.

    Stiennon et al. 2020 (arXiv:2009.01325). The prompt is the paper's SUBREDDIT/TITLE/POST/TL;DR form.
    """
    choice = _verdict(row, "choice")
    if choice not in (0, 1):
        raise Unreadable(f"`choice` is {choice:g}, must be 0 or 1, the index of the better summary")
    items = row.items("summaries")
    if len(items) != 2:
        raise Unreadable(f"`summaries` holds {len(items)}, must hold 2")
    responses = [f" {_summary(item, number).strip()}" for number, item in enumerate(items)]
    return _judged(row, _post(row), (responses[0], responses[1]), int(choice))


def _summary(item: Any, number: int) -> str:
    text = item.get("text") if isinstance(item, Mapping) else item
    if not isinstance(text, str):
        raise Unreadable(f"`summaries.{number}` holds {kind_of(text)}, must be text or an object with text")
    return text


def _post(row: Row) -> str:
    info = row.values.get("info", row.values)
    if not isinstance(info, Mapping):
        raise Unreadable(f"`info` is {kind_of(info)}, must be an object with post")
    post = Row(info, row.origin)
    head = [("SUBREDDIT", "subreddit"), ("TITLE", "title")]
    body = post.text("post" if post.has("post") or not post.has("article") else "article")
    lines = [f"{name}: {post.text(field)}" for name, field in head if post.has(field)]
    return "\n".join([*lines, f"POST: {body}", "TL;DR:"])


def _verdict(row: Row, field: str) -> float:
    """Return the number that says which response won; null says that none did."""
    if field in row.values and row.values[field] is None:
        raise NoPreference(NO_WINNER)
    return row.number(field)


def _judged(
    row: Row,
    prompt: Text,
    responses: tuple[Text, Text],
    winner: int,
    tie: Tie | None = None,
    margin: float | None = None,
) -> Pair:
    try:
        prompt, ordered = joined(prompt, (responses[winner], responses[1 - winner]))
    except Unusable:
        if tie:  # equal answers are why there is no winner, and no fault of the data
            raise NoPreference(TIE if tie == "tie" else BOTH_BAD) from None
        raise
    return Pair(
        prompt=prompt,
        chosen=ordered[0],
        rejected=ordered[1],
        tie=tie,
        first="chosen" if winner == 0 else "rejected",
        tools=row.tools(),
        carried=row.carried(margin),
        origin=row.origin,
    )


FORMATS = (
    Format(
        "arena (conversation_a/conversation_b/winner)", (("conversation_a",), ("conversation_b",), ("winner",)), arena
    ),
    Format(
        "pairs judged by people (prompt/response_a/response_b/winner)",
        (PROMPTS, ("response_a",), ("response_b",), ("winner",)),
        labelled,
    ),
    Format(
        "HelpSteer (response1/response2/strength; margin = size of the strength)",
        (("prompt", "context"), _FIRST, _SECOND, _STRENGTH),
        helpsteer,
    ),
    Format(
        "SHP (history/human_ref_A/human_ref_B/labels; margin = ln score_ratio)",
        (("history",), ("human_ref_A",), ("human_ref_B",), ("labels",)),
        shp,
    ),
    Format("post with two summaries (summaries/choice)", (("info", "post"), ("summaries",), ("choice",)), summaries),
)
