"""The part of the audit that takes seconds, for a look before training."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from ..config import RowsConfig
from ..findings import Finding
from . import contradictions, duplicates, encoding, leakage, length, prompts, responses
from .rows import Source, read_rows
from .similar import forms

MOST = 20_000
"""Rows that are looked at: reading and looking at them takes about two seconds."""


def brief(
    data: Source, *, eval_data: Source | None = None, config: RowsConfig | None = None, most: int = MOST
) -> list[Finding]:
    """Return the cheap findings on the first rows of each part of the data, each timed.

    Left out is what needs every text to be compared with every other (near copies), a classifier, or a model. What
    repeats, contradicts or leaks is counted among these rows alone, so of more rows it is a lower bound.

    Args:
        data: Files, folders, hub names, or an iterable of dicts.
        eval_data: What will be evaluated on.
        config: How rows become records.
        most: Rows that are read of the data, and as many of the evaluation data.

    Raises:
        DataError: A file is absent or of no known format.
        ConfigError: `rows.map` names a field that no format reads.
    """
    begin = time.perf_counter()
    rows = read_rows(data, config, most=most)
    held = None if eval_data is None else read_rows(eval_data, config, most=most)
    form = forms(rows.texts)
    reading = time.perf_counter() - begin
    looks: list[Callable[[], Finding]] = [
        lambda: encoding.unusable(rows),
        lambda: encoding.encoding(rows),
        lambda: duplicates.exact(rows, form),
        lambda: contradictions.contradictions(rows, form),
        lambda: responses.identical_pairs(rows, None),
        lambda: responses.empty(rows),
        lambda: responses.truncated(rows),
        lambda: prompts.dominance(rows, form),
        lambda: length.length(rows, None),
    ]
    if held is not None:
        looks.append(lambda: leakage.leakage(rows, held))
    findings = []
    for look in looks:
        begin = time.perf_counter()
        found = look()
        findings.append(replace(found, seconds=reading + time.perf_counter() - begin))
        reading = 0.0  # the first finding bears it
    if held is not None and held.partial:
        said = f"Of the evaluation data's first {held.count:,} rows alone: {findings[-1].says}"
        findings[-1] = replace(findings[-1], says=said)
    if not rows.partial:
        return findings
    return [replace(found, says=f"Among the first {rows.count:,} rows: {found.says}") for found in findings]
