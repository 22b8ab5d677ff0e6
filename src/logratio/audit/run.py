"""All findings on a data set, each timed."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from typing import Any

from ..config import RowsConfig
from ..errors import MissingExtraError
from ..findings import Finding
from ..models.load import Loaded
from . import (
    annotators,
    contradictions,
    coverage,
    duplicates,
    encoding,
    intransitive,
    language,
    leakage,
    length,
    noise,
    prompts,
    refusals,
    responses,
    shortcuts,
    templates,
    tokens,
)
from .cued import Cued, cued
from .rows import Rows, Source, parts, read_rows
from .similar import Alike, Ids, alike, forms

Step = Callable[["Audited"], Finding]
Say = Callable[[str], None]


@dataclass
class Audited:
    """A data set under audit. What several findings rest on is computed when the first of them asks.

    Attributes:
        data: What was named.
        rows: The data as columns.
        held: Evaluation data as columns; None without it.
        model: The reference; None without one.
        config: How rows became records.
        findings: What was found so far.
        seconds: What reading took.
    """

    data: Source
    rows: Rows
    held: Rows | None = None
    model: Loaded | None = None
    config: RowsConfig = field(default_factory=RowsConfig)
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0

    @cached_property
    def form_T(self) -> Ids:
        """First text that differs from each in case and white space at most, int64 [T]."""
        return forms(self.rows.texts)

    @cached_property
    def alike(self) -> Alike:
        """Which texts are the same or nearly so."""
        return alike(self.rows.texts, self.form_T)

    @cached_property
    def held_alike(self) -> Alike | None:
        """The same of the evaluation data."""
        return None if self.held is None else alike(self.held.texts)

    @cached_property
    def cued(self) -> Cued:
        """Cues of every response."""
        return cued(self.rows)

    def document(self) -> dict[str, Any]:
        """Return what `audit.json` holds."""
        return {
            "data": names(self.data),
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "version": version("logratio"),
            "rows": self.rows.count,
            "seconds": round(self.seconds + sum(found.seconds or 0.0 for found in self.findings), 3),
            "findings": [found.as_json() for found in self.findings],
        }


def audit(
    data: Source,
    *,
    eval_data: Source | None = None,
    model: Loaded | None = None,
    config: RowsConfig | None = None,
    say: Say = lambda what: None,
) -> Audited:
    """Read a data set and look for everything that can be found in it.

    Args:
        data: Files, folders, hub names, or an iterable of dicts; with a model, a generator is held in memory.
        eval_data: What will be evaluated on, to find what of it stands in the data.
        model: The reference, for what it makes of the responses; without it that is left out.
        config: How rows become records.
        say: Told what is looked at next.

    Raises:
        DataError: A file is absent or of no known format, or no row can be used.
        ConfigError: `rows.map` names a field that no format reads.
    """
    config = config or RowsConfig()
    if model is not None and isinstance(data, Iterator):
        data = list(data)  # what is scored is read again
    say("reading")
    begin = time.perf_counter()
    rows = read_rows(data, config)
    held = None if eval_data is None else read_rows(eval_data, config)
    own = Audited(data, rows, held, model, config, seconds=time.perf_counter() - begin)
    for name, step in steps(own):
        say(name.replace("_", " "))
        own.findings.append(timed(name, step, own))
    return own


def steps(own: Audited) -> Iterator[tuple[str, Step]]:
    """Yield the name of each finding that is asked for, and what finds it."""
    yield from _STEPS.items()
    if own.held is not None:
        yield "leakage", _leakage
    if own.model is not None:
        yield from _MODEL_STEPS.items()


def timed(name: str, step: Step, own: Audited) -> Finding:
    """Return a finding with the seconds that it took; a note where an extra that it needs is missing."""
    begin = time.perf_counter()
    try:
        found = step(own)
    except MissingExtraError as error:
        found = Finding(name, "note", f"Not looked at: {error}", "Install the extra and look again.")
    return replace(found, seconds=time.perf_counter() - begin)


def names(data: Source) -> list[str]:
    """Return what the parts of the data are called."""
    named = parts(data)
    return [part.path for part in named] if isinstance(named, tuple) else ["rows in memory"]


def _leakage(own: Audited) -> Finding:
    assert own.held is not None
    try:
        return leakage.leakage(own.rows, own.held, own.alike, own.held_alike)
    except MissingExtraError:
        return leakage.leakage(own.rows, own.held)


def _identical(own: Audited) -> Finding:
    try:
        return responses.identical_pairs(own.rows, own.alike)
    except MissingExtraError:
        return responses.identical_pairs(own.rows, None)


def _tokens(own: Audited) -> Finding:
    assert own.model is not None
    limit = getattr(own.model.model.config, "max_position_embeddings", None)
    return tokens.tokens(own.rows, own.model.tokenizer, limit)


def _coverage(own: Audited) -> Finding:
    assert own.model is not None
    return coverage.coverage(own.data, own.model, own.config)


_STEPS: Mapping[str, Step] = {
    "rows": lambda own: encoding.unusable(own.rows),
    "encoding": lambda own: encoding.encoding(own.rows),
    "exact_duplicates": lambda own: duplicates.exact(own.rows, own.form_T),
    "near_duplicates": lambda own: duplicates.near(own.rows, own.alike),
    "contradictions": lambda own: contradictions.contradictions(own.rows, own.form_T),
    "intransitivity": lambda own: intransitive.intransitivity(own.rows, own.form_T),
    "identical_pairs": _identical,
    "empty_responses": lambda own: responses.empty(own.rows),
    "truncated_responses": lambda own: responses.truncated(own.rows),
    "dominant_prompts": lambda own: prompts.dominance(own.rows, own.form_T),
    "length": lambda own: length.length(own.rows, own.cued),
    "shortcuts": lambda own: shortcuts.shortcuts(own.rows, own.cued),
    "noise": lambda own: noise.noise(own.rows, own.cued),
    "annotators": lambda own: annotators.annotators(own.rows),
    "refusals": lambda own: refusals.refusals(own.rows),
    "language": lambda own: language.language(own.rows),
    "templates": lambda own: templates.templates(own.rows),
}
_MODEL_STEPS: Mapping[str, Step] = {"tokens": _tokens, "coverage": _coverage}
