"""The page kit: what any page of the program is made of, as plain data. `render` turns a `Page` into HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

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
class Series:
    """One curve of a plot.

    Attributes:
        label: Its name in the legend.
        x: Positions, ascending.
        y: Values; not finite ones leave a gap.
        low: Lower ends of intervals, drawn as bars; empty for none.
        high: Upper ends.
        points: Draw markers rather than a line: measurements, not a log of every step.
        smooth: Draw a long line bold as its moving mean and thin as it is, rather than as it is.
        look: 0, 1, 2, …: the same number gives curve and points of one quantity the same colour and dash or marker.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    points: bool = False
    smooth: bool = True
    look: int = 0


@dataclass(frozen=True)
class Plot:
    """Curves over a common axis, with their numbers in a table behind them.

    Attributes:
        title: What is plotted.
        unit: Unit of the values, "" for none.
        series: The curves.
        note: How to read it, one sentence.
        share: Values are shares in [0, 1], shown as percentages.
        x_label: Name of the common axis.
        level: A value to mark by a horizontal line, e.g. 0.5 for chance.
        ticks: Positions on the common axis that have names, in place of numbers; empty where they are numbers.
    """

    title: str
    unit: str
    series: Sequence[Series]
    note: str = ""
    share: bool = False
    x_label: str = "step"
    level: float | None = None
    ticks: Sequence[tuple[float, str]] = ()
    kind: str = field(default="plot", init=False)


@dataclass(frozen=True)
class Sample:
    """One text: the step it was sampled at, and whether it ended by itself (None: not known)."""

    step: int
    text: str
    ended: bool | None = None


@dataclass(frozen=True)
class Prompted:
    """A prompt and what was sampled for it, in order of steps."""

    prompt: str
    samples: Sequence[Sample]


@dataclass(frozen=True)
class Samples:
    """A browser of samples: two steps beside each other, chosen by the reader."""

    prompts: Sequence[Prompted]
    kind: str = field(default="samples", init=False)

    @property
    def steps(self) -> list[int]:
        """The steps at which anything was sampled, ascending."""
        return sorted({sample.step for prompted in self.prompts for sample in prompted.samples})


Block = Tiles | Facts | Prose | Code | Table | Plot | Samples


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
