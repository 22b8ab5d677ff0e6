"""Plots as Bokeh figures. Colours come from the page's style sheet, by the tags that models carry here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

from .decimate import min_max, moving_mean
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

DASHES = ("solid", "dashed", "dotted", "dotdash")
MARKERS = ("circle", "triangle", "square", "diamond")

_FONT = "system-ui, sans-serif"
# The page's custom properties reach into the elements that Bokeh makes.
_TOOLTIP = (
    '<div style="white-space: pre; margin: -5px; padding: 6px 10px; font: 12px/1.5 system-ui, sans-serif; '
    'background: var(--surface); color: var(--ink)">@text</div>'
)
_TOOLBAR = ":host(.bk-inner) { background-color: transparent; opacity: 1; }"


def look(index: int) -> tuple[str, str, str]:
    """Return (colour tag, dash, marker) of the index-th look; dash and marker alone tell the first four apart.

    Colour and dash together, or colour and marker, tell sixteen apart.
    """
    kind = (index + index // 4) % 4
    return f"series-{index % 4 + 1}", DASHES[kind], MARKERS[kind]


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
    if any(series.low for series in every):
        said.append("Markers with bars: held-out evaluations with 95\u202f% intervals.")
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
    logged = [series for series in plot.series if not series.points]
    steps = sorted({x for series in logged for x in series.x})
    stride = -(-len(steps) // TABLE_ROWS) or 1
    shown = {x for series in plot.series if series.points for x in series.x}
    shown.update(steps[::stride], steps[-1:])
    values = [_by_position(series, plot.share) for series in plot.series]
    rows = [[_position(plot, x), *(column.get(x) for column in values)] for x in sorted(shown)]
    every = f"; of the logged steps every {stride}th (metrics.jsonl has all)" if stride > 1 else ""
    return Table(
        caption=f"{plot.title}{every}",
        columns=[plot.x_label, *(series.label for series in plot.series)],
        rows=rows,
        folded="Numbers behind this plot",
    )


def _position(plot: Plot, x: float) -> str:
    """Return a position on the common axis as text: its name, if it has one, else its number."""
    named = dict(plot.ticks).get(x)
    return named or (str(int(x)) if float(x).is_integer() else number(x))


def _by_position(series: Series, share: bool) -> dict[float, Cell]:
    if not series.low:
        return {x: Interval(y, share=share) for x, y in zip(series.x, series.y, strict=True)}
    ends = zip(series.x, series.y, series.low, series.high, strict=True)
    return {x: Interval(y, _known(low), _known(high), share=share) for x, y, low, high in ends}


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
        xs = [x for plot in own for series in plot.series for x in series.x]
        low, high = min(xs, default=0), max(xs, default=1)
        pad = (0.08 if own[0].ticks else 0.02) * (high - low or 1)
        ranges[axis] = Range1d(low - pad, high + pad, bounds=(low - pad, high + pad))
    return [_figure(plot, ranges[plot.x_label, tuple(plot.ticks)]) for plot in plots]


def _figure(plot: Plot, x_range: Any) -> Any:
    from bokeh.models import Span
    from bokeh.plotting import figure

    fig = figure(
        height=250,
        min_width=0,
        sizing_mode="stretch_width",
        x_range=x_range,
        tools="xbox_zoom,reset",
        active_drag=None,  # a drag scrolls the page, as a phone's reader expects
        toolbar_location="above",
        toolbar_inner=True,
        x_axis_label=plot.x_label,
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
        lod_threshold=None,
    )
    fig.toolbar.logo = None
    fig.toolbar.autohide = True
    fig.toolbar.stylesheets = [_TOOLBAR]
    _style_axes(fig, plot)
    if plot.level is not None:
        fig.add_layout(
            Span(location=plot.level, dimension="width", line_dash=[2, 4], line_width=1.5, tags=["tone:muted"])
        )
    apart = DODGE * (x_range.end - x_range.start) if plot.ticks else 0.0
    for place, series in enumerate(plot.series):
        if series.points:
            _points(fig, series, apart * (place - (len(plot.series) - 1) / 2))
        else:
            _lines(fig, series)
    _hover(fig, plot)
    return fig


def _hover(fig: Any, plot: Plot) -> None:
    """Add one readout for all curves of a plot: it follows an invisible line, so that it works between points."""
    from bokeh.models import ColumnDataSource, HoverTool

    level = next((y for series in plot.series for y in series.y if math.isfinite(y)), 0.0)
    readouts = _readouts(plot)
    columns = {"x": list(readouts), "y": [level] * len(readouts), "text": list(readouts.values())}
    line = fig.line("x", "y", source=ColumnDataSource(columns), line_alpha=0)
    fig.add_tools(
        HoverTool(
            renderers=[line],
            tooltips=_TOOLTIP,
            mode="vline",
            line_policy="nearest",
            point_policy="follow_mouse",
            attachment="horizontal",
            show_arrow=False,
            visible=False,  # in the toolbar, where it would be one more button
        )
    )


def _readouts(plot: Plot) -> dict[float, str]:
    """Return position → lines of text, at every measurement and at no more than `BUCKETS` logged steps."""
    logged = sorted({x for series in plot.series if not series.points for x in series.x})
    positions = {x for series in plot.series if series.points for x in series.x}
    positions.update(logged[:: -(-len(logged) // BUCKETS) or 1], logged[-1:])
    lines = {x: [f"{plot.x_label} {_position(plot, x)}"] for x in sorted(positions)}
    for series in plot.series:
        means = moving_mean(series.y, window(series)) if window(series) else None
        for i, (x, value) in enumerate(_by_position(series, plot.share).items()):
            if x in lines:
                mean = f" (mean {shown(Interval(means[i], share=plot.share))})" if means else ""
                lines[x].append(f"{series.label}: {shown(value)}{mean}")
    return {x: "\n".join(text) for x, text in lines.items()}


def _style_axes(fig: Any, plot: Plot) -> None:
    from bokeh.models import BasicTicker, BasicTickFormatter, FixedTicker, NumeralTickFormatter

    for axis in fig.axis:
        axis.axis_line_color = None
        axis.major_tick_line_color = None
        axis.minor_tick_line_color = None
        axis.major_label_text_font_size = "12px"
        axis.axis_label_text_font_size = "12px"
        axis.axis_label_text_font_style = "normal"
        axis.major_label_text_font = axis.axis_label_text_font = _FONT
        axis.tags = ["tone:muted"]
    counted = all(float(x).is_integer() for series in plot.series for x in series.x)
    fig.xaxis.ticker = BasicTicker(desired_num_ticks=5, min_interval=1 if counted else 0)
    if plot.ticks:
        fig.xaxis.ticker = FixedTicker(ticks=[x for x, _ in plot.ticks])
        fig.xaxis.major_label_overrides = {x: name for x, name in plot.ticks}
    fig.xgrid.grid_line_color = None
    fig.ygrid.tags = ["tone:grid"]
    greatest = max((abs(y) for series in plot.series for y in series.y if math.isfinite(y)), default=1.0)
    if plot.share:
        fig.yaxis.formatter = NumeralTickFormatter(format="0%" if greatest > 0.1 else "0.0%")
    elif greatest < 1e-3:
        fig.yaxis.formatter = BasicTickFormatter(precision=1)
        fig.yaxis.major_label_overrides = {0: "0"}


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


@cache
def runtime() -> str:
    """Return BokehJS' core, the part that draws; no widgets, tables, WebGL or formulas."""
    from bokeh.resources import Resources

    return str(Resources(mode="inline", components=["bokeh"], minified=True).js_raw[0])


def embed(plots: Sequence[Plot]) -> tuple[str, list[str]]:
    """Return (script, one placeholder element a plot) for plots that share a page."""
    from bokeh.embed import components

    script, divs = components(figures(plots), wrap_script=False)
    return script, list(divs)
