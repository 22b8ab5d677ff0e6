"""What every plot has in common: frame, axes, readout, and marks that differ by more than colour."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from typing import Any

from .text import visible

DASHES = ("solid", "dashed", "dotted", "dotdash")
MARKERS = ("circle", "triangle", "square", "diamond")
HATCHES = (None, "right_diagonal_line", "dot", "cross")

LONGEST_LABEL = 28
"""Characters of a name on an axis; longer ones are cut there and stand whole in the readout and in the table."""

LONGEST_TITLE = 56
"""Characters of what an axis is called."""

HEIGHT = 250
"""Of a plot, in pixels, unless it says otherwise."""

_FONT = "system-ui, sans-serif"
# The page's custom properties reach into the elements that Bokeh makes.
_TOOLTIP = (
    '<div style="white-space: pre-wrap; max-width: 22rem; margin: -5px; padding: 6px 10px; '
    'font: 12px/1.5 system-ui, sans-serif; background: var(--surface); color: var(--ink)">@text</div>'
)
_TOOLBAR = ":host(.bk-inner) { background-color: transparent; opacity: 1; }"


def look(index: int) -> tuple[str, str, str]:
    """Return (colour tag, dash, marker) of the index-th look; dash and marker alone tell the first four apart.

    Colour and dash together, or colour and marker, tell sixteen apart.
    """
    kind = (index + index // 4) % 4
    return f"series-{index % 4 + 1}", DASHES[kind], MARKERS[kind]


def named(text: str, most: int = LONGEST_LABEL) -> str:
    """Return a name as an axis shows it: cut, on one line, every character visible, never taken for a formula."""
    flat = " ".join(visible(text).split())
    cut = flat if len(flat) <= most else f"{flat[: most - 1]}…"
    for opening in ("$$", r"\[", r"\("):
        cut = cut.replace(opening, f"{opening[0]}\u2060{opening[1]}")
    return cut or "–"


def frame(y_label: str = "", *, height: int = HEIGHT, **ranges: Any) -> Any:
    """Return an empty figure; its colours come from the page's style sheet, by the tags that models carry.

    What lies to the right is named by the page under the figure, where a long name can wrap.
    """
    from bokeh.plotting import figure

    fig = figure(
        height=height,
        min_width=0,
        sizing_mode="stretch_width",
        tools="xbox_zoom,reset",
        active_drag=None,  # a drag scrolls the page, as a phone's reader expects
        toolbar_location="above",
        toolbar_inner=True,
        y_axis_label=named(y_label, LONGEST_TITLE) if y_label else None,
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
        lod_threshold=None,
        **ranges,
    )
    fig.toolbar.logo = None
    fig.toolbar.autohide = True
    fig.toolbar.stylesheets = [_TOOLBAR]
    for axis in fig.axis:
        axis.axis_line_color = None
        axis.major_tick_line_color = None
        axis.minor_tick_line_color = None
        axis.major_label_text_font_size = "12px"
        axis.axis_label_text_font_size = "12px"
        axis.axis_label_text_font_style = "normal"
        axis.major_label_text_font = axis.axis_label_text_font = _FONT
        axis.tags = ["tone:muted"]
    fig.xgrid.grid_line_color = None
    fig.ygrid.tags = ["tone:grid"]
    return fig


def values_on(axis: Any, values: Iterable[float], *, share: bool) -> None:
    """Write an axis' numbers as shares, or so that very small ones do not read as 0."""
    from bokeh.models import BasicTickFormatter, NumeralTickFormatter

    greatest = max((abs(value) for value in values if math.isfinite(value)), default=1.0)
    if share:
        axis.formatter = NumeralTickFormatter(format="0%" if greatest > 0.1 else "0.0%")
    elif greatest < 1e-3:
        axis.formatter = BasicTickFormatter(precision=1)
        axis.major_label_overrides = {0: "0"}


def names_on(axis: Any, names: dict[float, str]) -> None:
    """Write names at positions of an axis."""
    from bokeh.models import FixedTicker

    axis.ticker = FixedTicker(ticks=list(names))
    axis.major_label_overrides = {at: named(text) for at, text in names.items()}


def mark_level(fig: Any, level: float | None, *, upright: bool = False) -> None:
    """Mark a value by a dotted line, across or upright."""
    from bokeh.models import Span

    if level is not None:
        dimension = "height" if upright else "width"
        fig.add_layout(Span(location=level, dimension=dimension, line_dash=[2, 4], line_width=1.5, tags=["tone:muted"]))


def readout(fig: Any, renderers: list[Any], **how: Any) -> None:
    """Show the column `text` of what is under the pointer."""
    from bokeh.models import HoverTool

    how = {"point_policy": "follow_mouse", "attachment": "horizontal", "show_arrow": False, **how}
    fig.add_tools(HoverTool(renderers=renderers, tooltips=_TOOLTIP, visible=False, **how))


@cache
def runtime() -> str:
    """Return BokehJS' core, the part that draws; no widgets, tables, WebGL or formulas."""
    from bokeh.resources import Resources

    return str(Resources(mode="inline", components=["bokeh"], minified=True).js_raw[0])
