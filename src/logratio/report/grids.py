"""Bars at names and grids of values, as Bokeh figures and as numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .frame import HATCHES, HEIGHT, frame, look, mark_level, named, names_on, readout
from .kit import Bars, Heat, Table
from .text import number

MOST_BARS = 40
"""Names that are drawn; the table behind has all."""

MOST_LABELS = 24
"""Names written at the columns of a grid; of more, every second, third, … one is."""

Value = float | None


def spoken(plot: Bars | Heat) -> str:
    """Return the plot in words, for those who cannot see it."""
    parts = []
    rows = plot.series if isinstance(plot, Bars) else plot.rows
    names = plot.names if isinstance(plot, Bars) else plot.columns
    for label, values in rows:
        known = [(value, name) for raw, name in zip(values, names, strict=True) if (value := _finite(raw)) is not None]
        if known:
            (least, at_least), (greatest, at_greatest) = min(known), max(known)
            said = f"greatest {number(greatest)} at {at_greatest}, least {number(least)} at {at_least}"
            parts.append(f"{label}: {said}" if label else said)
    return f"{plot.title}. {plot.y_label or 'Values'} by {plot.x_label or 'name'}. {'; '.join(parts)}."


def behind(plot: Bars | Heat) -> Table:
    """Return all numbers of a plot."""
    folded = "Numbers behind this plot"
    if isinstance(plot, Bars):
        columns = [plot.x_label or "name", *(label or plot.y_label or "value" for label, _ in plot.series)]
        values = [values for _, values in plot.series]
        rows = [[name, *map(_finite, own)] for name, *own in zip(plot.names, *values, strict=True)]
        return Table(plot.title, columns, rows, folded=folded)
    caption = f"{plot.title}, {plot.y_label}" if plot.y_label else plot.title
    return Table(
        caption, ["", *plot.columns], [[name, *map(_finite, values)] for name, values in plot.rows], folded=folded
    )


def _finite(value: Value) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def height(plot: Bars | Heat) -> int:
    """Return how high a plot is drawn, in pixels."""
    if isinstance(plot, Heat):
        return 90 + 26 * len(plot.rows)
    shown = min(len(plot.names), MOST_BARS)
    return 70 + shown * (10 + 12 * max(len(plot.series), 1)) if lies(plot) else HEIGHT


def lies(plot: Bars) -> bool:
    """Whether the names are too long to stand beside each other under upright bars."""
    names = plot.names[:MOST_BARS]
    longest = max((len(named(name)) for name in names), default=0)
    return longest > 8 or len(names) * (longest + 1) > 55


def bars(plot: Bars) -> Any:
    """Return bars as a Bokeh figure: upright at few short names, else lying, so that names can be read."""
    names = list(plot.names)[:MOST_BARS]
    count = max(len(plot.series), 1)
    lying = lies(plot)
    if lying:
        fig = frame(plot.x_label, height=height(plot))
        fig.xgrid.grid_line_color, fig.xgrid.tags = "grey", ["tone:grid"]
        fig.ygrid.grid_line_color, fig.ygrid.tags = None, []
    else:
        fig = frame(plot.y_label)
    mark_level(fig, 0.0, upright=lying)
    thick = 0.8 / count
    places = {float(len(names) - 1 - i if lying else i): name for i, name in enumerate(names)}
    names_on(fig.yaxis[0] if lying else fig.xaxis[0], places)
    drawn = []
    for index, (label, values) in enumerate(plot.series):
        shift = ((count - 1) / 2 - index if lying else index - (count - 1) / 2) * thick
        at = [place + shift for place in places]
        drawn.append(_bar(fig, index, at, list(values)[: len(names)], thick, lying, _texts(plot, label, names, values)))
    readout(fig, drawn, mode="mouse")
    return fig


def _texts(plot: Bars, label: str, names: Sequence[str], values: Sequence[Value]) -> list[str]:
    said = named(label) if label else named(plot.y_label or "value")
    return [
        f"{named(name)}\n{said}: {'–' if _finite(value) is None else number(float(value or 0))}"
        for name, value in zip(names, values, strict=False)
    ]


def _bar(
    fig: Any, index: int, at: list[float], values: list[Value], thick: float, lying: bool, texts: list[str]
) -> Any:
    from bokeh.models import ColumnDataSource

    kept = [i for i, value in enumerate(values) if _finite(value) is not None]
    columns = {"at": [at[i] for i in kept], "to": [values[i] for i in kept], "text": [texts[i] for i in kept]}
    tone, _, _ = look(index)
    style = {"source": ColumnDataSource(columns), "line_width": 1, "fill_alpha": 0.85}
    if hatch := HATCHES[index % len(HATCHES)]:
        style |= {"hatch_pattern": hatch, "hatch_scale": 6, "hatch_weight": 1.5}
    if lying:
        drawn = fig.hbar(y="at", height=thick * 0.92, left=0, right="to", **style)
    else:
        drawn = fig.vbar(x="at", width=thick * 0.92, bottom=0, top="to", **style)
    drawn.glyph.tags = [f"tone:{tone}", "hatched"]
    return drawn


def heat(plot: Heat) -> Any:
    """Return a grid as a Bokeh figure: the area and strength of each square say how large the value is."""
    from bokeh.models import ColumnDataSource

    columns, rows = list(plot.columns), list(plot.rows)
    width, depth = len(columns), len(rows)
    fig = frame(height=height(plot), x_range=(-0.6, width - 0.4), y_range=(-0.6, depth - 0.4))
    fig.ygrid.grid_line_color = None
    fig.ygrid.tags = []
    stride = -(-width // MOST_LABELS) or 1
    names_on(fig.xaxis[0], {float(i): name for i, name in list(enumerate(columns))[::stride]})
    names_on(fig.yaxis[0], {float(depth - 1 - i): name for i, (name, _) in enumerate(rows)})
    if sum(len(named(name)) + 2 for name in columns[::stride]) > 36:
        fig.xaxis.major_label_orientation = "vertical"
    greatest = max((abs(_finite(value) or 0.0) for _, values in rows for value in values), default=0.0) or 1.0
    drawn = []
    for negative in (False, True):
        cells = [
            (float(j), float(depth - 1 - i), value, f"{named(name)}, {named(columns[j])}: {number(value)}")
            for i, (name, values) in enumerate(rows)
            for j, raw in enumerate(values)
            if (value := _finite(raw)) is not None and (value < 0) == negative
        ]
        if not cells:
            continue
        sizes = [0.06 + 0.88 * math.sqrt(abs(value) / greatest) for _, _, value, _ in cells]
        strength = [0.3 + 0.7 * abs(value) / greatest for _, _, value, _ in cells]
        source = ColumnDataSource(
            {
                "x": [cell[0] for cell in cells],
                "y": [cell[1] for cell in cells],
                "size": sizes,
                "alpha": [0.0] * len(cells) if negative else strength,
                "text": [cell[3] for cell in cells],
            }
        )
        squares = fig.rect("x", "y", "size", "size", source=source, fill_alpha="alpha", line_width=1.5)
        squares.glyph.tags = [f"tone:{look(int(negative))[0]}"]
        drawn.append(squares)
    readout(fig, drawn, mode="mouse")
    return fig
