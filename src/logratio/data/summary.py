"""What preparing data met and decided, in numbers and in lines for a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import Overflow

_SHOWN = 100
_NOUNS = {"demonstrations": "demonstrations", "pairs": "pairs", "labels": "labelled responses", "rankings": "rankings"}
_NOUNS |= {"prompts": "prompts"}


@dataclass(frozen=True)
class TemplateUse:
    """The chat template in use.

    Attributes:
        name: Where it came from, and the beginning of its hash.
        hash: Hash of its source.
        kwargs: Values passed to it.
        thinking_off: Whether `enable_thinking` was set false here, because no response holds a think block.
        date: ISO date told to a template that reads the clock; None if it does not.
        end_of_turn: Text of its end-of-turn token; empty if it has none.
    """

    name: str
    hash: str
    kwargs: Mapping[str, Any]
    thinking_off: bool
    date: str | None
    end_of_turn: str

    def lines(self) -> list[str]:
        """Return what was chosen, a line each."""
        values = ", ".join(f"{name}={value!r}" for name, value in self.kwargs.items())
        end = f"a turn ends with {self.end_of_turn}" if self.end_of_turn else "no end-of-turn token, so EOS is added"
        lines = [f"template: {self.name}; {end}" + (f"; {values}" if values else "")]
        if self.thinking_off:
            lines.append("template: enable_thinking set to False, since no response holds a think block")
        if self.date:
            lines.append(f"template: it reads the clock, and is told {self.date}")
        return lines


@dataclass(frozen=True)
class PrepareReport:
    """Counts and choices of one data set.

    Attributes:
        kind: What the objective learns from.
        source: Lines of the reader: format, rows kept and dropped.
        rows: Tokenised rows, before the length rule.
        kept: Rows that the length rule keeps.
        groups: Groups made of them (fewer where rows that share a prompt are merged).
        exceeding: Rows longer than `max_length`.
        max_length: Tokens of a prompt and one response together.
        overflow: What happens to a longer one.
        percentiles: "p50", "p90", "p99" and "max" of prompt plus longest response, in tokens, before the rule.
        template: The chat template; None for plain text.
        rendered: How rows became text → rows.
        dropped: Reason → rows that could not be tokenised to anything that can be learned from.
        counts: "merged", "swallowed" and "early" → cases.
        examples: The first few cases of some counts.
        notes: Remarks on the cache.
    """

    kind: str
    source: tuple[str, ...]
    rows: int
    kept: int
    groups: int
    exceeding: int
    max_length: int
    overflow: Overflow
    percentiles: Mapping[str, int]
    template: TemplateUse | None
    rendered: Mapping[str, int]
    dropped: Mapping[str, int]
    counts: Mapping[str, int]
    examples: Mapping[str, list[str]]
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return what a person should know before the first step."""
        lines = [*self.source, *self.notes]
        lines += self.template.lines() if self.template else ["template: none; prompts and responses are plain text"]
        if any(self.rendered.values()):
            lines.append("rows as text: " + ", ".join(f"{rows:,} {how}" for how, rows in self.rendered.items() if rows))
        lines += [f"dropped {rows:,} {noun(self.kind)}: {reason}" for reason, rows in self.dropped.items()]
        lines += [f"  {_short(text)}" for text in self.examples.get("unrendered", [])]
        lines.append(self.length_line())
        if self.groups != self.kept:
            lines.append(f"{self.kept:,} {noun(self.kind)} grouped by prompt: {self.groups:,} groups")
        if merged := self.counts.get("merged"):
            lines.append(
                f"{merged:,} responses merge with their prompt when tokenised together, so they were tokenised alone"
            )
        if early := self.counts.get("early"):
            lines.append(f"{early:,} {noun(self.kind)} part before their last turn")
        if swallowed := self.counts.get("swallowed"):
            lines.append(f"{swallowed:,} {noun(self.kind)} hold response text that the template leaves out, as:")
            lines += [f"  {_short(text)}" for text in self.examples["swallowed"]]
        return lines

    def length_line(self) -> str:
        """Return what the length rule did."""
        p = self.percentiles
        spread = ", ".join(f"{name}={tokens:,}" for name, tokens in p.items())
        if not self.exceeding:
            return f"{self.kept:,} {noun(self.kind)}, none exceeds {self.max_length:,} tokens; {spread}"
        what = {"left_prompt": "prompts cut from the left", "truncate": "responses truncated"}.get(
            self.overflow, "dropped"
        )
        return (
            f"{self.exceeding:,}/{self.rows:,} {noun(self.kind)} exceed {self.max_length:,} tokens ({what}); "
            f"kept {self.kept:,}; {spread}"
        )


def percentiles(lengths: NDArray[np.integer[Any]]) -> dict[str, int]:
    """Return the 50th, 90th and 99th percentile and the largest of some lengths; each is one of them."""
    found = np.percentile(lengths, [50, 90, 99, 100], method="higher")
    return dict(zip(("p50", "p90", "p99", "max"), map(int, found), strict=True))


def noun(kind: str) -> str:
    """Return what rows of a kind are called."""
    return _NOUNS.get(kind, "rows")


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
