"""A data set as columns: every distinct text once, every judgement as numbers that point to texts.

Suffixes: N rows that became records, S responses, E judged pairs, L responses judged by themselves.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import DataPart, RowsConfig
from ..data.source import read_records
from ..data.tally import RowReport
from ..findings import Example
from ..records import Carried, Labelled, Origin, Pair, Prompt, Ranked, Record, Text

Ids = NDArray[np.int32]
Source = str | Path | DataPart | Sequence[str | Path | DataPart] | Iterable[Mapping[str, Any]]

SHOWN = 2_000
"""Characters of a text that an example keeps."""


@dataclass(frozen=True)
class Problem:
    """A row that became no record: where it is, and why."""

    origin: Origin
    reason: str


@dataclass(frozen=True)
class Rows:
    """A data set as columns.

    Attributes:
        texts: Distinct texts. A lone user's or assistant's turn is its content; other chats are "role: content" lines.
        files: Files, as the person wrote them.
        annotators: Names of those who judged.
        criteria: What was judged, where rows say so.
        file_N: Index into `files`, int32 [N].
        row_N: Row in its file, counted from 1, int64 [N].
        prompt_N: Text of the prompt, int32 [N]; an empty text where there is none.
        text_S: Text of each response of each row, int32 [S], rows in order.
        at_S: Row that holds it, index into N, int32 [S].
        row_E: Row in its file, counted from 1, int64 [E].
        file_E: Index into `files`, int32 [E].
        at_E: Row that holds the pair, index into N, int32 [E].
        prompt_E: Text of the prompt, int32 [E].
        winner_E: Text of the preferred response, int32 [E]; of a tie, the first.
        loser_E: Text of the other, int32 [E].
        tie_E: Whether neither was preferred, bool [E].
        annotator_E: Index into `annotators`, −1 unknown, int32 [E].
        criterion_E: Index into `criteria`, −1 unknown, int32 [E].
        weight_E: Weight of the row, float64 [E].
        probability_E: Probability that the winner is preferred, float64 [E]; NaN unknown.
        margin_E: Strength of the preference, float64 [E]; NaN unknown.
        first_E: Text that stood first in the row, int32 [E]; −1 where the format records no position.
        row_L: Row in its file, counted from 1, int64 [L].
        file_L: Index into `files`, int32 [L].
        at_L: Row that holds it, index into N, int32 [L].
        prompt_L: Text of the prompt, int32 [L].
        response_L: Text of the response, int32 [L].
        label_L: Whether it was judged good, bool [L].
        unusable: Reason → rows that became no record.
        problems: Those rows, each with its reason, in order.
        report: Formats of the files, and rows read, kept and unreadable.
        partial: Whether any part of the data has more records than were asked for.
    """

    texts: list[str]
    files: list[str]
    annotators: list[str]
    criteria: list[str]
    file_N: Ids
    row_N: NDArray[np.int64]
    prompt_N: Ids
    text_S: Ids
    at_S: Ids
    row_E: NDArray[np.int64]
    file_E: Ids
    at_E: Ids
    prompt_E: Ids
    winner_E: Ids
    loser_E: Ids
    tie_E: NDArray[np.bool_]
    annotator_E: Ids
    criterion_E: Ids
    weight_E: NDArray[np.float64]
    probability_E: NDArray[np.float64]
    margin_E: NDArray[np.float64]
    first_E: Ids
    row_L: NDArray[np.int64]
    file_L: Ids
    at_L: Ids
    prompt_L: Ids
    response_L: Ids
    label_L: NDArray[np.bool_]
    unusable: Mapping[str, int]
    problems: Sequence[Problem]
    report: RowReport
    partial: bool = False

    @property
    def count(self) -> int:
        """Rows that became records."""
        return len(self.row_N)

    def origin(self, edge: int) -> str:
        """Return where a judged pair comes from, as `pairs.jsonl, row 17`."""
        return self.origin_of(int(self.at_E[edge]))

    def origin_of(self, at: int) -> str:
        """Return where row `at` of N comes from."""
        return str(Origin(self.files[self.file_N[at]], int(self.row_N[at])))

    def example(self, edge: int, why: str) -> Example:
        """Return a judged pair as an example, its texts cut to what a page shows."""
        first, second = ("one", "other") if self.tie_E[edge] else ("chosen", "rejected")
        named = {"prompt": self.prompt_E[edge], first: self.winner_E[edge], second: self.loser_E[edge]}
        return Example(self.origin(edge), why, {name: cut(self.texts[text]) for name, text in named.items()})

    def example_of(self, at: int, why: str, **texts: int) -> Example:
        """Return row `at` of N as an example, with its prompt and the texts that are named."""
        named = {"prompt": int(self.prompt_N[at]), **texts}
        return Example(self.origin_of(at), why, {name: cut(self.texts[text]) for name, text in named.items()})


def cut(text: str, most: int = SHOWN) -> str:
    """Return a text as an example shows it: its beginning, and how much more there is."""
    return text if len(text) <= most else f"{text[:most]} … [{len(text) - most:,} more characters]"


def read_rows(data: Source, config: RowsConfig | None = None, *, most: int | None = None) -> Rows:
    """Read preference data of any format, ties included; rows that become no record are counted, not refused.

    Args:
        data: Files, folders, hub names, or an iterable of dicts.
        config: How rows become records; `skip_bad_rows` is always on here.
        most: Records to read, about equally many of each part of the data; None: all.

    Raises:
        DataError: A file is absent or of no known format, or no row at all can be used.
        ConfigError: `rows.map` names a field that no format reads.
    """
    config = (config or RowsConfig()).model_copy(update={"skip_bad_rows": True})
    problems: list[Problem] = []

    def noted(origin: Origin, reason: str) -> None:
        problems.append(Problem(origin, reason))

    named = parts(data)
    sources = [named] if most is None or not isinstance(named, tuple) else [(part,) for part in named]
    columns, report, partial = _Columns(), RowReport(), False
    for source in sources:
        stream = read_records(source, config, ties=True, dropped=noted)
        records = iter(stream)
        for record in islice(records, None if most is None else -(-most // len(sources))):
            columns.add(record)
        own, known = replace(stream.report, unreadable=replace(stream.report.unreadable)), len(problems)
        if next(records, None) is None:
            own = stream.report
        else:  # what was met on the way to a record that is not kept is not looked at either
            partial = True
            del problems[known:]
        report.formats |= own.formats
        report.read += own.read
        report.kept += own.kept
        report.unreadable.count += own.unreadable.count
    return replace(columns.rows(problems, report), partial=partial)


def parts(data: Source) -> tuple[DataPart, ...] | Iterable[Mapping[str, Any]]:
    """Return what a person names as parts of a recipe's data; an iterable of rows stays itself."""
    if isinstance(data, (str, Path, DataPart)):
        data = [data]
    named: Any = data
    if isinstance(named, Sequence) and named and all(isinstance(part, (str, Path, DataPart)) for part in named):
        found = (part if isinstance(part, DataPart) else DataPart(path=str(part)) for part in named)
        return tuple(part.model_copy(update={"weight": 1.0}) for part in found)  # each row is looked at once
    rows: Iterable[Mapping[str, Any]] = named
    return rows


def rendered(text: Text) -> str:
    """Return text, or a chat as text: a lone user's or assistant's turn its content, else "role: content" lines."""
    if isinstance(text, str):
        return text
    if len(text) == 1 and text[0]["role"] in ("user", "assistant") and set(text[0]) == {"role", "content"}:
        return str(text[0]["content"])
    return "\n".join(_line(turn) for turn in text)


def _line(turn: Mapping[str, Any]) -> str:
    extra = {key: value for key, value in turn.items() if key not in ("role", "content") and value}
    said = f"{turn['role']}: {turn['content']}"
    return f"{said}\n{json.dumps(extra, ensure_ascii=False, sort_keys=True, default=str)}" if extra else said


class _Table(dict[str, int]):
    """Names → numbers in the order of first sight."""

    def __missing__(self, name: str) -> int:
        number = self[name] = len(self)
        return number


class _Columns:
    """Columns as they grow; `array` holds a number in four or eight bytes."""

    def __init__(self) -> None:
        self.texts, self.files, self.annotators, self.criteria = _Table(), _Table(), _Table(), _Table()
        self.whole: dict[str, array[int]] = {name: array("q") for name in _WHOLE}
        self.real: dict[str, array[float]] = {name: array("d") for name in _REAL}

    def add(self, record: Record) -> None:
        """Add a record's row, responses and judgements."""
        prompt = rendered(record.prompt)
        if record.tools:
            prompt += f"\ntools: {json.dumps(record.tools, ensure_ascii=False, sort_keys=True, default=str)}"
        at = len(self.whole["row_N"])
        row = {"row": record.origin.row, "file": self.files[record.origin.file], "prompt": self.texts[prompt]}
        self._put("N", row)
        ids = [self.texts[rendered(response)] for response in responses(record)]
        for text in ids:
            self._put("S", {"text": text, "at": at})
        if isinstance(record, Labelled):
            self._put("L", {**row, "at": at, "response": ids[0], "label": record.label})
        elif isinstance(record, Pair):
            first = -1 if record.first is None else ids[0] if record.first == "chosen" else ids[1]
            self._edge({**row, "at": at}, record.carried, ids[0], ids[1], bool(record.tie), first)
        elif isinstance(record, Ranked):
            for i, j, tied in _comparisons(record.scores):
                gap = record.scores[i] - record.scores[j]
                first = ids[min(i, j)]
                self._edge({**row, "at": at}, record.carried, ids[i], ids[j], tied, first, gap)

    def _put(self, suffix: str, values: Mapping[str, int]) -> None:
        for name, value in values.items():
            self.whole[f"{name}_{suffix}"].append(value)

    def _edge(
        self,
        row: Mapping[str, int],
        carried: Carried,
        winner: int,
        loser: int,
        tie: bool,
        first: int,
        gap: float | None = None,
    ) -> None:
        named = {"annotator": (carried.annotator, self.annotators), "criterion": (carried.criterion, self.criteria)}
        known = {name: -1 if value is None else table[value] for name, (value, table) in named.items()}
        self._put("E", {**row, **known, "winner": winner, "loser": loser, "tie": tie, "first": first})
        margin = gap if carried.margin is None else carried.margin
        for name, value in (("weight", carried.weight), ("probability", carried.probability), ("margin", margin)):
            self.real[f"{name}_E"].append(np.nan if value is None else value)

    def rows(self, problems: Sequence[Problem], report: RowReport) -> Rows:
        """Return the columns as arrays."""
        arrays: dict[str, Any] = {name: np.array(column, _type(name)) for name, column in self.whole.items()}
        arrays |= {name: np.array(column, np.float64) for name, column in self.real.items()}
        return Rows(
            texts=list(self.texts),
            files=list(self.files),
            annotators=list(self.annotators),
            criteria=list(self.criteria),
            unusable=dict(Counter(kind(problem.reason) for problem in problems)),
            problems=problems,
            report=report,
            **arrays,
        )


_WHOLE = (
    *("file_N", "row_N", "prompt_N", "text_S", "at_S"),
    *("row_E", "file_E", "at_E", "prompt_E", "winner_E", "loser_E", "tie_E", "annotator_E", "criterion_E", "first_E"),
    *("row_L", "file_L", "at_L", "prompt_L", "response_L", "label_L"),
)
_REAL = ("weight_E", "probability_E", "margin_E")


def _type(name: str) -> type[np.generic]:
    if name.startswith("row_"):
        return np.int64
    return np.bool_ if name in ("tie_E", "label_L") else np.int32


def responses(record: Record) -> tuple[Text, ...]:
    """Return a record's responses, the preferred one of a pair first."""
    if isinstance(record, Pair):
        return record.chosen, record.rejected
    if isinstance(record, Ranked):
        return record.responses
    return () if isinstance(record, Prompt) else (record.response,)


def _comparisons(scores: Sequence[float]) -> list[tuple[int, int, bool]]:
    """Return (winner, loser, tie) for every two responses; equal scores are a tie."""
    every = range(len(scores))
    pairs = [(i, j) for i in every for j in every[i + 1 :]]
    return [(*((j, i) if scores[j] > scores[i] else (i, j)), scores[i] == scores[j]) for i, j in pairs]


def kind(reason: str) -> str:
    """Return what sort of problem a reason names: it without the values of one row."""
    for sign, name in _KINDS:
        if sign in reason:
            return name
    return reason if len(reason) <= 40 else f"{reason[:37]}..."


_KINDS: tuple[tuple[str, str], ...] = (
    ("not UTF-8", "not UTF-8"),
    ("half of a character", "half of a character"),
    ("malformed", "malformed"),
    ("gzip stream", "broken gzip stream"),
    (" is missing", "a field is missing"),
    (" is null", "a field is null"),
    ("only text can be trained on", "pictures, sound or film"),
    (", must be", "a field of the wrong type or value"),
)
