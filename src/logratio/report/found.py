"""Findings of a check, an audit or a diagnosis → blocks of a page."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..findings import LEVELS, Drawing, Example, Finding, Level, finding
from .kit import Bars, Dots, Figure, Findings, Found, Heat, Plot, Quoted, Scatter, Series, Tone
from .text import number, plain

TONES: Mapping[Level, Tone] = {"fine": "good", "note": "plain", "look": "warn", "stop": "bad"}

PASSING: Mapping[Level, str] = {"fine": "pass", "note": "note", "look": "warn", "stop": "fail"}
"""Words of a preflight check."""

CHARACTERS = 4_000
"""Characters of one text of an example that are shown; further ones are counted."""

FOLDED = 4
"""Findings that are fine from which they are folded under one line."""

EXAMPLES = 12
"""Examples of one finding that are shown; further ones are counted."""


def read_findings(file: Path, problems: list[str]) -> tuple[Finding, ...] | None:
    """Read a list of findings, or an object that holds one as `findings`; None where the file is absent.

    What cannot be read is left out, and `problems` gets a sentence on it.
    """
    if not file.exists():
        return None
    try:
        document = json.loads(file.read_text(encoding="utf-8", errors="replace"))
    except ValueError:
        document = None
    listed = document.get("findings") if isinstance(document, Mapping) else document
    if not isinstance(listed, list):
        problems.append(f"{file.name} is not readable as a list of findings and is left out.")
        return ()
    return _of(listed, file.name, problems)


def findings_of(document: Mapping[str, Any], problems: list[str], where: str) -> tuple[Finding, ...]:
    """Return the findings of a document that holds a list of them; `where` names it in `problems`."""
    listed = document.get("findings")
    return _of(listed if isinstance(listed, list) else [], where, problems)


def _of(listed: Sequence[Any], where: str, problems: list[str]) -> tuple[Finding, ...]:
    found = [own for entry in listed if (own := _one(entry)) is not None]
    if broken := len(listed) - len(found):
        problems.append(f"{where}: {broken} of {len(listed)} findings are not readable and are left out.")
    return tuple(found)


def _one(entry: Any) -> Finding | None:
    try:
        own = finding(entry)
    except (KeyError, TypeError, AttributeError):
        return None
    return own if own.level in LEVELS and isinstance(own.name, str) and isinstance(own.says, str) else None


def worst_first(found: Iterable[Finding]) -> list[Finding]:
    """Return findings by level, those that matter most first, otherwise as they came."""
    return sorted(found, key=lambda own: -LEVELS.index(own.level))


def block(
    found: Iterable[Finding], prefix: str, words: Mapping[Level, str] | None = None, folded: str = ""
) -> Findings:
    """Return findings as a block, those that matter most first.

    Args:
        found: The findings.
        prefix: Of the names that links lead to; one a block of a page.
        words: What each level is called; default its own name.
        folded: Title under which all of them are hidden; "" shows them.
    """
    shown = [_shown(own, f"{prefix}-{i}", words or {}) for i, own in enumerate(worst_first(found))]
    return Findings(shown, folded)


def blocks(found: Sequence[Finding], prefix: str, words: Mapping[Level, str] | None = None) -> list[Findings]:
    """Return what needs a look as one block and, where they are many, what is fine as a folded one behind it."""
    fine = [own for own in found if own.level == "fine" and own.past is None]
    if len(fine) < FOLDED:
        return [block(found, prefix, words)]
    telling = [own for own in found if own not in fine]
    rest = block(fine, f"{prefix}-fine", words, f"{counted(fine, words)}, one by one")
    return [block(telling, prefix, words), rest] if telling else [rest]


def _shown(own: Finding, anchor: str, words: Mapping[Level, str]) -> Found:
    examples = [_quoted(example) for example in own.examples[:EXAMPLES]]
    figures = [(_spaced(name), _figure(value)) for name, value in own.figures.items()]
    if (more := len(own.examples) - EXAMPLES) > 0:
        figures.append(("further examples, not shown", str(more)))
    return Found(
        name=_spaced(own.name),
        tone=TONES[own.level],
        word=words.get(own.level, own.level),
        says=own.says if own.past is None else f"{own.says} {own.past.sentence}",
        remedy=own.remedy,
        figures=figures,
        plot=None if own.drawing is None else drawn(own.drawing),
        examples=examples,
        took=_took(own.seconds),
        anchor=anchor,
    )


def _took(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{number(float(f'{seconds:.2g}'))} s" if seconds >= 0.01 else "under 0.01 s"


def _spaced(name: str) -> str:
    return str(name).replace("_", " ")


def _figure(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "not known" if value is None else plain(value)
    return f"{value:,}" if isinstance(value, int) else number(value)


def _quoted(example: Example) -> Quoted:
    return Quoted(
        plain(example.origin), plain(example.why), [(str(k), cut(plain(v))) for k, v in example.texts.items()]
    )


def cut(text: str, most: int = CHARACTERS, rest: str = "") -> str:
    """Return a text, a long one cut, with how much is left out."""
    beyond = len(text) - most
    return text if beyond <= 0 else f"{text[:most]} … [{beyond:,} more characters{rest}]"


def drawn(drawing: Drawing) -> Figure | None:
    """Return a drawing as a figure; None where its numbers do not belong together."""
    width = len(drawing.x)
    rows = [(str(label), [_number(value) for value in values]) for label, values in drawing.series.items()]
    if not rows or not width or any(len(values) != width for _, values in rows):
        return None
    title, note, x_label, y_label = drawing.title, drawing.note, drawing.x_label, drawing.y_label
    if drawing.kind in ("bars", "heat"):
        names = [x if isinstance(x, str) else _figure(x) for x in drawing.x]
        known = [(label, [None if math.isnan(value) else value for value in values]) for label, values in rows]
        if drawing.kind == "bars":
            return Bars(title, x_label, y_label, names, known, note)
        return Heat(title, x_label, y_label, names, known, note)
    xs = [_number(x) for x in drawing.x]
    if any(math.isnan(x) for x in xs):
        return None
    if drawing.kind == "points":
        dots = [
            Dots(label if len(rows) > 1 else "", xs, values, look=look) for look, (label, values) in enumerate(rows)
        ]
        return Scatter(title, x_label, y_label or rows[0][0], dots, note)
    order = sorted(range(width), key=xs.__getitem__)
    lines = [
        Series(label, [xs[i] for i in order], [values[i] for i in order], smooth=False, look=look)
        for look, (label, values) in enumerate(rows)
    ]
    return Plot(title, y_label, lines, note, x_label=x_label)


def _number(value: Any) -> float:
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else math.nan


def counted(found: Sequence[Finding], words: Mapping[Level, str] | None = None) -> str:
    """Return how many findings have each level, e.g. `12 pass, 1 warn`; the worst level first."""
    words = words or {}
    totals: dict[str, int] = {}
    for level in reversed(LEVELS):
        count = sum(own.level == level for own in found)
        if count:
            word = words.get(level, level)
            totals[word] = totals.get(word, 0) + count
    return ", ".join(f"{count} {word}" for word, count in totals.items())
