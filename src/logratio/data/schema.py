"""Typed access to one row: every field that a format reads goes through here, and is checked here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..records import Carried, Message, Origin, Text
from .messages import blank, checked_text, is_messages, messages_of, tools_of
from .problems import Unreadable, kind_of

PROMPTS = ("prompt", "question", "instruction")
"""Columns that hold a prompt, in order of precedence."""

CARRIED = ("weight", "annotator", "margin", "chosen_probability", "criterion")
_MEDIA = ("image", "images", "audio", "audios", "video", "videos")
_TRUE, _FALSE = {"true", "1", "1.0"}, {"false", "0", "0.0"}


@dataclass(frozen=True, slots=True)
class Row:
    """One row and where it came from.

    Every accessor raises `Unreadable` where the field is missing, null or of the wrong type, unless it says otherwise.
    """

    values: Mapping[str, Any]
    origin: Origin

    def has(self, field: str) -> bool:
        """Return whether the field is there and not null."""
        return self.values.get(field) is not None

    def first(self, *fields: str) -> str:
        """Return the first of alternative columns that is in the row, else the first name."""
        return next((field for field in fields if field in self.values), fields[0])

    def value(self, field: str, must: str) -> Any:
        """Return the field's value; `must` says in messages what it must be."""
        if field not in self.values:
            raise Unreadable(f"`{field}` is missing, must be {must}")
        if self.values[field] is None:
            raise Unreadable(f"`{field}` is null, must be {must}")
        return self.values[field]

    def text(self, field: str) -> str:
        """Return text, possibly empty."""
        value = self.value(field, "text")
        if not isinstance(value, str):
            raise Unreadable(f"`{field}` is {kind_of(value)}, must be text")
        return checked_text(value, f"`{field}`")

    def optional_text(self, field: str) -> str:
        """Return text, empty where the field is missing or null."""
        return self.text(field) if self.has(field) else ""

    def content(self, field: str) -> Text:
        """Return text or messages, whichever the field holds."""
        return content_of(self.value(field, "text or a list of messages"), field)

    def messages(self, field: str) -> tuple[Message, ...]:
        """Return a list of messages."""
        return messages_of(self.value(field, "a list of messages"), field)

    def items(self, field: str) -> list[Any]:
        """Return a list."""
        value = self.value(field, "a list")
        if not isinstance(value, (list, tuple)):
            raise Unreadable(f"`{field}` is {kind_of(value)}, must be a list")
        return list(value)

    def number(self, field: str) -> float:
        """Return a finite number."""
        return number_of(self.value(field, "a number"), field)

    def truth(self, field: str) -> bool:
        """Return true or false, also given as 1 or 0."""
        value = self.value(field, "true or false")
        word = str(value).strip().lower()
        if word not in _TRUE | _FALSE:
            raise Unreadable(f"`{field}` is {_shown(value)}, must be true or false (or 1 or 0)")
        return word in _TRUE

    def prompt(self) -> Text:
        """Return the prompt: text, or messages where it is a chat or a system text stands beside it.

        An Alpaca row's `input` follows its `instruction` after an empty line.
        """
        field = self.first(*PROMPTS)
        prompt = self.content(field)
        if field == "instruction" and isinstance(prompt, str) and self.optional_text("input"):
            prompt = f"{prompt}\n\n{self.text('input')}"
        return self.with_system(prompt)

    def with_system(self, prompt: Text) -> Text:
        """Return the prompt behind the row's `system` text, unless that is empty or the prompt brings its own."""
        system = self.optional_text("system")
        if not system:
            return prompt
        turns = ({"role": "user", "content": prompt},) if isinstance(prompt, str) else prompt
        return turns if turns and turns[0]["role"] == "system" else ({"role": "system", "content": system}, *turns)

    def tools(self) -> tuple[Mapping[str, Any], ...] | None:
        """Return the tools' JSON schemas, or None."""
        return tools_of(self.values.get("tools"))

    def carried(self, margin: float | None = None) -> Carried:
        """Return the optional columns; `margin` serves where the row has no column of that name."""
        weight = self._optional_number("weight", low=0.0)
        own_margin = self._optional_number("margin")
        return Carried(
            weight=1.0 if weight is None else weight,
            margin=margin if own_margin is None else own_margin,
            probability=self._optional_number("chosen_probability", low=0.0, high=1.0),
            annotator=self._optional_name("annotator"),
            criterion=self._optional_name("criterion"),
        )

    def refuse_media(self) -> None:
        """Raise where a column of pictures, sound or film holds something."""
        for field in _MEDIA:
            if not blank(self.values.get(field)):
                raise Unreadable(
                    f"`{field}` holds {field.rstrip('s')}, and only text can be trained on; leave such rows out"
                )

    def _optional_number(self, field: str, low: float = -math.inf, high: float = math.inf) -> float | None:
        if self.values.get(field) in (None, ""):
            return None
        number = self.number(field)
        if not low <= number <= high:
            rule = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
            raise Unreadable(f"`{field}` is {number:g}, must be {rule}")
        return number

    def _optional_name(self, field: str) -> str | None:
        value = self.values.get(field)
        if value is None or value == "":
            return None
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise Unreadable(f"`{field}` is {kind_of(value)}, must be text or a whole number")
        return str(value)


def content_of(value: Any, field: str) -> Text:
    """Return text, or messages where `value` is an object or a list of them."""
    if isinstance(value, str):
        return checked_text(value, f"`{field}`")
    if is_messages(value) or value == []:
        return messages_of(value, field)
    raise Unreadable(f"`{field}` is {kind_of(value)}, must be text or a list of messages")


def number_of(value: Any, field: str) -> float:
    """Return a finite number, also given as text."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise Unreadable(f"`{field}` is {_shown(value)}, must be a number") from None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unreadable(f"`{field}` is {kind_of(value)}, must be a number")
    if not math.isfinite(value):
        raise Unreadable(f"`{field}` is {value}, must be finite")
    return float(value)


def _shown(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
