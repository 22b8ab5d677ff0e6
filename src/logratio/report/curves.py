"""Curves over an axis, as Bokeh figures and as numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from .decimate import min_max, moving_mean
from .frame import frame, look, mark_level, named, names_on, readout, values_on
from .kit import Cell, Interval, Plot, Series, Table
from .text import number, shown

BUCKETS = 240
"""Intervals of x that a curve is thinned to, about one for two pixels of a plot's width."""

SMOOTHED_FROM = 40
"""Logged steps from which a moving mean is drawn over the thin raw curve."""

SPAN = 25
"""The moving mean covers one part in so many of a curve."""

DODGE = 0.018
"""Share of the axis by which curves stand beside each other at a position with a name, where they would hide others."""

TABLE_ROWS = 40
"""Logged steps listed in the table behind a plot."""


def window(series: Series) -> int:
    """Return the width of a curve's moving mean in logged steps, or 0 where it has none."""
    long = len(series.x) >= SMOOTHED_FROM
    return max(2, len(series.x) // SPAN) if series.smooth and long and not series.points else 0


def reading(plots: Sequence[Plot]) -> str:
    """Return how the marks of these plots are to be read, thinning included: one sentence for each that occurs."""
    every = [series for plot in plots for series in plot.series]
    said = []
    if any(window(series) for series in every):
        said.append(f"Bold lines: mean over the last 1/{SPAN} of the logged steps; thin lines: every logged step.")
    if any(len(series.x) > 2 * BUCKETS for series in every if not series.points):
        said.append(f"Of long curves, the least and greatest value in each of {BUCKETS} intervals are drawn.")
    if any(series.low for series in every if series.points):
        said.append("Markers with bars: evaluations with 95\u202f% intervals.")
    elif any(series.points for plot in plots if plot.x_label == "step" for series in plot.series):
        said.append("Markers: held-out evaluations.")
    return " ".join(said)


def spoken(plot: Plot) -> str:
    """Return the plot in words, for those who cannot see it."""
    parts = []
    for series in plot.series:
        finite = [y for y in series.y if math.isfinite(y)]
        if finite:
            marks = (finite[0], finite[-1], min(finite), max(finite))
            first, last, least, greatest = (shown(Interval(y, share=plot.share)) for y in marks)
            parts.append(f"{series.label}: from {first} to {last}, least {least}, greatest {greatest}")
    return f"{plot.title} by {plot.x_label}. {'; '.join(parts)}."


def behind(plot: Plot) -> Table:
    """Return the numbers of a plot: every measurement, and logged steps at equal distances."""
    logged = sorted({x for series in plot.series if not _measured(series) for x in series.x})
    stride = -(-len(logged) // TABLE_ROWS) or 1
    listed = {x for series in plot.series if _measured(series) for x in series.x}
    listed.update(logged[::stride], logged[-1:])
    values = [_by_position(series, plot.share, listed) for series in plot.series]
    rows = [[_position(plot, x), *(column.get(x) for column in values)] for x in sorted(listed)]
    every = f"; of the logged steps every {stride}th (metrics.jsonl has all)" if stride > 1 else ""
    return Table(
        caption=f"{plot.title}{every}",
        columns=[plot.x_label, *(series.label for series in plot.series)],
        rows=rows,
        folded="Numbers behind this plot",
    )


def _measured(series: Series) -> bool:
    """Whether these are measurements, each of which is listed, and not a log of every step."""
    return series.points or series.band


def _position(plot: Plot, x: float) -> str:
    """Return a position on the common axis as text: its name, if it has one, else its number."""
    name = dict(plot.ticks).get(x)
    return name or (f"{int(x)}" if float(x).is_integer() else number(x))


def _by_position(series: Series, share: bool, wanted: Iterable[float]) -> dict[float, Cell]:
    places = {x: i for i, x in enumerate(series.x)}
    found: dict[float, Cell] = {}
    for x in wanted:
        if (i := places.get(x)) is not None:
            ends = (_known(series.low[i]), _known(series.high[i])) if series.low else (None, None)
            found[x] = Interval(series.y[i], *ends, share=share)
    return found


def _known(end: float) -> float | None:
    return end if math.isfinite(end) else None


def figures(plots: Sequence[Plot]) -> list[Any]:
    """Return one Bokeh figure a plot; plots over the same axis share its range, so that a zoom moves all of them."""
    from bokeh.models import Range1d

    together: dict[Any, list[Plot]] = {}
    for plot in plots:
        together.setdefault((plot.x_label, tuple(plot.ticks)), []).append(plot)
    ranges = {}
    for axis, own in together.items():
        ends = [end for plot in own for series in plot.series if len(series.x) for end in (series.x[0], series.x[-1])]
        low, high = min(ends, default=0), max(ends, default=1)
        pad = (0.08 if own[0].ticks else 0.02) * (high - low or 1)
        ranges[axis] = Range1d(low - pad, high + pad, bounds=(low - pad, high + pad))
    return [_figure(plot, ranges[plot.x_label, tuple(plot.ticks)]) for plot in plots]


def _figure(plot: Plot, x_range: Any) -> Any:
    from bokeh.models import BasicTicker

    fig = frame(x_range=x_range)
    counted = all(float(x).is_integer() for series in plot.series for x in series.x)
    fig.xaxis.ticker = BasicTicker(desired_num_ticks=5, min_interval=1 if counted else 0)
    if plot.ticks:
        names_on(fig.xaxis[0], dict(plot.ticks))
    values_on(fig.yaxis[0], (y for series in plot.series for y in series.y), share=plot.share)
    mark_level(fig, plot.level)
    apart = DODGE * (x_range.end - x_range.start) if plot.ticks else 0.0
    medians = set()
    for place, series in enumerate(plot.series):
        if series.points:
            _points(fig, series, apart * (place - (len(plot.series) - 1) / 2))
        elif series.band:
            _band(fig, series, bold=tuple(series.y) not in medians)
            medians.add(tuple(series.y))
        else:
            _lines(fig, series)
    _hover(fig, plot)
    return fig


def _hover(fig: Any, plot: Plot) -> None:
    """Add one readout for all curves of a plot: it follows an invisible line, so that it works between points."""
    from bokeh.models import ColumnDataSource

    level = next((y for series in plot.series for y in series.y if math.isfinite(y)), 0.0)
    readouts = _readouts(plot)
    columns = {"x": list(readouts), "y": [level] * len(readouts), "text": list(readouts.values())}
    line = fig.line("x", "y", source=ColumnDataSource(columns), line_alpha=0)
    readout(fig, [line], mode="vline", line_policy="nearest")


def _readouts(plot: Plot) -> dict[float, str]:
    """Return position → lines of text, at every measurement and at no more than `BUCKETS` logged steps."""
    logged = sorted({x for series in plot.series if not _measured(series) for x in series.x})
    positions = {x for series in plot.series if _measured(series) for x in series.x}
    positions.update(logged[:: -(-len(logged) // BUCKETS) or 1], logged[-1:])
    lines = {x: [f"{named(plot.x_label)} {_position(plot, x)}"] for x in sorted(positions)}
    for series in plot.series:
        means = moving_mean(series.y, window(series)) if window(series) else None
        places = {x: i for i, x in enumerate(series.x)} if means else {}
        for x, value in _by_position(series, plot.share, positions).items():
            mean = f" (mean {shown(Interval(means[places[x]], share=plot.share))})" if means else ""
            lines[x].append(f"{named(series.label)}: {shown(value)}{mean}")
    return {x: "\n".join(text) for x, text in lines.items()}


def _lines(fig: Any, series: Series) -> None:
    """Draw a logged curve; where a moving mean helps, bold as that and thin as logged."""
    tone, dash, _ = look(series.look)
    bold = series.y
    if window(series):
        x, y = min_max(series.x, series.y, BUCKETS)
        raw = fig.line(x, y, line_width=1, line_alpha=0.35)
        raw.glyph.tags = [f"tone:{tone}"]
        bold = moving_mean(series.y, window(series))
    x, y = min_max(series.x, bold, BUCKETS)
    line = fig.line(x, y, line_width=2.25, line_dash=dash)
    line.glyph.tags = [f"tone:{tone}"]


def _band(fig: Any, series: Series, *, bold: bool) -> None:
    """Fill between the ends, draw these as thin lines, and the values as a bold one unless another band has them."""
    tone, dash, _ = look(series.look)
    tag = [f"tone:{tone}"]
    area = fig.varea(list(series.x), list(series.low), list(series.high), fill_alpha=0.16)
    area.glyph.tags = tag
    for end in (series.low, series.high):
        edge = fig.line(list(series.x), list(end), line_width=1.25, line_dash=dash)
        edge.glyph.tags = tag
    if bold:
        middle = fig.line(list(series.x), list(series.y), line_width=2.25)
        middle.glyph.tags = tag


def _points(fig: Any, series: Series, shift: float) -> None:
    """Draw measurements, moved sideways by `shift`: a marker each, with its interval as a bar with two ends."""
    tone, _, marker = look(series.look)
    tag, xs = [f"tone:{tone}"], [x + shift for x in series.x]
    if series.low:
        bars = fig.segment(xs, series.low, xs, series.high, line_width=1.5)
        ends = fig.scatter([*xs, *xs], [*series.low, *series.high], marker="dash", size=8, line_width=1.5)
        bars.glyph.tags = ends.glyph.tags = tag
    dots = fig.scatter(xs, series.y, size=9, marker=marker, line_width=1.5)
    dots.glyph.tags = [*tag, "hollow"]
