"""Plots as plain data: curves over an axis, points in a plane, bars, and a grid of values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


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
        band: Fill what lies between the ends, and draw the values as a line inside it.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    points: bool = False
    smooth: bool = True
    look: int = 0
    band: bool = False


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
class Dots:
    """Points of one kind in a plane.

    Attributes:
        label: Their name in the legend.
        x: Positions to the right, in any order.
        y: Positions upwards; a point with one that is not finite is left out.
        names: What each point is, shown beside its numbers; empty for none.
        low: Lower ends of vertical intervals; empty for none.
        high: Upper ends.
        joined: Join them by a line in the order given, a path.
        look: As in `Series`.
        about: A further line of each point's readout; empty for none.
        bare: Draw the path alone, without its points: a curve that was computed, among points that were measured.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    names: Sequence[str] = ()
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    joined: bool = False
    look: int = 0
    about: Sequence[str] = ()
    bare: bool = False


@dataclass(frozen=True)
class Scatter:
    """Points in a plane, with their numbers in a table behind them.

    Attributes:
        title: What is plotted.
        x_label: Name of the axis to the right, with its unit.
        y_label: Name of the axis upwards, with its unit.
        dots: The points.
        note: How to read it, one sentence.
        share: Values upwards are shares in [0, 1].
        share_x: Values to the right are too.
        level: A value to mark by a horizontal line.
        diagonal: Mark where both values are the same.
        tall: Draw it higher than others: the one plot of a page.
    """

    title: str
    x_label: str
    y_label: str
    dots: Sequence[Dots]
    note: str = ""
    share: bool = False
    share_x: bool = False
    level: float | None = None
    diagonal: bool = False
    tall: bool = False
    kind: str = field(default="scatter", init=False)


@dataclass(frozen=True)
class Bars:
    """Bars at names, one a series beside each other.

    Attributes:
        title: What is plotted.
        x_label: What the names are.
        y_label: Name of the values, with their unit.
        names: N names.
        series: (label, N values); None for no bar.
        note: How to read it, one sentence.
    """

    title: str
    x_label: str
    y_label: str
    names: Sequence[str]
    series: Sequence[tuple[str, Sequence[float | None]]]
    note: str = ""
    kind: str = field(default="bars", init=False)


@dataclass(frozen=True)
class Heat:
    """A grid of values, each a square whose area and colour say how large it is; hollow where it is negative.

    Attributes:
        title: What is shown.
        x_label: What the columns are.
        y_label: What the values are, with their unit.
        columns: C names.
        rows: (name, C values), from top to bottom; None for no value.
        note: How to read it, one sentence.
    """

    title: str
    x_label: str
    y_label: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[float | None]]]
    note: str = ""
    kind: str = field(default="heat", init=False)


Figure = Plot | Scatter | Bars | Heat
"""What is drawn; each has a table of its numbers behind it."""
