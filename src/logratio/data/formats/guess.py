"""What to say to columns that no format knows: what is needed, what was found, and the nearest `--map`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from itertools import chain

from ..schema import PROMPTS
from .base import Sample

_TARGETS = (
    ("prompt", "chosen", "rejected"),
    ("prompt", "responses", "scores"),
    ("prompt", "completion", "label"),
    ("prompt", "completion"),
    ("messages",),
    ("text",),
)

_ALIKE: Mapping[str, tuple[str, ...]] = {
    "prompt": ("query", "input", "context", "post", "problem", "request", "history", "user", "human", "source"),
    "chosen": ("response_j", "preferred", "winner", "accepted", "better", "good", "positive", "best", "win"),
    "rejected": ("response_k", "dispreferred", "loser", "worse", "bad", "negative", "worst", "lose"),
    "responses": ("answers", "completions", "candidates", "outputs", "generations"),
    "scores": ("ratings", "rewards", "score"),
    "completion": ("answer", "output", "generation", "reply", "target", "response"),
    "label": ("feedback", "thumbs", "is_good"),
    "messages": ("conversation", "dialog", "dialogue", "chat", "turns"),
    "text": ("content", "document", "body", "story", "sentence"),
}


def advice(sample: Sample) -> str:
    """Return one sentence: the columns needed and found, and the `--map` options that most likely bridge them."""
    found = list(dict.fromkeys(chain.from_iterable(row.values for row in sample)))
    needed = ", ".join("/".join(target) for target in _TARGETS)
    options = (
        {}
        if _rivals(found)
        else next((maps for target in _TARGETS if (maps := _maps(target, found + _inner(sample)))), {})
    )
    tried = " ".join(f"--map {field}={column}" for field, column in options.items())
    remedy = f"try {tried}" if tried else "say which column is which with --map, as --map chosen=COLUMN"
    if rivals := _rivals(found):
        remedy = (
            f"{rivals[0]} and {rivals[1]} look like two answers to judge between; put the better one under `chosen` "
            "and the other under `rejected`, and leave ties out"
        )
    return f"need {needed} or the columns of a known data set, found {'/'.join(found) or 'no column'}; {remedy}"


def _rivals(columns: list[str]) -> tuple[str, str] | None:
    """Return two columns named alike but for an a and b, or a 1 and 2, at their end."""
    for first, second in (("a", "b"), ("1", "2")):
        for column in columns:
            other = column[:-1] + (second if column[-1:].islower() or second == "2" else second.upper())
            if column[-1:].lower() == first and len(column) > 1 and other in columns:
                return column, other
    return None


def _inner(sample: Sample) -> list[str]:
    """Return the dotted paths one level inside the objects of the first row."""
    objects = ((column, value) for column, value in sample[0].values.items() if isinstance(value, Mapping))
    return [f"{column}.{key}" for column, value in objects for key in value]


def _maps(target: tuple[str, ...], columns: list[str]) -> dict[str, str] | None:
    """Return field → column for those fields of a target that are absent, or None if one has no likely column."""
    maps: dict[str, str] = {}
    for field in target:
        if field in columns or (field == "prompt" and set(PROMPTS) & set(columns)):
            continue
        free = [column for column in columns if column not in maps.values() and column not in target]
        column = _likely(field, free)
        if column is None:
            return None
        maps[field] = column
    return maps


def _likely(field: str, columns: list[str]) -> str | None:
    words = {column: column.rsplit(".", 1)[-1].lower() for column in columns}
    for column, word in words.items():
        if word in _ALIKE[field] or field in word:
            return column
    for column, word in words.items():
        if set(re.split(r"[^a-z]+", word)) & set(_ALIKE[field]):
            return column
    close = get_close_matches(field, list(words.values()), n=1, cutoff=0.75)
    return next((column for column, word in words.items() if word in close), None)
