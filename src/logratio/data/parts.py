"""Records by the call of the tokenizer: many at once, since each then costs less, and fewer where they are long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from ..records import Record, Text

_RECORDS = 1024
_CHARACTERS = 1 << 22
"""Characters that are enough for a call: each takes some 30 bytes while tokens are made of it."""
_RESPONSES = ("chosen", "rejected", "response")


@dataclass(frozen=True, slots=True)
class Part:
    """Some records in order.

    Attributes:
        records: The records.
        at: Index of the first one, from which `TokenRow.at` counts.
        shard: Number of the shard that they go to.
    """

    records: Sequence[Record]
    at: int = 0
    shard: int = 0


def next_part(reading: Iterator[Record], most: int = _RECORDS) -> list[Record]:
    """Take the records of one call, at most so many; none when there are no more."""
    taken: list[Record] = []
    size = 0
    for record in islice(reading, min(most, _RECORDS)):
        taken.append(record)
        size += _characters(record)
        if size >= _CHARACTERS:
            break
    return taken


def in_parts(records: Iterable[Record]) -> Iterator[Part]:
    """Yield records in parts, in order."""
    reading, at = iter(records), 0
    while taken := next_part(reading):
        yield Part(taken, at)
        at += len(taken)


def _characters(record: Record) -> int:
    """Return how much text is encoded for a record: its prompt, and again with each of its responses."""
    responses = [getattr(record, name) for name in _RESPONSES if hasattr(record, name)]
    responses += getattr(record, "responses", ())
    prompt = _length(record.prompt)
    return prompt + sum(prompt + _length(response) for response in responses)


def _length(text: Text) -> int:
    return len(text) if isinstance(text, str) else sum(len(str(turn.get("content"))) for turn in text)
