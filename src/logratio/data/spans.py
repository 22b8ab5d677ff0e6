"""Which part of a rendered chat is the prompt, and which characters of the rest the assistant wrote."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..config import LossOn
from ..errors import TemplateError
from ..records import Message
from .problems import NO_ASSISTANT, NO_PROMPT, Unusable
from .template import ChatTemplate, Tools

Chat = tuple[Message, ...]
Span = tuple[int, int]

THOUGHTS = ("reasoning_content", "thinking")
_BREAK = re.compile(r"</?think>")
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Draft:
    """The texts of one record, before they are tokens.

    Attributes:
        prompt: Text before every response, as at generation.
        wholes: K texts, each the prompt and one response; `prompt` is a prefix of each.
        turns: Per response, the character spans in its whole that the assistant wrote and that carry loss; None if
            that is all of the response.
        early: Whether the responses part before their last turn.
        swallowed: First text of a response that the template leaves out, if any.
    """

    prompt: str
    wholes: tuple[str, ...]
    turns: tuple[tuple[Span, ...] | None, ...]
    early: bool = False
    swallowed: str | None = None


def draft_chat(
    template: ChatTemplate, prompt: Chat, responses: Sequence[Chat], *, tools: Tools, loss_on: LossOn
) -> Draft:
    """Render a prompt and its responses, and find the turns that carry loss.

    The prompt is the rendering of the messages that all responses share, with the generation prompt, up to an
    assistant's turn in each: before the last turn of a lone response where `loss_on` is "last", before the very first
    turn where it is "all".

    Raises:
        Unusable: There is no assistant turn, or nothing before it.
        TemplateError: The rendered prompt is no prefix of the rendered whole.
    """
    chats = [(*prompt, *_until_last_turn(response)) for response in responses]
    parting = _parting(chats, len(prompt), loss_on)
    shared = min(parting, _assistants(chats[0], 0)[0]) if loss_on == "all" else parting
    if shared == 0:
        raise Unusable(NO_PROMPT)
    before = template.render(chats[0][:shared], tools=tools, generation=True)
    wholes, turns, swallowed = [], [], None
    for chat in chats:
        whole = template.render(chat, tools=tools, generation=False)
        if template.end_of_turn is None:
            whole = whole.removesuffix(template.tail)
        if not whole.startswith(before):
            raise _mismatch(template, before, whole)
        spans = [
            _turn(template, chat, at, whole, tools, len(before) if at == shared else None)
            for at in _scored_turns(chat, shared, loss_on)
        ]
        wholes.append(whole)
        turns.append(None if shared == len(chat) - 1 else tuple(spans))
        swallowed = swallowed or _swallowed(chat, shared, whole[len(before) :])
    early = len(chats) > 1 and any(_assistants(chat, parting)[1:] for chat in chats)
    return Draft(before, tuple(wholes), tuple(turns), early, swallowed)


def _assistants(chat: Chat, start: int) -> list[int]:
    return [at for at in range(start, len(chat)) if chat[at]["role"] == "assistant"]


def _until_last_turn(response: Chat) -> Chat:
    turns = _assistants(response, 0)
    if not turns:
        raise Unusable(NO_ASSISTANT)
    return response[: turns[-1] + 1]


def _parting(chats: Sequence[Chat], prompt: int, loss_on: LossOn) -> int:
    """Return how many messages all chats share, up to an assistant's turn in each."""
    if len(chats) == 1:
        turns = _assistants(chats[0], prompt)
        return turns[-1] if loss_on == "last" else turns[0]
    most = min(len(chat) for chat in chats) - 1
    same = next((at for at in range(most) if any(chat[at] != chats[0][at] for chat in chats)), most)
    return next((at for at in range(same, -1, -1) if all(chat[at]["role"] == "assistant" for chat in chats)), 0)


def _scored_turns(chat: Chat, shared: int, loss_on: LossOn) -> list[int]:
    turns = _assistants(chat, shared)
    return turns[-1:] if loss_on == "last" else turns


def _mismatch(template: ChatTemplate, before: str, whole: str) -> TemplateError:
    at = _common(before, whole)
    return TemplateError(
        f"{template.name} does not render the prompt as the beginning of the whole chat: after "
        f"{before[max(0, at - _SHOWN) : at]!r} the prompt has {before[at : at + _SHOWN]!r}, the whole "
        f"{whole[at : at + _SHOWN]!r}, so the model would train on another prompt than it meets; use "
        "tokens.loss_on=last, set template.kwargs (as enable_thinking), or change the template."
    )


def _turn(template: ChatTemplate, chat: Chat, at: int, whole: str, tools: Tools, start: int | None) -> Span:
    """Return where message `at` lies in `whole`, from behind its header; checked by rendering what precedes it."""
    if start is None:
        opened = template.render(chat[:at], tools=tools, generation=True)
        if not whole.startswith(opened):
            raise _mismatch(template, opened, whole)
        start = len(opened)
    if at == len(chat) - 1:
        return start, len(whole)
    upto = template.render(chat[: at + 1], tools=tools, generation=False)
    if whole.startswith(upto):
        return start, len(upto)
    # Rendered otherwise once a later turn follows (an earlier thought is dropped): it ends with its end-of-turn token.
    end = whole.find(template.end_text, start) if template.end_text else -1
    if end < 0:
        raise _mismatch(template, upto, whole)
    return start, end + len(template.end_text)


def _common(left: str, right: str) -> int:
    return next((at for at, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))


def _swallowed(chat: Chat, shared: int, rendered: str) -> str | None:
    """Return the first piece of the responses' text that is not in `rendered`, looked for in order."""
    at = 0
    for turn in _assistants(chat, shared):
        message = chat[turn]
        thoughts = {str(message[name]) for name in THOUGHTS if message.get(name)}
        for text in (*thoughts, message.get("content") or ""):
            for piece in map(str.strip, _BREAK.split(text)):
                found = rendered.find(piece, at)
                if found < 0:
                    return piece
                at = found + len(piece)
    return None
