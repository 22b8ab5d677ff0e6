"""Points in a plane, as a Bokeh figure and as numbers."""

from __future__ import annotations

import math
from typing import Any

from .frame import LONGEST_TITLE, frame, look, mark_level, named, readout, values_on
from .kit import Cell, Dots, Interval, Scatter, Table
from .text import shown

HEIGHT, TALL = 300, 460
"""Of a plot, in pixels."""

LONGEST_ABOUT = 200
"""Characters of what a readout says of a point beside its numbers."""

TABLE_ROWS = 60
"""Points of one kind listed in the table behind a plot."""


def spoken(plot: Scatter) -> str:
    """Return the plot in words, for those who cannot see it."""
    parts = []
    for dots in plot.dots:
        if kept := _kept(dots):
            across, upwards = ([values[i] for i in kept] for values in (dots.x, dots.y))
            right = f"{_told(min(across), plot.share_x)} to {_told(max(across), plot.share_x)}"
            up = f"{_told(min(upwards), plot.share)} to {_told(max(upwards), plot.share)}"
            label = f"{dots.label}: " if dots.label else ""
            parts.append(f"{label}{len(kept):,} points, {plot.x_label} from {right}, {plot.y_label} from {up}")
    return f"{plot.title}. {'; '.join(parts)}."


def behind(plot: Scatter) -> Table:
    """Return the numbers of a plot, of many points some at equal distances in their order."""
    rows: list[list[Cell]] = []
    cut = []
    for dots in plot.dots:
        kept = _kept(dots)
        stride = -(-len(kept) // TABLE_ROWS) or 1
        if stride > 1:
            cut.append(f"of {dots.label or 'the points'} every {stride}th")
        rows += [
            [
                _called(dots, i),
                Interval(dots.x[i], share=plot.share_x),
                Interval(dots.y[i], *_ends(dots, i), share=plot.share),
            ]
            for i in kept[::stride]
        ]
    caption = "; ".join([plot.title, *cut])
    return Table(caption, ["point", plot.x_label, plot.y_label], rows, folded="Numbers behind this plot")


def height(plot: Scatter) -> int:
    """Return how high a plot is drawn, in pixels."""
    return TALL if plot.tall else HEIGHT


def _kept(dots: Dots) -> list[int]:
    return [i for i, (x, y) in enumerate(zip(dots.x, dots.y, strict=True)) if math.isfinite(x) and math.isfinite(y)]


def _called(dots: Dots, i: int) -> str:
    name = dots.names[i] if dots.names else str(i + 1)
    return f"{dots.label}, {name}" if dots.label and name else dots.label or name


def _ends(dots: Dots, i: int) -> tuple[float | None, float | None]:
    if not dots.low or not (math.isfinite(dots.low[i]) and math.isfinite(dots.high[i])):
        return None, None
    return dots.low[i], dots.high[i]


def _told(value: float, share: bool) -> str:
    return shown(Interval(value, share=share))


def figure(plot: Scatter) -> Any:
    """Return the plot as a Bokeh figure."""
    fig = frame(plot.y_label, height=height(plot), **_ranges(plot))
    values_on(fig.xaxis[0], (x for dots in plot.dots for x in dots.x), share=plot.share_x)
    values_on(fig.yaxis[0], (y for dots in plot.dots for y in dots.y), share=plot.share)
    mark_level(fig, plot.level)
    if plot.diagonal:
        _mark_diagonal(fig)
    drawn = [_draw(fig, plot, dots) for dots in plot.dots if _kept(dots)]
    readout(fig, drawn, mode="mouse")
    return fig


def _ranges(plot: Scatter) -> dict[str, tuple[float, float]]:
    """Return the same range for both axes where their values are to be compared: all points, and shares from ½ to 1."""
    if not plot.diagonal:
        return {}
    ends = [value for dots in plot.dots for part in (dots.x, dots.y, dots.low, dots.high) for value in part]
    finite = [value for value in ends if math.isfinite(value)] + ([0.5, 1.0] if plot.share else [])
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    pad = 0.05 * (high - low or 1.0)
    return {"x_range": (low - pad, high + pad), "y_range": (low - pad, high + pad)}


def _mark_diagonal(fig: Any) -> None:
    from bokeh.models import Slope

    fig.add_layout(Slope(gradient=1, y_intercept=0, line_dash=[2, 4], line_width=1.5, tags=["tone:muted"]))


def _draw(fig: Any, plot: Scatter, dots: Dots) -> Any:
    from bokeh.models import ColumnDataSource

    kept = _kept(dots)
    tone, dash, marker = look(dots.look)
    tag = [f"tone:{tone}"]
    x, y = [dots.x[i] for i in kept], [dots.y[i] for i in kept]
    if dots.joined:
        path = fig.line(x, y, line_width=2.5 if dots.bare else 1.5, line_dash=dash)
        path.glyph.tags = tag
    whole = [] if dots.bare else [(dots.x[i], ends) for i in kept if (ends := _ends(dots, i))[0] is not None]
    if whole:
        at, low, high = [a for a, _ in whole], [ends[0] for _, ends in whole], [ends[1] for _, ends in whole]
        bars = fig.segment(at, low, at, high, line_width=1.5)
        bars.glyph.tags = tag
    columns = {"x": x, "y": y, "text": [_text(plot, dots, i) for i in kept]}
    many = len(kept) > 60
    points = fig.scatter(
        "x",
        "y",
        source=ColumnDataSource(columns),
        marker=marker,
        size=0 if dots.bare else 6 if many else 9,
        line_width=1 if many else 1.5,
        fill_alpha=0.25 if many else 1.0,
    )
    points.glyph.tags = tag if many else [*tag, "hollow"]
    return points


def _text(plot: Scatter, dots: Dots, i: int) -> str:
    lines = [
        named(_called(dots, i)),
        f"{named(plot.x_label, LONGEST_TITLE)}: {_told(dots.x[i], plot.share_x)}",
        f"{named(plot.y_label, LONGEST_TITLE)}: {shown(Interval(dots.y[i], *_ends(dots, i), share=plot.share))}",
    ]
    return "\n".join([*lines, *([named(dots.about[i], LONGEST_ABOUT)] if dots.about else [])])
