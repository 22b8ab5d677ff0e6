r"""Transcripts with turns marked `\n\nHuman:` and `\n\nAssistant:`, as in Anthropic's HH data (Bai et al. 2022)."""

from __future__ import annotations

import re

from ..records import Message

ASSISTANT = "\n\nAssistant:"
_TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def is_transcript(text: str) -> bool:
    """Return whether `text` begins with a marked turn."""
    return _TURN.match(text) is not None


def parse_transcript(text: str) -> tuple[Message, ...] | None:
    r"""Return the turns of a transcript as messages, contents stripped; None if the text does not begin with a turn.

    A last assistant turn without text, which is where a response goes, is left out.

    >>> parse_transcript("\n\nHuman: Hi.\n\nAssistant:")
    ({'role': 'user', 'content': 'Hi.'},)
    """
    if not is_transcript(text):
        return None
    marks = list(_TURN.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    turns: list[Message] = [
        {"role": _ROLES[mark.group(1)], "content": text[mark.end() : end].strip()}
        for mark, end in zip(marks, ends, strict=True)
    ]
    if turns[-1] == {"role": "assistant", "content": ""}:
        turns.pop()
    return tuple(turns)


def transcript_messages(prompt: str, response: str) -> tuple[tuple[Message, ...], tuple[Message, ...]] | None:
    r"""Return prompt and response as messages; None unless `prompt` is a transcript that ends in `\n\nAssistant:`.

    The response may go on for several turns.

    >>> transcript_messages("\n\nHuman: Hi.\n\nAssistant:", " Hello!")
    (({'role': 'user', 'content': 'Hi.'},), ({'role': 'assistant', 'content': 'Hello!'},))
    """
    before = parse_transcript(prompt) if prompt.endswith(ASSISTANT) else None
    whole = parse_transcript(prompt + response)
    if before is None or whole is None:
        return None
    return before, whole[len(before) :]
