"""Formats with one response, labelled or to imitate, and with none."""

from __future__ import annotations

from ...records import Demonstration, Labelled, Message, Prompt
from ..problems import NO_LABEL, NoPreference
from ..schema import PROMPTS, Row
from ..shared import Split, as_messages, checked, joined, shared_messages
from .base import Format, Sample, first_value

_COMPLETION = ("completion", "response")
_RESPONSE_WORDS = (
    "respon",
    "complet",
    "answer",
    "output",
    "reply",
    "chosen",
    "reject",
    "summar",
    "candidat",
    "generat",
    "prefer",
)


def labelled(row: Row) -> Labelled:
    """One completion, and whether it is good."""
    _require_label(row)
    return _labelled(row, joined(row.prompt(), (row.content(row.first(*_COMPLETION)),)))


def labelled_chat(row: Row) -> Labelled:
    """A whole chat, and whether its last answer is good."""
    _require_label(row)
    turns = _chat(row)
    answers = [at for at, turn in enumerate(turns) if turn["role"] == "assistant"]
    return _labelled(row, shared_messages([turns], prompt=answers[-1] if answers else 0))


def completion(row: Row) -> Demonstration:
    """A prompt and its completion."""
    return _demonstration(row, joined(row.prompt(), (row.content(row.first(*_COMPLETION, "output")),)))


def chat(row: Row) -> Demonstration:
    """A whole chat: what precedes the first answer is the prompt."""
    return _demonstration(row, shared_messages([_chat(row)]))


def text(row: Row) -> Demonstration:
    """Plain text, without a prompt."""
    return _demonstration(row, checked("", (row.text("text"),)))


def prompt(row: Row) -> Prompt:
    """A prompt alone."""
    return Prompt(prompt=row.prompt(), tools=row.tools(), carried=row.carried(), origin=row.origin)


def _chat(row: Row) -> tuple[Message, ...]:
    return as_messages(row.with_system(row.messages(row.first("messages", "conversations"))), "user")


def _require_label(row: Row) -> None:
    """Raise where the label is null, which is how an unjudged response is written."""
    if "label" in row.values and row.values["label"] is None:
        raise NoPreference(NO_LABEL)


def _labelled(row: Row, split: Split) -> Labelled:
    before, (response,) = split
    return Labelled(
        prompt=before,
        response=response,
        label=row.truth("label"),
        tools=row.tools(),
        carried=row.carried(),
        origin=row.origin,
    )


def _demonstration(row: Row, split: Split) -> Demonstration:
    before, (response,) = split
    return Demonstration(prompt=before, response=response, tools=row.tools(), carried=row.carried(), origin=row.origin)


def _judges(sample: Sample) -> bool:
    """The label says true or false; a class name beside a chat is only an extra column."""
    return isinstance(first_value(sample, "label"), bool)


def _alone(sample: Sample) -> bool:
    """No other column sounds like a response, so that none is overlooked."""
    columns = {column.lower() for row in sample for column in row.values}
    return not any(word in column for column in columns for word in _RESPONSE_WORDS)


_CHAT = ("messages", "conversations")
FORMATS = (
    Format("labelled responses (prompt/completion/label)", (PROMPTS, _COMPLETION, ("label",)), labelled),
    Format("labelled chats (messages/label)", (_CHAT, ("label",)), labelled_chat, _judges),
    Format("demonstrations (prompt/completion)", (PROMPTS, _COMPLETION), completion),
    Format("Alpaca demonstrations (instruction/input/output)", (("instruction",), ("output",)), completion),
    Format("chats (messages)", (("messages",),), chat),
    Format("ShareGPT chats (conversations)", (("conversations",),), chat),
    Format("plain text (text)", (("text",),), text, _alone),
    Format("prompts alone (prompt)", (("prompt",),), prompt, _alone),
)
