"""What can be wrong with a row. A format's builder raises one of these; the record stream counts them."""

from __future__ import annotations

from typing import Any


class RowProblem(Exception):
    """Base: a row that yields no record. Its text is the reason, without file and row."""


class Unreadable(RowProblem):
    """The row breaks its format: a field is missing, null or of the wrong type."""


class Unusable(RowProblem):
    """The row is well-formed and cannot be trained on: an empty response, identical responses, no shared prompt."""


class NoPreference(RowProblem):
    """The row names no winner."""


EMPTY = "empty response"
IDENTICAL = "identical responses"
NO_PROMPT = "no shared prompt"
NO_ASSISTANT = "no assistant turn"
TIE = "tie"
BOTH_BAD = "both bad"
NO_WINNER = "no winner"
NO_LABEL = "no label"
NO_VERDICT = "no verdict"
REPLACED = "replaced by another prompt"
TOO_FEW = "fewer than two responses that are not empty"


def kind_of(value: Any) -> str:
    """Return what a JSON value is, in words."""
    if isinstance(value, bool):
        return str(value).lower()
    kinds: dict[type, str] = {dict: "an object", list: "a list", tuple: "a list", str: "text", type(None): "null"}
    kinds |= {int: "a number", float: "a number"}
    return kinds.get(type(value), type(value).__name__)
