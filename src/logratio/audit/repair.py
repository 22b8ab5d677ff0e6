"""A cleaned copy of a data set: rows as they stood, some left out, some mended, and a log that says why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..config import DataPart
from ..data.containers import BadRow
from ..data.read import rows as raw_rows
from ..data.tally import counted
from ..errors import DataError
from ..files import atomic_path
from . import contradictions, duplicates
from .encoding import repaired
from .leakage import tainted
from .rows import Rows, Source, parts
from .similar import Alike

Place = tuple[str, int]
"""File and row, counted from 1."""


@dataclass(frozen=True)
class Repair:
    """What a repair did.

    Attributes:
        kept: Rows written.
        dropped: Reason → rows left out.
        changed: What was mended → rows.
        log: File with a line for each of these rows.
    """

    kept: int
    dropped: Mapping[str, int]
    changed: Mapping[str, int]
    log: Path

    def lines(self) -> list[str]:
        """Return what a person should know."""
        lines = [f"{counted(self.kept)} written; what was done to the others is in {self.log}"]
        lines += [f"  left out: {counted(count)} ({reason})" for reason, count in self.dropped.items()]
        return lines + [f"  mended: {counted(count)} ({what})" for what, count in self.changed.items()]


def repair(
    data: Source,
    out: Path,
    rows: Rows,
    alike: Alike,
    held: Rows | None = None,
    held_alike: Alike | None = None,
) -> Repair:
    """Write the rows that are worth keeping to `out`, and a line for each change to `out` with `.log.jsonl` added.

    Left out are rows that cannot be used, that repeat an earlier row exactly or nearly, whose judgement others
    contradict, and, beside evaluation data, whose prompt stands there. Mended are mojibake and control characters.

    Args:
        data: Files or folders, as `rows` was read from.
        out: A new `.jsonl` file.
        rows: The same data, as columns.
        alike: Which of its texts are alike.
        held: Evaluation data.
        held_alike: Which of its texts are alike.

    Raises:
        DataError: The data is no file, or its files are of several formats, which one file cannot hold.
    """
    named = parts(data)
    if not isinstance(named, tuple):
        raise DataError("the rows are in memory, and what is repaired is a copy of files; write them to one first.")
    formats = sorted(set(rows.report.formats.values()))
    if len(formats) > 1:
        raise DataError(
            f"the data is of {len(formats)} formats ({'; '.join(formats)}), and one file must be of one; repair the "
            "files one by one."
        )
    if out.suffix != ".jsonl":
        raise DataError(f'--fix {out} ends in "{out.suffix}", and rows are written one a line; end the name in .jsonl.')
    why = reasons(rows, alike, held, held_alike)
    log = out.with_name(f"{out.name}.log.jsonl")
    kept, dropped, changed = 0, Counter[str](), Counter[str]()
    with atomic_path(out) as rows_path, atomic_path(log) as log_path:
        with open(rows_path, "w", encoding="utf-8") as rows_file, open(log_path, "w", encoding="utf-8") as log_file:
            for entry, values in _decided(named, why):
                if values is not None:
                    kept += 1
                    rows_file.write(_line(values))
                if entry is not None:
                    log_file.write(_line(entry))
                    (changed if values is not None else dropped)[entry["why"].split(":")[0]] += 1
    return Repair(kept, dropped, changed, log)


def reasons(
    rows: Rows, alike: Alike, held: Rows | None = None, held_alike: Alike | None = None
) -> dict[Place, tuple[str, str]]:
    """Return why rows are left out: (reason, what it rests on) by file and row, the first reason that holds."""
    found: dict[Place, tuple[str, str]] = {}

    def drop(at: int, reason: str, because: str) -> None:
        found.setdefault((rows.files[rows.file_N[at]], int(rows.row_N[at])), (reason, because))

    for problem in rows.problems:
        found.setdefault((problem.origin.file, problem.origin.row), ("cannot be used", problem.reason))
    if held is not None:
        prompt = tainted(rows, held, alike, held_alike)
        for at in np.flatnonzero(prompt >= 0):
            holder = int((held.prompt_N == prompt[at]).argmax())
            drop(int(at), "prompt stands in the evaluation data", held.origin_of(holder))
    edges_N = np.bincount(rows.at_E, minlength=rows.count)
    for edge in np.flatnonzero(contradictions.minority(rows, alike.form_T)):
        if edges_N[rows.at_E[edge]] == 1:  # or leaving the row out would lose its other judgements
            drop(int(rows.at_E[edge]), "contradicted", "as many or more judgements prefer the other response")
    for single in np.flatnonzero(contradictions.both_labels(rows, alike.form_T)):
        drop(int(rows.at_L[single]), "contradicted", "the same response is labelled both good and bad")
    for reason, name_T in (("repeats a row", alike.form_T), ("nearly repeats a row", alike.leader_T)):
        _drop_copies(rows, duplicates.row_keys(rows, name_T), found, drop, reason)
    return found


def _drop_copies(
    rows: Rows,
    key: Any,
    found: Mapping[Place, Any],
    drop: Callable[[int, str, str], None],
    reason: str,
) -> None:
    """Drop all but the first of the rows that are still kept and share a key."""
    first: dict[int, int] = {}
    for at, value in enumerate(key.tolist()):
        if (rows.files[rows.file_N[at]], int(rows.row_N[at])) not in found:
            if value in first:
                drop(at, reason, rows.origin_of(first[value]))
            else:
                first[value] = at


def _decided(
    named: tuple[DataPart, ...], why: Mapping[Place, tuple[str, str]]
) -> Iterator[tuple[dict[str, Any] | None, Mapping[str, Any] | None]]:
    """Yield (line of the log, None where nothing was done; the row, None where it is left out) for each row."""
    for part in named:
        for item in raw_rows(part):
            origin = item.origin if isinstance(item, BadRow) else item[1]
            place = {"file": origin.file, "row": origin.row}
            if isinstance(item, BadRow):
                yield {**place, "action": "dropped", "why": "cannot be used", "because": item.reason}, None
            elif (origin.file, origin.row) in why:
                reason, because = why[origin.file, origin.row]
                yield {**place, "action": "dropped", "why": reason, "because": because}, None
            else:
                values, done = mended(item[0])
                fields = [name for name, value in item[0].items() if values[name] != value]
                entry = {**place, "action": "changed", "why": "; ".join(done), "fields": fields}
                yield (entry if done else None), values


def mended(value: Any) -> tuple[Any, list[str]]:
    """Return a value with every text in it repaired, and what was done."""
    if isinstance(value, str):
        return repaired(value)
    if isinstance(value, Mapping):
        pairs = {key: mended(item) for key, item in value.items()}
        return {key: item for key, (item, _) in pairs.items()}, _all(done for _, done in pairs.values())
    if isinstance(value, (list, tuple)):
        items = [mended(item) for item in value]
        return [item for item, _ in items], _all(done for _, done in items)
    return value, []


def _all(done: Iterator[list[str]]) -> list[str]:
    return list(dict.fromkeys(what for each in done for what in each))


def _line(values: Any) -> str:
    return json.dumps(values, ensure_ascii=False, default=str) + "\n"
