"""Validated rows. A record says what a person preferred, before any model or tokenizer is involved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Message = Mapping[str, Any]
"""A chat turn: `role` in `ROLES`, `content` text, and whatever else its template reads (`tool_calls`, …)."""

Text = str | tuple[Message, ...]
"""Plain text, or a list of chat turns."""

Tie = Literal["tie", "both_bad"]

ROLES = ("system", "developer", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a row came from, so that every message about it can say so.

    Attributes:
        file: Path or hub name as the person wrote it.
        row: Row number in that file, counted from 1.
    """

    file: str
    row: int

    def __str__(self) -> str:
        return f"{self.file}, row {self.row}"


@dataclass(frozen=True, slots=True)
class Carried:
    """Optional columns that travel with a row.

    Attributes:
        weight: Relative weight of the row in the loss, ≥ 0.
        margin: Strength of the preference, in the units of the reward; None if unknown.
        probability: Probability in [0, 1] that the chosen response is preferred; None if unknown.
        annotator: Who judged.
        criterion: What was judged.
    """

    weight: float = 1.0
    margin: float | None = None
    probability: float | None = None
    annotator: str | None = None
    criterion: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two responses to one prompt, `chosen` preferred unless `tie` says otherwise.

    `first` says which of them stood first before the judge, where the row records it.
    """

    prompt: Text
    chosen: Text
    rejected: Text
    tie: Tie | None = None
    first: Literal["chosen", "rejected"] | None = None
    tools: tuple[Mapping[str, Any], ...] | None = None
    carried: Carried = field(default_factory=Carried)
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """K ≥ 2 responses to one prompt with a score each; higher is better (ranks arrive negated)."""

    prompt: Text
    responses: tuple[Text, ...]
    scores: tuple[float, ...]
    tools: tuple[Mapping[str, Any], ...] | None = None
    carried: Carried = field(default_factory=Carried)
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """One response, judged good (True) or bad (False) by itself."""

    prompt: Text
    response: Text
    label: bool
    tools: tuple[Mapping[str, Any], ...] | None = None
    carried: Carried = field(default_factory=Carried)
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration:
    """One response to imitate. An empty prompt means plain text."""

    prompt: Text
    response: Text
    tools: tuple[Mapping[str, Any], ...] | None = None
    carried: Carried = field(default_factory=Carried)
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt alone, to sample from."""

    prompt: Text
    tools: tuple[Mapping[str, Any], ...] | None = None
    carried: Carried = field(default_factory=Carried)
    origin: Origin


Record = Pair | Ranked | Labelled | Demonstration | Prompt
