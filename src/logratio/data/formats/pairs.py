"""Formats with a chosen and a rejected response."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...records import Pair
from ..messages import is_messages
from ..problems import NO_WINNER, NoPreference
from ..schema import PROMPTS, Row
from ..shared import Split, joined, shared_text, shared_transcript
from ..transcript import is_transcript
from .base import Format, Sample, first_value

_CHOSEN = (("chosen",), ("rejected",))


def explicit(row: Row) -> Pair:
    """A prompt beside its two responses, each text or messages."""
    _winner(row)
    return _pair(row, joined(row.prompt(), (row.content("chosen"), row.content("rejected"))))


def chats(row: Row) -> Pair:
    """Two whole chats that share their first turns; a text prompt beside them only repeats one of those."""
    _winner(row)
    return _pair(row, joined(row.with_system(()), (row.messages("chosen"), row.messages("rejected"))))


def sharegpt(row: Row) -> Pair:
    """A chat as prompt, in ShareGPT's or the usual form, beside its two next turns."""
    _winner(row)
    prompt = row.with_system(row.messages(row.first("conversations", "messages")))
    return _pair(row, joined(prompt, (row.content("chosen"), row.content("rejected"))))


def transcripts(row: Row) -> Pair:
    """Two Human/Assistant transcripts; prompt and responses stay text, the prompt ending in the marker."""
    _winner(row)
    return _pair(row, shared_transcript((row.text("chosen"), row.text("rejected"))))


def texts(row: Row) -> Pair:
    """Two plain texts that begin alike."""
    _winner(row)
    return _pair(row, shared_text((row.text("chosen"), row.text("rejected"))))


def _winner(row: Row) -> None:
    """Raise where both responses are null, which is how a row without a winner is written."""
    if all(field in row.values and row.values[field] is None for field in ("chosen", "rejected")):
        raise NoPreference(NO_WINNER)


def _pair(row: Row, split: Split) -> Pair:
    prompt, (chosen, rejected) = split
    return Pair(
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        tools=row.tools(),
        carried=row.carried(),
        origin=row.origin,
    )


def _holds_prompt(sample: Sample) -> bool:
    """Chosen chats begin with another turn than the assistant's, and no list of messages stands beside them."""
    chosen = first_value(sample, "chosen")
    beside = any(is_messages(first_value(sample, column)) for column in PROMPTS)
    return isinstance(chosen, (list, tuple)) and is_messages(chosen) and not beside and not _answers(chosen[0])


def _answers(message: Mapping[str, Any]) -> bool:
    return message.get("role", message.get("from")) in ("assistant", "gpt", "chatgpt")


def _holds_transcript(sample: Sample) -> bool:
    chosen = first_value(sample, "chosen")
    return isinstance(chosen, str) and is_transcript(chosen)


FORMATS = (
    Format("pairs of chats that share their prompt (chosen/rejected messages)", _CHOSEN, chats, _holds_prompt),
    Format("pairs with their prompt (prompt/chosen/rejected)", (PROMPTS, *_CHOSEN), explicit),
    Format("pairs after a chat (conversations/chosen/rejected)", (("conversations", "messages"), *_CHOSEN), sharegpt),
    Format("pairs of Human/Assistant transcripts (chosen/rejected)", _CHOSEN, transcripts, _holds_transcript),
    Format("pairs of texts that begin alike (chosen/rejected)", _CHOSEN, texts),
)
