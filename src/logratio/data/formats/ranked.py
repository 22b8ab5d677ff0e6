"""Formats with K responses to a prompt, scored or ranked."""

from __future__ import annotations

from ...records import Ranked
from ..problems import TIE, NoPreference, Unreadable
from ..schema import PROMPTS, Row, content_of, number_of
from ..shared import joined
from .base import Format


def ranked(row: Row) -> Ranked:
    """Responses with scores (higher is better) or ranks (1 is best); ranks arrive negated."""
    field = row.first("scores", "ranks")
    values = [number_of(value, f"{field}.{index}") for index, value in enumerate(row.items(field))]
    responses = [content_of(value, f"responses.{index}") for index, value in enumerate(row.items("responses"))]
    if len(responses) != len(values) or len(values) < 2:
        raise Unreadable(f"{len(responses)} `responses` with {len(values)} `{field}`, must be equally many, at least 2")
    if len(set(values)) == 1:
        raise NoPreference(TIE)
    prompt, alternatives = joined(row.prompt(), responses)
    return Ranked(
        prompt=prompt,
        responses=alternatives,
        scores=tuple(values if field == "scores" else [-value for value in values]),
        tools=row.tools(),
        carried=row.carried(),
        origin=row.origin,
    )


FORMATS = (
    Format("scored responses (prompt/responses/scores)", (PROMPTS, ("responses",), ("scores",)), ranked),
    Format("ranked responses (prompt/responses/ranks)", (PROMPTS, ("responses",), ("ranks",)), ranked),
)
