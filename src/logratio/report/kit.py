"""The page kit: what any page of the program is made of, as plain data. `render` turns a `Page` into HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from .shapes import Bars as Bars
from .shapes import Dots as Dots
from .shapes import Figure as Figure
from .shapes import Heat as Heat
from .shapes import Plot as Plot
from .shapes import Scatter as Scatter
from .shapes import Series as Series

Tone = Literal["good", "bad", "warn", "plain"]
"""Shown by a word and a sign as well as by colour."""


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval.

    Attributes:
        mean: The estimate.
        low: Lower end, or None where no interval is known.
        high: Upper end, or None.
        n: Number of items behind it, or None.
        share: A share in [0, 1], shown as a percentage beside a bar.
        alike: Every item has the mean as its value, so that nothing varies.
    """

    mean: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    share: bool = False
    alike: bool = False

    @property
    def ends(self) -> tuple[float, float] | None:
        """Both ends, or None where the interval is not known."""
        return None if self.low is None or self.high is None else (self.low, self.high)


@dataclass(frozen=True)
class Linked:
    """Text that leads to a row of a table on the same page, by its anchor."""

    text: str
    to: str


Cell = str | float | Interval | Linked | None
"""A table cell; None shows as a dash."""


@dataclass(frozen=True)
class Notice:
    """A sentence that must not be missed."""

    tone: Tone
    text: str


@dataclass(frozen=True)
class Tile:
    """One key number: label, value, its interval, and what it says."""

    label: str
    value: str
    detail: str = ""
    about: str = ""


@dataclass(frozen=True)
class Tiles:
    """Key numbers side by side."""

    tiles: Sequence[Tile]
    kind: str = field(default="tiles", init=False)


@dataclass(frozen=True)
class Facts:
    """Names and values, such as what was run."""

    facts: Sequence[tuple[str, str]]
    kind: str = field(default="facts", init=False)


@dataclass(frozen=True)
class Prose:
    """Paragraphs."""

    paragraphs: Sequence[str]
    kind: str = field(default="prose", init=False)


@dataclass(frozen=True)
class Code:
    """Text as it is in a file, folded away under its title."""

    title: str
    text: str
    kind: str = field(default="code", init=False)


@dataclass(frozen=True)
class Table:
    """Rows under columns.

    Attributes:
        caption: What the table shows.
        columns: Headings.
        rows: One cell a column; the first names the row.
        folded: Title under which the table is hidden; "" shows it.
        anchors: Names of the rows that links lead to, one a row; empty for none.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    folded: str = ""
    anchors: Sequence[str] = ()
    kind: str = field(default="table", init=False)


@dataclass(frozen=True)
class Sample:
    """One text: the step it was sampled at, and whether it ended by itself (None: not known)."""

    step: int
    text: str
    ended: bool | None = None


@dataclass(frozen=True)
class Prompted:
    """A prompt with what was sampled for it, and what people judged.

    Attributes:
        prompt: The prompt.
        samples: What was sampled, in order of steps.
        chosen: The response that people chose; None where the prompt has no judged pair.
        rejected: The other one.
        margins: The pair's margin at the first and at the last evaluation, nats.
        about: Where it stands in the data, and what to see in it.
    """

    prompt: str
    samples: Sequence[Sample] = ()
    chosen: str | None = None
    rejected: str | None = None
    margins: tuple[float, float] | None = None
    about: str = ""

    @property
    def change(self) -> float | None:
        """By how much the margin rose."""
        return None if self.margins is None else self.margins[1] - self.margins[0]


@dataclass(frozen=True)
class Samples:
    """A browser of prompts: samples of two steps beside each other, judged pairs, search and order by margin."""

    prompts: Sequence[Prompted]
    kind: str = field(default="samples", init=False)

    @property
    def steps(self) -> list[int]:
        """The steps at which anything was sampled, ascending."""
        return sorted({sample.step for prompted in self.prompts for sample in prompted.samples})


@dataclass(frozen=True)
class Quoted:
    """A row of the data that shows a finding: where it stands, what to see in it, and its texts by name."""

    origin: str
    why: str
    texts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Found:
    """A finding as a page shows it.

    Attributes:
        name: Its name, for people.
        tone: Its colour and sign.
        word: The level as a word, such as "look" or "pass".
        says: What was found.
        remedy: What to do, "" for nothing.
        figures: Names and numbers.
        plot: What shows it.
        examples: Rows that show it.
        took: How long looking took, "" where it was not timed.
        anchor: Name that a link leads to, unique on its page.
    """

    name: str
    tone: Tone
    word: str
    says: str
    remedy: str = ""
    figures: Sequence[tuple[str, str]] = ()
    plot: Figure | None = None
    examples: Sequence[Quoted] = ()
    took: str = ""
    anchor: str = ""

    @property
    def folds(self) -> bool:
        """Whether there is more to it than its sentence."""
        return bool(self.remedy or self.figures or self.plot or self.examples)

    @property
    def open(self) -> bool:
        """Whether it is shown unfolded: what somebody should look at is."""
        return self.tone in ("bad", "warn")


@dataclass(frozen=True)
class Findings:
    """Findings under each other; those that need no attention are folded.

    Attributes:
        found: The findings.
        folded: Title under which all of them are hidden; "" shows them.
    """

    found: Sequence[Found]
    folded: str = ""
    kind: str = field(default="findings", init=False)


@dataclass(frozen=True)
class Answer:
    """A question that everybody asks, answered in a few words, with what the answer rests on."""

    question: str
    tone: Tone
    answer: str
    because: str


@dataclass(frozen=True)
class Answers:
    """Answers beside each other."""

    answers: Sequence[Answer]
    kind: str = field(default="answers", init=False)


Block = Tiles | Facts | Prose | Code | Table | Figure | Samples | Findings | Answers


def figures_of(page: Page) -> list[Figure]:
    """Return every plot of a page, those inside findings included, in order of appearance."""
    found: list[Figure] = []
    for block in (*page.top, *(block for section in page.sections for block in section.blocks)):
        if isinstance(block, Figure):
            found.append(block)
        elif isinstance(block, Findings):
            found += [item.plot for item in block.found if item.plot is not None]
    return found


@dataclass(frozen=True)
class Section:
    """Blocks under a heading; plots that follow each other share a grid."""

    title: str
    blocks: Sequence[Block]
    lead: str = ""


@dataclass(frozen=True)
class Page:
    """A whole page.

    Attributes:
        title: Heading, also the window's title.
        kicker: What kind of page it is, above the heading.
        headline: The answer in one sentence.
        tone: Tone of the headline.
        support: What the answer rests on, under it.
        notices: Warnings, above everything else.
        top: Blocks of the summary, under the headline.
        sections: The rest, listed in the page's contents.
        footer: Last line.
    """

    title: str
    kicker: str
    headline: str
    tone: Tone
    support: str
    notices: Sequence[Notice]
    top: Sequence[Block]
    sections: Sequence[Section]
    footer: str = ""
