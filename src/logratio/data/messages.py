"""Chat messages as they come, made what chat templates expect."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..records import ROLES, Message
from .problems import Unreadable, kind_of

# ShareGPT's names for the roles.
_FROM = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "observation": "tool", "function_call": "call"}
_MEDIA = ("image", "audio", "video")


def messages_of(value: Any, field: str) -> tuple[Message, ...]:
    """Return a list of messages, or a single one, with every content as text and every call's arguments as an object.

    Content parts are joined; null content beside `tool_calls` becomes empty text; keys that are null are left out; all
    other keys (`reasoning_content`, `thinking`, `name`, `tool_call_id`, …) stay.

    Raises:
        Unreadable: No list of messages; names the field, the message and the rule.
    """
    turns = [value] if isinstance(value, Mapping) else value
    if not isinstance(turns, (list, tuple)):
        raise Unreadable(f"`{field}` is {kind_of(value)}, must be a list of messages")
    return tuple(_message(turn, f"`{field}`, message {number}") for number, turn in enumerate(turns, 1))


def is_messages(value: Any) -> bool:
    """Return whether `value` looks like messages: an object, or a list that begins with one."""
    return isinstance(value, Mapping) or (isinstance(value, (list, tuple)) and bool(value) and is_messages(value[0]))


def blank(value: Any) -> bool:
    """Return whether a field is there without holding anything."""
    return value is None or (isinstance(value, (str, list, tuple, Mapping)) and not value)


def says_something(message: Message) -> bool:
    """Return whether an assistant's turn holds text, thought or a call."""
    keys = ("content", "tool_calls", "reasoning_content", "thinking")
    return any(value.strip() if isinstance(value := message.get(key), str) else value for key in keys)


def tools_of(value: Any) -> tuple[Mapping[str, Any], ...] | None:
    """Return the tools' JSON schemas, given as a list or as JSON text; None if there are none.

    Raises:
        Unreadable: No list of objects.
    """
    if isinstance(value, str):
        value = _parsed(value, "`tools`") if value.strip() else None
    if blank(value):
        return None
    if not isinstance(value, (list, tuple)) or not all(isinstance(tool, Mapping) for tool in value):
        raise Unreadable(f"`tools` is {kind_of(value)}, must be a list of JSON schemas, each an object")
    return tuple(value)


def _message(turn: Any, where: str) -> Message:
    if not isinstance(turn, Mapping):
        raise Unreadable(f"{where}: is {kind_of(turn)}, must be an object with role and content")
    role = turn.get("role", turn.get("from"))
    if role is None:
        raise Unreadable(f"{where}: has no role, must be one of {', '.join(ROLES)}")
    content = turn.get("content", turn.get("value"))
    if "from" in turn and "role" not in turn:
        role = _FROM.get(role, role)
        if role == "call":
            turn, role, content = {"tool_calls": _sharegpt_calls(content, where)}, "assistant", None
    if role not in ROLES:
        raise Unreadable(f"{where}: role {json.dumps(role, default=str)} is unknown, must be one of {', '.join(ROLES)}")
    rest = {key: value for key, value in turn.items() if value is not None and key not in _RENAMED}
    if rest.get("tool_calls"):
        rest["tool_calls"] = _calls(rest["tool_calls"], where)
    for medium in _MEDIA:
        _refuse_medium(turn, medium, where)
    return {"role": role, "content": _content(content, where, optional=bool(rest.get("tool_calls"))), **rest}


_RENAMED = {"role", "content", "from", "value"}


def _content(content: Any, where: str, optional: bool) -> str:
    if content is None and optional:
        return ""
    if isinstance(content, str):
        return checked_text(content, where)
    if isinstance(content, (list, tuple)):
        return "".join(_part(part, f"{where}, part {number}") for number, part in enumerate(content, 1))
    rule = "text, a list of text parts, or null beside tool_calls"
    raise Unreadable(f"{where}: content is {kind_of(content)}, must be {rule}")


def _part(part: Any, where: str) -> str:
    if isinstance(part, str):
        return checked_text(part, where)
    if not isinstance(part, Mapping):
        raise Unreadable(f"{where}: is {kind_of(part)}, must be an object with type and text")
    for medium in _MEDIA:
        if medium in str(part.get("type")):
            raise Unreadable(f"{where}: holds {medium}, and only text can be trained on; leave such rows out")
        _refuse_medium(part, medium, where)
    if part.get("type", "text") != "text" or not isinstance(part.get("text"), str):
        raise Unreadable(f'{where}: has type {json.dumps(part.get("type"), default=str)}, must be "text" with a text')
    return checked_text(part["text"], where)


def _refuse_medium(holder: Mapping[str, Any], medium: str, where: str) -> None:
    for key in (medium, f"{medium}s", f"{medium}_url"):
        if not blank(holder.get(key)):
            raise Unreadable(f"{where}: holds {medium}, and only text can be trained on; leave such rows out")


def _calls(calls: Any, where: str) -> list[Mapping[str, Any]]:
    if not isinstance(calls, (list, tuple)):
        raise Unreadable(f"{where}: tool_calls is {kind_of(calls)}, must be a list")
    return [_call(call, f"{where}, tool call {number}") for number, call in enumerate(calls, 1)]


def _call(call: Any, where: str) -> Mapping[str, Any]:
    """Return a call as `{type: function, function: {name, arguments}}`, the arguments an object."""
    if not isinstance(call, Mapping):
        raise Unreadable(f"{where}: is {kind_of(call)}, must be an object")
    function = call.get("function", call)
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise Unreadable(f"{where}: names no function; it needs function.name and function.arguments")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        arguments = _parsed(arguments, f"{where}: arguments") if arguments.strip() else {}
    if not isinstance(arguments, Mapping) and arguments is not None:
        raise Unreadable(f"{where}: arguments is {kind_of(arguments)}, must be an object or its JSON text")
    outer = {} if function is call else {key: value for key, value in call.items() if value is not None}
    return {"type": "function", **outer, "function": {"name": function["name"], "arguments": arguments or {}}}


def _sharegpt_calls(value: Any, where: str) -> list[Any]:
    calls = _parsed(value, f"{where}: function_call") if isinstance(value, str) else value
    return calls if isinstance(calls, list) else [calls]


def _parsed(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Unreadable(f"{what} is no JSON text ({error})") from error


def checked_text(text: str, where: str) -> str:
    """Return `text` if every character can be written as UTF-8.

    Raises:
        Unreadable: It holds half of a surrogate pair, which no tokenizer takes.
    """
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(text[error.start]):04x}"
            raise Unreadable(f"{where} holds {half}, half of a character, at position {error.start + 1}") from error
    return text
