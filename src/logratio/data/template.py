"""The tokenizer's chat template: fixed in time, probed for its end-of-turn token, and named in every complaint."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import jinja2

from ..errors import ModelError, TemplateError
from ..files import content_hash
from ..records import Message

Tools = Sequence[Mapping[str, Any]] | None

_SWITCH = "enable_thinking"
_DIRECTIVES = ("%-d", "%-m", "%-H", "%-I", "%-M", "%-S", "%-j") + tuple(
    f"%{letter}" for letter in "aAbBcdFHIjmMpSuUVwWxXyYZz"
)
_PROBE = "Halcyon"


class Tokenizer(Protocol):
    """What this package reads of a transformers tokenizer (one backed by the tokenizers library)."""

    @property
    def bos_token_id(self) -> int | None:
        """Id that begins a text, if any."""

    @property
    def eos_token_id(self) -> int | None:
        """Id that ends a text, if any."""

    @property
    def all_special_ids(self) -> Sequence[int]:
        """Ids of named special tokens."""

    @property
    def added_tokens_decoder(self) -> Mapping[int, Any]:
        """Id → added token, with its `special` flag."""

    @property
    def chat_template(self) -> Any:
        """Template source, named sources, or None."""

    @property
    def name_or_path(self) -> str:
        """Where it was loaded from."""

    @property
    def backend_tokenizer(self) -> Any:
        """The `tokenizers.Tokenizer` underneath."""

    def get_chat_template(self, chat_template: str | None = None, tools: Any = None) -> str:
        """Return the template's source."""

    def apply_chat_template(self, conversation: Any, **settings: Any) -> Any:
        """Render messages."""


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template with everything that its output depends on.

    Attributes:
        tokenizer: Whose template it is, and which renders it.
        kwargs: Values passed to the template, as `enable_thinking`.
        date: ISO date that a template which asks for the time is told.
    """

    tokenizer: Tokenizer
    kwargs: Mapping[str, Any]
    date: str

    @property
    def name(self) -> str:
        """How messages call it: where it came from, and its hash."""
        return f"the chat template of {self.tokenizer.name_or_path or 'this tokenizer'} ({self.hash[:12]})"

    @cached_property
    def hash(self) -> str:
        """Hash of the template's source; the date and values passed are recorded beside it."""
        return content_hash(self.tokenizer.chat_template)

    @cached_property
    def reads_clock(self) -> bool:
        """Whether it asks for the current time."""
        return "strftime_now" in self._sources

    @property
    def thinking_unset(self) -> bool:
        """Whether it knows the switch `enable_thinking` and nobody has set it."""
        return _SWITCH in self._sources and _SWITCH not in self.kwargs

    @cached_property
    def _sources(self) -> str:
        source = self.tokenizer.chat_template
        return source if isinstance(source, str) else "\n".join(str(part) for part in source.values())

    @cached_property
    def _clock(self) -> str:
        """A macro that stands in for the clock: each directive becomes its value on `date`."""
        if not self.reads_clock:
            return ""
        day = datetime.datetime.fromisoformat(self.date)
        parts = "".join(f" | replace({each!r}, {day.strftime(each)!r})" for each in _DIRECTIVES)
        return "{%- macro strftime_now(format) -%}{{ format" + parts + " }}{%- endmacro -%}"

    def source(self, tools: Tools = None) -> str:
        """Return what is rendered: the tokenizer's template, its clock stopped at `date`."""
        return self._clock + self.tokenizer.get_chat_template(None, tools)

    def render(self, messages: Sequence[Message], *, tools: Tools = None, generation: bool) -> str:
        """Return the text of `messages`, followed by the assistant's header where `generation` is true.

        Raises:
            TemplateError: The template refuses the messages.
        """
        try:
            text: str = self.tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tools=None if tools is None else [dict(tool) for tool in tools],
                chat_template=self.source(tools),
                add_generation_prompt=generation,
                tokenize=False,
                **self.kwargs,
            )
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            roles = " ".join(str(message["role"]) for message in messages)
            raise TemplateError(
                f"{self.name} cannot render a chat with the roles `{roles}` ({error}): "
                "change the rows, or set another template in the tokenizer."
            ) from error
        return text

    @cached_property
    def tail(self) -> str:
        """What it emits after the text of a last assistant turn."""
        whole = self.render(
            ({"role": "user", "content": "?"}, {"role": "assistant", "content": _PROBE}), generation=False
        )
        before, found, after = whole.rpartition(_PROBE)
        if not found:
            raise TemplateError(
                f"{self.name} does not render an assistant's text (after `{before[:60]}`): set another template."
            )
        return after

    @cached_property
    def end_of_turn(self) -> int | None:
        """Id of the token that ends an assistant turn: the first EOS or special token of `tail`; None if none is."""
        ends = {self.tokenizer.eos_token_id, *self.tokenizer.all_special_ids}
        ends |= {i for i, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        ids: list[int] = self.tokenizer.backend_tokenizer.encode(self.tail, add_special_tokens=False).ids
        return next((i for i in ids if i in ends), None)

    @cached_property
    def end_text(self) -> str:
        """Text of the end-of-turn token; empty if there is none."""
        return "" if self.end_of_turn is None else str(self.tokenizer.backend_tokenizer.id_to_token(self.end_of_turn))


def require_eos(tokenizer: Tokenizer) -> int:
    """Return the id of the end-of-text token.

    Raises:
        ModelError: There is none, so that a model trained on these tokens would never learn to stop.
    """
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"the tokenizer of {tokenizer.name_or_path or 'this model'} has no EOS token, so no response could be seen "
            'to end: set one, as `tokenizer.eos_token = "</s>"`, and save it beside the model.'
        )
    return tokenizer.eos_token_id


def wants_bos(tokenizer: Tokenizer) -> bool:
    """Return whether the tokenizer puts a BOS before a text by itself."""
    ids: list[int] = tokenizer.backend_tokenizer.encode("a").ids
    return tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]
