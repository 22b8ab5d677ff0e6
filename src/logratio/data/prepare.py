"""From data to groups: the one path of training, evaluation and generation. Tokens are cached by content."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..batch.group import Ints
from ..config import DataPart, RowsConfig, TemplateConfig, TokensConfig
from ..errors import DataError
from ..files import content_hash
from ..records import Origin, Prompt, Record, Text
from .adapt import Kind, adapt
from .cache import Cached, cached_rows, source_key, tokenizer_key
from .overflow import fitting
from .prepared import Groups, Members, Prepared, hold_out
from .shape import holds_thought
from .source import read_records
from .summary import PrepareReport, TemplateUse, noun, percentiles
from .template import ChatTemplate, Tokenizer
from .tokenize import Encoder

__all__ = ["Prepared", "hold_out", "prepare", "tokenize_prompts"]

Source = str | Path | DataPart | Sequence[str | Path | DataPart] | Iterable[Mapping[str, Any]]


def prepare(
    data: Source,
    *,
    kind: Kind,
    tokenizer: Tokenizer,
    tokens: TokensConfig,
    template: TemplateConfig,
    rows: RowsConfig,
    date: str | None = None,
    group_by_prompt: bool = False,
    ties: bool = False,
) -> Prepared:
    """Read, check and tokenise data, or take its tokens from the cache; then apply the length rule.

    Args:
        data: Files, folders, hub names, parts of a mixture, or an iterable of dicts. Rows are read more than once, so
            an iterator that can be read once only is held in memory.
        kind: What the objective learns from.
        tokenizer: A transformers tokenizer backed by the tokenizers library.
        tokens: Length, overflow, and which turns carry loss.
        template: Whether the tokenizer's chat template is used, and the values passed to it.
        rows: How rows become records, and how many may be unusable.
        date: ISO date that a template which reads the clock is told; default today (UTC).
        group_by_prompt: Whether rows with the same prompt tokens become one group.
        ties: Whether pairs that people called a tie are kept, marked by the edge column `tie`.

    Raises:
        DataError: The data cannot be read, nothing of it can be used, or rows are too long and must not be.
        TemplateError: Messages without a template, or with one that cannot tell prompt from response.
        ModelError: The tokenizer lacks EOS, or is not backed by the tokenizers library.
    """
    source = _parts(data) or (list(data) if isinstance(data, Iterator) else data)
    chat = chat_template_of(tokenizer, template, date)
    base = Encoder(tokenizer, template=chat, kind=kind, loss_on=tokens.loss_on)  # refuses the tokenizer before reading
    stream = _Adapted(source, rows, kind, ties)
    key = content_hash(
        source_key(source, stream),
        tokenizer_key(tokenizer),
        [kind, ties, tokens.loss_on, rows.model_dump(exclude={"group_by_prompt"})],
        [template.model_dump(), chat.date if chat and chat.reads_clock else None],
    )

    def encoder() -> tuple[Encoder, dict[str, Any]]:
        """Decide on thinking, which takes a look at every row, only where tokens are made."""
        off = bool(chat and chat.thinking_unset) and not any(map(holds_thought, stream))
        kwargs = {**template.kwargs, **({"enable_thinking": False} if off else {})}
        own = ChatTemplate(tokenizer, kwargs, chat.date) if chat else None
        made = Encoder(tokenizer, template=own, kind=kind, loss_on=tokens.loss_on, skip_bad_rows=rows.skip_bad_rows)
        return made, {"kwargs": kwargs, "thinking_off": off}

    cached = cached_rows(key, stream, encoder)
    _refuse_unusable(cached, rows, kind)
    return _prepared(cached, chat, kind=kind, tokens=tokens, bos=base.bos is not None, grouped=group_by_prompt)


def tokenize_prompts(
    prompts: Iterable[Text | Prompt],
    *,
    tokenizer: Tokenizer,
    template: TemplateConfig,
    date: str | None = None,
) -> list[Ints]:
    """Return the token ids [P] of prompts alone, exactly those that training puts before a response.

    Args:
        prompts: Texts, message lists or prompt records.
        tokenizer: As in `prepare`.
        template: As in `prepare`; pass the values that training used (`report.template.kwargs`).
        date: As in `prepare`.

    Raises:
        TemplateError: Messages without a template, or refused by it.
        ModelError: As in `prepare`.
    """
    chat = chat_template_of(tokenizer, template, date)
    records = [
        prompt if isinstance(prompt, Prompt) else Prompt(prompt=prompt, origin=Origin("prompts", number))
        for number, prompt in enumerate(prompts, 1)
    ]
    return Encoder(tokenizer, template=chat, kind="demonstrations").prompts(records)


def chat_template_of(tokenizer: Tokenizer, template: TemplateConfig, date: str | None = None) -> ChatTemplate | None:
    """Return the chat template that `prepare` uses, None where text is plain; arguments as there."""
    if template.use == "none" or not tokenizer.chat_template:
        return None
    return ChatTemplate(tokenizer, template.kwargs, date or datetime.datetime.now(datetime.UTC).date().isoformat())


class _Adapted:
    """Records of one kind, read anew at every pass; `lines` are the reader's, of the last whole pass."""

    def __init__(self, data: Any, rows: RowsConfig, kind: Kind, ties: bool) -> None:
        self._data, self._rows, self._kind, self._ties = data, rows, kind, ties
        self.lines: list[str] = []

    def __iter__(self) -> Iterator[Record]:
        both_bad = self._kind == "labels"  # two bad responses
        stream = read_records(self._data, self._rows, ties=self._ties, both_bad=both_bad)
        for record in stream:
            yield from adapt(record, self._kind, ties=self._ties)
        self.lines = stream.report.lines()


def _parts(data: Any) -> tuple[DataPart, ...]:
    """Return the files or names that `data` lists; empty if it is an iterable of rows."""
    items = [data] if isinstance(data, (str, Path, DataPart)) else data
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, (str, Path, DataPart)) for item in items):
        return ()
    return tuple(item if isinstance(item, DataPart) else DataPart(path=str(item)) for item in items)


def _refuse_unusable(cached: Cached, rows: RowsConfig, kind: Kind) -> None:
    """Stop where too many rows yield nothing to learn from, or all of them."""
    lost = Counter(cached.tally.dropped)
    reasons = ", ".join(f"{reason} ({count:,})" for reason, count in lost.items())
    if not len(cached.store):
        raise DataError(
            f"no {noun(kind)} are left to learn from{f': {reasons}' if reasons else ''}; mend them or bring others."
        )
    share = lost.total() / (lost.total() + len(cached.store))
    if share > rows.max_bad_rows and not rows.skip_bad_rows:
        raise DataError(
            f"{lost.total():,} {noun(kind)} ({share:.1%}) hold nothing to learn from once they are tokens: {reasons}; "
            f"rows.max_bad_rows allows {rows.max_bad_rows:.1%}: mend them, or pass --skip-bad-rows."
        )


def _prepared(
    cached: Cached, chat: ChatTemplate | None, *, kind: Kind, tokens: TokensConfig, bos: bool, grouped: bool
) -> Prepared:
    store, lengths = cached.store, cached.store.lengths
    total = lengths.total
    long = total > tokens.max_length
    if tokens.overflow == "error" and long.any():
        first = int(np.argmax(long))
        raise DataError(
            f"{store.origin(first)}: prompt and response have {int(total[first]):,} tokens, tokens.max_length is "
            f"{tokens.max_length:,} ({int(long.sum()):,} such rows, the longest {int(total.max()):,}): raise it as "
            "far as the model's positions go, or choose tokens.overflow = drop, left_prompt or truncate."
        )
    kept = np.flatnonzero(fitting(lengths, tokens, bos=bos))
    if not len(kept):
        raise DataError(
            f"all {len(store):,} {noun(kind)} exceed tokens.max_length = {tokens.max_length:,} (the shortest has "
            f"{int(total.min()):,} tokens): raise it as far as the model's positions go, or choose another "
            f"tokens.overflow than {tokens.overflow}."
        )
    members = Members.of(kept, store.prompt_hash[kept]) if grouped else Members.single(kept)
    report = PrepareReport(
        kind=kind,
        source=tuple(cached.source),
        rows=len(store),
        kept=len(kept),
        groups=len(members),
        exceeding=int(long.sum()),
        max_length=tokens.max_length,
        overflow=tokens.overflow,
        percentiles=percentiles(total),
        template=_used(chat, cached),
        rendered=dict(cached.tally.rendered),
        dropped=dict(cached.tally.dropped),
        counts=dict(cached.tally.counts),
        examples=dict(cached.tally.examples),
        notes=tuple(cached.notes),
    )
    rule = tokens.model_dump(include={"max_length", "overflow"})
    return Prepared(
        groups=Groups(store, members, tokens, bos=bos),
        prompt_hash=store.prompt_hash[members.rows[members.begin]],
        report=report,
        fingerprint=content_hash(store.content, rule, grouped),
    )


def template_in_use(tokenizer: Tokenizer, template: TemplateConfig, date: str | None) -> TemplateUse | None:
    """Return the chat template that prompts alone are rendered with, with its own defaults; None for plain text."""
    chat = chat_template_of(tokenizer, template, date)
    if chat is None:
        return None
    return TemplateUse(
        name=chat.name,
        hash=chat.hash,
        kwargs=dict(template.kwargs),
        thinking_off=False,
        date=chat.date if chat.reads_clock else None,
        end_of_turn=chat.end_text,
    )


def _used(chat: ChatTemplate | None, cached: Cached) -> TemplateUse | None:
    if chat is None:
        return None
    return TemplateUse(
        name=chat.name,
        hash=chat.hash,
        kwargs=cached.choices["kwargs"],
        thinking_off=cached.choices["thinking_off"],
        date=chat.date if chat.reads_clock else None,
        end_of_turn=chat.end_text,
    )
