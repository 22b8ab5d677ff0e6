"""The prompt that K responses share: what they have in common, up to the last point at which all of them answer."""

from __future__ import annotations

from collections.abc import Sequence

from ..records import Message, Text
from .messages import says_something
from .problems import EMPTY, IDENTICAL, NO_ASSISTANT, NO_PROMPT, Unusable
from .transcript import ASSISTANT

Messages = tuple[Message, ...]
Split = tuple[Text, tuple[Text, ...]]
"""A prompt, and K distinct responses to it of the same form, none empty."""


def shared_transcript(texts: Sequence[str]) -> Split:
    r"""Split transcripts behind the last `\n\nAssistant:` that all of them have in common.

    The marker decides, not the common characters: an answer that begins another stays whole.

    Raises:
        Unusable: They have no such marker in common, or what follows it is empty or identical.
    """
    at = texts[0].rfind(ASSISTANT, 0, _common(texts))
    if at < 0:
        raise Unusable(NO_PROMPT)
    end = at + len(ASSISTANT)
    return checked(texts[0][:end], tuple(text[end:] for text in texts))


def shared_text(texts: Sequence[str]) -> Split:
    """Split plain texts before the first word that not all of them have in common.

    White space belongs to the response that follows it, and every response keeps at least one word: where one text
    begins another, the last word that they share goes to the responses.

    Raises:
        Unusable: They do not begin with a common word, or are identical.
    """
    if len(set(texts)) < len(texts):
        raise Unusable(IDENTICAL)
    first = texts[0]
    for end in range(_common(texts), 0, -1):
        parts = all(text[end : end + 1].isspace() for text in texts) and not first[end - 1].isspace()
        if parts and all(text[end:].strip() for text in texts):
            return first[:end], tuple(text[end:] for text in texts)
    raise Unusable(NO_PROMPT)


def _common(texts: Sequence[str]) -> int:
    """Return how many characters texts begin with in common, by halving: comparing slices is what strings do fast."""
    least, most = min(texts), max(texts)
    same, end = 0, min(len(least), len(most))
    while same < end:
        middle = (same + end + 1) // 2
        if least[same:middle] == most[same:middle]:
            same = middle
        else:
            end = middle - 1
    return same


def shared_messages(chats: Sequence[Messages], prompt: int = 0) -> Split:
    """Split chats before the last assistant's turn up to which all of them agree; a single chat before its first.

    Turns after the last assistant's are left out, since nothing answers them.

    Args:
        chats: K chats, each with its prompt.
        prompt: How many messages are known to be prompt.

    Raises:
        Unusable: A chat has no assistant's turn or an empty answer, two are identical, or they share no prompt.
    """
    chats = [_answered(chat, prompt) for chat in chats]
    starts = [at for at, turn in enumerate(chats[0]) if at >= prompt and turn["role"] == "assistant"]
    shared = [at for at in starts if all(_agree(chats[0], chat, at) for chat in chats[1:])]
    if not shared or (len(chats) > 1 and shared[-1] == 0):
        raise Unusable(NO_PROMPT)
    start = shared[-1] if len(chats) > 1 else shared[0]
    return checked(chats[0][:start], tuple(chat[start:] for chat in chats))


def joined(prompt: Text, responses: Sequence[Text]) -> Split:
    """Bring a prompt and its responses to one form, and move the turns that the responses share into the prompt.

    Text stays text while all is text. Otherwise a text prompt is the user's turn and a text response the assistant's.
    A response that already begins with the prompt replaces it; so does, where the prompt is text, a response that
    begins with any turn but the assistant's.

    Raises:
        Unusable: As `shared_messages`.
    """
    if isinstance(prompt, str) and all(isinstance(response, str) for response in responses):
        return checked(prompt, tuple(responses))
    before = as_messages(prompt, "user")
    parts = [as_messages(response, "assistant") for response in responses]
    if not all(any(turn["role"] == "assistant" for turn in part) for part in parts):
        raise Unusable(NO_ASSISTANT)
    if all(_holds_prompt(part, prompt, before) for part in parts):
        return shared_messages(parts, prompt=0 if isinstance(prompt, str) else len(before))
    return shared_messages([before + part for part in parts], prompt=len(before))


def checked(prompt: Text, responses: tuple[Text, ...]) -> Split:
    """Return the arguments if no response is empty and no two are identical.

    Raises:
        Unusable: One is, or two are.
    """
    if not all(_answers(response) for response in responses):
        raise Unusable(EMPTY)
    if any(response in responses[:at] for at, response in enumerate(responses)):
        raise Unusable(IDENTICAL)
    return prompt, responses


def as_messages(text: Text, role: str) -> Messages:
    """Return text as one message of `role`, or as none if it is an empty prompt; messages stay as they are."""
    if not isinstance(text, str):
        return text
    return ({"role": role, "content": text},) if text or role == "assistant" else ()


def _answers(response: Text) -> bool:
    if isinstance(response, str):
        return bool(response.strip())
    return any(says_something(turn) for turn in response if turn["role"] == "assistant")


def _answered(chat: Messages, prompt: int) -> Messages:
    """Return the chat up to its last assistant's turn."""
    for end in range(len(chat), prompt, -1):
        if chat[end - 1]["role"] == "assistant":
            return chat[:end]
    raise Unusable(NO_ASSISTANT)


def _agree(one: Messages, other: Messages, start: int) -> bool:
    """Return whether two chats are the same up to `start`, where both are answered by the assistant."""
    return start < len(other) and other[start]["role"] == "assistant" and one[:start] == other[:start]


def _holds_prompt(part: Messages, prompt: Text, before: Messages) -> bool:
    by_role: bool = part[0]["role"] != "assistant"
    return by_role if isinstance(prompt, str) else bool(before) and part[: len(before)] == before
