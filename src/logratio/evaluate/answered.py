"""Rows with responses as a judge sees them, and what the data says of these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from ..config import DataPart
from ..data.containers import BadRow, Item
from ..data.formats import sniff
from ..data.formats.base import Format
from ..data.problems import NoPreference, Unreadable, Unusable
from ..data.read import rows, rows_of
from ..data.schema import PROMPTS, Row, content_of, number_of
from ..errors import DataError
from ..records import Origin, Pair, Prompt, Ranked, Record, Text
from ..rollout.judge import Asked, answer_of

_RESPONSES = ("chosen", "rejected", "responses", "completion", "response", "messages", "conversations")


@dataclass(frozen=True)
class Answered:
    """A prompt with its responses.

    Attributes:
        asked: What a judge is asked.
        preferred: Pairs (i, j) of which the data prefers the response i.
        origin: File and row.
    """

    asked: Asked
    preferred: tuple[tuple[int, int], ...]
    origin: Origin


def read_answered(data: Any, left_out: Counter[str]) -> Iterator[Answered]:
    """Yield every row that has a response, whatever the data says of it: ties and unjudged ones too.

    Args:
        data: File, folder, hub name, a list of these, or an iterable of dicts: pairs, rankings, labelled or plain
            responses, or a prompt with `responses` alone.
        left_out: Counts rows with nothing to judge by why: identical or empty responses, no shared prompt.

    Raises:
        DataError: A row cannot be read.
    """
    known: dict[str, Format] = {}
    for item in _items(data):
        if isinstance(item, BadRow):
            raise DataError(f"{item.origin} {item.reason}; mend that row or leave it out.")
        row = Row(item[0], item[1])
        try:
            yield _answered(row, known)
        except (Unusable, NoPreference) as problem:
            left_out[str(problem)] += 1
        except Unreadable as problem:
            raise DataError(f"{row.origin}: {problem}; mend that row or leave it out.") from None


def _items(data: Any) -> Iterator[Item]:
    listed = [data] if isinstance(data, (str, DataPart)) else data
    if isinstance(listed, (list, tuple)) and all(isinstance(part, (str, DataPart)) for part in listed):
        for part in listed:
            yield from rows(part if isinstance(part, DataPart) else DataPart(path=part))
    else:
        yield from rows_of(data)


def _answered(row: Row, known: dict[str, Format]) -> Answered:
    if row.has("responses"):
        return _several(row)
    columns = " ".join(sorted(row.values))  # rows of one file may hold a column only where it applies
    if columns not in known:
        known[columns] = sniff([row])
    record = known[columns].build(row)
    if isinstance(record, Prompt):
        raise Unusable("no response to be judged")
    preferred = ((0, 1),) if isinstance(record, Pair) and record.tie is None else ()
    return _made(row, record.prompt, _texts(record), preferred)


def _several(row: Row) -> Answered:
    """Read responses with or without scores or ranks, which alone say what is preferred."""
    texts = [content_of(value, f"responses.{index}") for index, value in enumerate(row.items("responses"))]
    field = next((name for name in ("scores", "ranks") if row.has(name)), None)
    values = [number_of(value, f"{field}.{index}") for index, value in enumerate(row.items(field) if field else ())]
    if not texts or (field and len(values) != len(texts)):
        raise Unreadable(f"{len(texts)} `responses` with {len(values)} `{field}`, must be equally many, at least 1")
    better = values if field == "scores" else [-value for value in values]
    ordered = [(i, j) if better[i] > better[j] else (j, i) for i, j in combinations(range(len(better)), 2)]
    return _made(row, row.prompt(), tuple(texts), tuple((i, j) for i, j in ordered if better[i] != better[j]))


def _made(row: Row, prompt: Text, texts: tuple[Text, ...], preferred: tuple[tuple[int, int], ...]) -> Answered:
    others: Mapping[str, Any] = {k: v for k, v in row.values.items() if k not in PROMPTS and k not in _RESPONSES}
    asked = Asked(prompt, tuple(answer_of(_said(text)) for text in texts), others)
    return Answered(asked, preferred, row.origin)


def _texts(record: Record) -> tuple[Text, ...]:
    if isinstance(record, Pair):
        return record.chosen, record.rejected
    if isinstance(record, Ranked):
        return record.responses
    return () if isinstance(record, Prompt) else (record.response,)


def _said(response: Text) -> str:
    """Return what the assistant says in a response."""
    if isinstance(response, str):
        return response
    return "\n\n".join(str(turn.get("content") or "") for turn in response if turn["role"] == "assistant")
