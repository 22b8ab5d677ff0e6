"""What a check, an audit or a diagnosis found: one sentence each, with figures, what to do, and what shows it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Level = Literal["fine", "note", "look", "stop"]
"""How far it matters: nothing to do; seen and harmless so far; somebody should look; going on is wrong."""

LEVELS: tuple[Level, ...] = ("fine", "note", "look", "stop")

Figure = float | int | str | None
"""A number in the unit that its name says, or a word; None where it is not known."""


@dataclass(frozen=True)
class Drawing:
    """A plot as plain data; the page kit draws it.

    Attributes:
        kind: lines and points have numbers on x; bars have names on x; heat has names on x and a row a series.
        title: What is shown.
        x_label: Name of x, with its unit.
        y_label: Name of the values, with their unit; "" where a heat map's title says it.
        x: Positions or names, as many as each series has values.
        series: Name → values; None leaves a gap.
        note: How to read it, one sentence.
    """

    kind: Literal["lines", "points", "bars", "heat"]
    title: str
    x_label: str
    y_label: str
    x: Sequence[float] | Sequence[str]
    series: Mapping[str, Sequence[float | None]]
    note: str = ""


@dataclass(frozen=True)
class Example:
    """A row that shows a finding.

    Attributes:
        origin: File and row, or step and prompt.
        why: What is to be seen in it, one sentence.
        texts: Name → text, as it stands in the data; whoever shows it escapes it.
    """

    origin: str
    why: str
    texts: Mapping[str, str]


@dataclass(frozen=True)
class Past:
    """What a finding was before, where it was graver then.

    Attributes:
        level: The gravest level it had.
        step: When it had it first.
        says: What it said then.
    """

    level: Level
    step: int
    says: str

    @property
    def sentence(self) -> str:
        """Return it as a sentence for people."""
        return f"At step {self.step} of the run this was {self.level}: {self.says}"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, and what was found.

    Attributes:
        name: Stable name, such as `near_duplicates`.
        level: How far it matters.
        says: What was found, one sentence with its figures.
        remedy: What to do; "" where nothing is to be done.
        figures: Name → figure; a name ends in its unit where it has one.
        drawing: What shows it.
        examples: Rows that show it, the clearest first.
        seconds: What looking took; None where it was not timed.
        past: What it was earlier in the run; None where it was never graver than now.
    """

    name: str
    level: Level
    says: str
    remedy: str = ""
    figures: Mapping[str, Figure] = field(default_factory=dict)
    drawing: Drawing | None = None
    examples: Sequence[Example] = ()
    seconds: float | None = None
    past: Past | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data, numbers that are not finite as None."""
        plain: dict[str, Any] = _finite(asdict(self))
        return plain


def finding(document: Mapping[str, Any]) -> Finding:
    """Return the finding that `as_json` wrote.

    Raises:
        KeyError: A field is missing.
    """
    drawing, past = document["drawing"], document.get("past")
    return Finding(
        name=document["name"],
        level=document["level"],
        says=document["says"],
        remedy=document["remedy"],
        figures=document["figures"],
        drawing=None if drawing is None else Drawing(**drawing),
        examples=tuple(Example(**example) for example in document["examples"]),
        seconds=document["seconds"],
        past=None if past is None else Past(**past),
    )


def worst(findings: Sequence[Finding]) -> Level:
    """Return the highest level among findings; fine for none."""
    return max((found.level for found in findings), key=LEVELS.index, default="fine")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
