"""Formats with K responses to a prompt, scored or ranked."""

from __future__ import annotations

from dataclasses import replace

from ...records import Ranked
from ..problems import NO_VERDICT, REPLACED, TIE, TOO_FEW, NoPreference, Unreadable
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


def drawn(row: Row) -> Ranked:
    """What a run drew in one phase: as `ranked`, without responses that are empty.

    What the run did not learn from teaches here neither: prompts without a verdict, and those it drew others for.
    """
    if row.has("failed"):
        raise NoPreference(NO_VERDICT)
    if row.has("replaced"):
        raise NoPreference(REPLACED)
    kept = [index for index, text in enumerate(row.items("responses")) if text]
    values = {name: [row.items(name)[index] for index in kept] for name in ("responses", "scores")}
    if len(kept) < 2:
        raise NoPreference(TOO_FEW)
    return ranked(replace(row, values={**row.values, **values}))


FORMATS = (
    Format(
        "responses that a run drew (prompt/responses/scores/sampled)",
        (PROMPTS, ("responses",), ("sampled", "usage"), ("ended",)),  # a row without a verdict lacks its scores
        drawn,
    ),
    Format("scored responses (prompt/responses/scores)", (PROMPTS, ("responses",), ("scores",)), ranked),
    Format("ranked responses (prompt/responses/ranks)", (PROMPTS, ("responses",), ("ranks",)), ranked),
)
