"""Rows that are answered, not learned from: each one's prompt as tokens and as text, and its other fields."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ..batch.group import Columns, Group, Ints
from ..config import DataPart, Overflow, RowsConfig, TemplateConfig, TokensConfig
from ..errors import DataError
from ..files import content_hash
from ..records import Origin, Prompt, Text
from .containers import BadRow, Item
from .formats import sniff
from .formats.base import Format
from .mapping import mapped
from .prepare import template_in_use, tokenize_prompts
from .problems import NoPreference, Unreadable, Unusable
from .read import rows, rows_of
from .schema import PROMPTS, Row
from .source import SAMPLE
from .store import prompt_hash
from .summary import PrepareReport, TemplateUse, percentiles
from .tally import Tally, counted
from .template import Tokenizer, wants_bos

_ALONE = "prompts (prompt)"
_ANSWERS = frozenset(("chosen", "rejected", "completion", "response", "responses", "messages", "conversations"))


@dataclass(frozen=True, slots=True)
class Asking:
    """A prompt as its row has it.

    Attributes:
        prompt: Text or messages.
        row: The row's other fields (answer, tests, …), for whoever judges.
        weight: Relative weight of the row in the loss, ≥ 0.
    """

    prompt: Text
    row: Mapping[str, Any]
    weight: float


class PromptGroups(Sequence[Group]):
    """Prompts as groups without responses."""

    def __init__(self, tokens: Sequence[Ints], origins: Sequence[Origin]) -> None:
        self._tokens, self._origins = tokens, origins

    def __len__(self) -> int:
        return len(self._tokens)

    @overload
    def __getitem__(self, index: int) -> Group: ...
    @overload
    def __getitem__(self, index: slice) -> list[Group]: ...
    def __getitem__(self, index: int | slice) -> Group | list[Group]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        none = np.zeros(0, np.float32)
        return Group(
            row=int(index),
            prompt=self._tokens[index],
            responses=(),
            loss=(),
            edges=np.zeros((0, 2), np.int32),
            columns=Columns(response={"weight": none}, edge={"weight": none}),
        )

    def sizes(self) -> NDArray[np.int64]:
        """Return how many tokens each prompt has, [N]."""
        return np.array([len(own) for own in self._tokens], np.int64)

    def origin(self, index: int) -> Origin:
        """Return file and row of a prompt."""
        return self._origins[index]


@dataclass(frozen=True)
class Prompted:
    """The prompts of a run, as `Prepared` is its responses.

    Attributes:
        groups: One a row, without responses; `groups[i].row` is i.
        prompt_hash: [N] uint64, of each prompt's token ids.
        report: What was read and left out.
        fingerprint: Hash of the tokens, of the other fields, and of the rule applied.
        asking: What each group's row says, by position.
    """

    groups: PromptGroups
    prompt_hash: NDArray[np.uint64]
    report: PrepareReport
    fingerprint: str
    asking: Sequence[Asking]


def prepare_prompts(
    data: Any,
    *,
    tokenizer: Tokenizer,
    tokens: TokensConfig,
    template: TemplateConfig,
    rows: RowsConfig,
    room: int,
    date: str | None = None,
) -> Prompted:
    """Read the prompts of data, and tokenise them as training does; they and the other fields stay in memory.

    Any row serves that has a prompt, or responses that share one: those responses are not read.

    Args:
        data: Parts of a mixture, or an iterable of dicts.
        tokenizer: As in `prepare`.
        tokens: As in `prepare`; of overlong prompts none is truncated at its end.
        template: As in `prepare`.
        rows: As in `prepare`.
        date: As in `prepare`.
        room: Tokens of `tokens.max_length` that a response needs.

    Raises:
        DataError: Rows cannot be read, or none is left, or one is too long and must not be.
        TemplateError: Messages without a template.
    """
    read = _Reading(rows)
    found = list(read.records(data))
    if not found:
        raise DataError(f"no row holds a prompt ({counted(read.count)} read); bring rows with a prompt.")
    chat = template_in_use(tokenizer, template, date)
    records = [record for record, _ in found]
    ids = tokenize_prompts(records, tokenizer=tokenizer, template=template, date=date)
    most = tokens.max_length - room
    long = np.array([len(own) > most for own in ids])
    _refuse_long(records, ids, long, tokens, room)
    cut = tokens.overflow == "left_prompt"
    kept = [i for i, over in enumerate(long) if cut or not over]
    bos = int(wants_bos(tokenizer))
    chosen = [_cut(ids[i], most, bos) for i in kept]
    asking = [found[i][1] for i in kept]
    told = [json.dumps([one.prompt, one.row, one.weight], default=repr, sort_keys=True) for one in asking]
    return Prompted(
        groups=PromptGroups(chosen, [records[i].origin for i in kept]),
        prompt_hash=np.array([prompt_hash(own) for own in chosen], np.uint64),
        report=_report(read, ids, kept=len(kept), most=most, overflow=tokens.overflow, chat=chat),
        fingerprint=content_hash([own.tolist() for own in chosen], told, most, tokens.overflow),
        asking=asking,
    )


def _report(
    read: _Reading, ids: Sequence[Ints], *, kept: int, most: int, overflow: Overflow, chat: TemplateUse | None
) -> PrepareReport:
    """Say what was read and what the length rule left of it; of responses, which there are none, nothing is counted."""
    lengths = np.array([len(own) for own in ids])
    return PrepareReport(
        kind="prompts",
        source=tuple(read.lines()),
        rows=len(ids),
        kept=kept,
        groups=kept,
        exceeding=int((lengths > most).sum()),
        max_length=most,
        overflow=overflow,
        percentiles=percentiles(lengths),
        template=chat,
        rendered={},
        dropped={},
        counts={},
        examples={},
        notes=(),
    )


def _refuse_long(
    records: Sequence[Prompt], ids: Sequence[Ints], long: NDArray[np.bool_], tokens: TokensConfig, room: int
) -> None:
    """Stop where a prompt is too long and must not be, or where all are."""
    if not long.any() or (tokens.overflow != "error" and not long.all()):
        return
    first = int(np.argmax(long))
    which = "all prompts are" if long.all() else f"{records[first].origin}: the prompt is"
    raise DataError(
        f"{which} too long for a response of {room} tokens within tokens.max_length {tokens.max_length} (this one has "
        f"{len(ids[first])}): raise it, lower rollout.max_new_tokens, or choose another tokens.overflow than "
        f"{tokens.overflow}."
    )


def _cut(prompt: Ints, most: int, bos: int) -> Ints:
    """Return the last tokens of a prompt, behind its BOS."""
    if len(prompt) <= most:
        return prompt
    return np.concatenate([prompt[:bos], prompt[len(prompt) - (most - bos) :]])


@dataclass
class _Reading:
    """Rows made prompts, with an account of the others."""

    config: RowsConfig
    count: int = 0
    kept: int = 0
    answered: int = 0
    formats: dict[str, str] = field(default_factory=dict)
    unusable: Tally = field(default_factory=Tally)

    def records(self, data: Any) -> Iterator[tuple[Prompt, Asking]]:
        """Yield each row's prompt.

        Raises:
            DataError: At the end: more rows without one than `max_bad_rows` allows.
        """
        for file, items in groupby(_items(data), key=_file):
            yield from self._of_file(file, items)
        lost = self.unusable.count
        if lost > self.config.max_bad_rows * self.count and not self.config.skip_bad_rows:
            raise DataError(
                f"{self.unusable} hold no prompt that can be read, at first {self.unusable.examples[0][1]}; mend them, "
                "or pass --skip-bad-rows."
            )

    def _of_file(self, file: str, items: Iterator[Item]) -> Iterator[tuple[Prompt, Asking]]:
        sample: list[Row] = []
        read: list[Item] = []
        for item in items:
            read.append(item)
            if not isinstance(item, BadRow):
                sample.append(self._row(item))
            if len(sample) == SAMPLE:
                break
        if not sample:
            named = True
        else:
            named = 2 * sum(any(map(row.has, PROMPTS)) for row in sample) > len(sample)
        entry = None if named else sniff(sample)
        self.formats[file] = _ALONE if entry is None else entry.name
        for item in chain(read, items):
            self.count += 1
            if isinstance(item, BadRow):
                self.unusable.add(item.origin, item.reason)
                continue
            row = self._row(item)
            try:
                found = _prompt(row, entry)
            except (Unreadable, Unusable, NoPreference) as problem:
                self.unusable.add(row.origin, str(problem))
                continue
            self.kept += 1
            self.answered += any(map(row.has, _ANSWERS))
            yield found

    def _row(self, item: Item) -> Row:
        assert not isinstance(item, BadRow)
        return Row(mapped(item[0], self.config.map), item[1])

    def lines(self) -> list[str]:
        """Return what is printed."""
        lines = [f"{file}: {name}" for file, name in self.formats.items()]
        lines.append(f"{self.kept:,} of {counted(self.count)} kept, as prompts")
        if self.answered:
            lines.append(f"  {counted(self.answered)} hold responses too, which are not read: fresh ones are drawn")
        if self.unusable.count:
            lines.append(f"  without a prompt: {self.unusable}")
        return lines


def _items(data: Any) -> Iterable[Item]:
    if isinstance(data, tuple) and all(isinstance(part, DataPart) for part in data):
        return chain.from_iterable([rows(part) for part in data])
    return rows_of(data)


def _file(item: Item) -> str:
    return (item.origin if isinstance(item, BadRow) else item[1]).file


def _prompt(row: Row, entry: Format | None) -> tuple[Prompt, Asking]:
    """Return a row's prompt: its own column, else what its responses have in common."""
    carried = row.carried()
    prompt = row.prompt() if entry is None else entry.build(row).prompt
    if not prompt:
        raise Unusable("empty prompt")
    others = {name: value for name, value in row.values.items() if name not in PROMPTS}
    record = Prompt(prompt=prompt, tools=row.tools(), carried=carried, origin=row.origin)
    return record, Asking(prompt, others, carried.weight)
