"""Figures of every kind, drawn, told, tabled and given a legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import curves, grids, planes
from .frame import HATCHES, HEIGHT, look, runtime
from .kit import Bars, Figure, Heat, Plot, Scatter, Table

__all__ = ["Key", "across", "behind", "embed", "height", "legend", "reading", "runtime", "spoken"]


@dataclass(frozen=True)
class Key:
    """An entry of a legend: its label and the marks it stands for, "" for those it has not."""

    label: str
    tone: str
    dash: str = ""
    marker: str = ""
    whisker: bool = False
    band: bool = False
    hatch: str = ""
    hollow: bool = False


def legend(figure: Figure) -> list[Key]:
    """Return the legend of a figure; what has no label has no entry."""
    keys = []
    if isinstance(figure, Plot):
        for series in figure.series:
            tone, dash, marker = look(series.look)
            marks = {"marker": marker, "whisker": bool(series.low)} if series.points else {"dash": dash}
            keys.append(Key(series.label, tone, band=series.band, **marks))
    elif isinstance(figure, Scatter):
        for dots in figure.dots:
            tone, dash, marker = look(dots.look)
            line, point = dash if dots.joined else "", "" if dots.bare else marker
            keys.append(Key(dots.label, tone, line, point, bool(dots.low) and not dots.bare))
    elif isinstance(figure, Bars):
        told = len(figure.series) > 1 or figure.series[0][0] != figure.y_label
        for index, (label, _) in enumerate(figure.series if told else ()):
            keys.append(Key(label, look(index)[0], hatch=HATCHES[index % len(HATCHES)] or "none"))
    elif any(value is not None and value < 0 for _, values in figure.rows for value in values):
        keys += [
            Key("positive", look(0)[0], hatch="none"),
            Key("negative", look(1)[0], hatch="none", hollow=True),
        ]
    return [key for key in keys if key.label]


def reading(figures: Sequence[Figure]) -> str:
    """Return how the marks of figures that stand together are to be read."""
    said = [curves.reading([figure for figure in figures if isinstance(figure, Plot)])]
    if any(isinstance(figure, Heat) for figure in figures):
        said.append("The larger and stronger a square, the larger the value.")
    return " ".join(filter(None, said))


def spoken(figure: Figure) -> str:
    """Return a figure in words, for those who cannot see it."""
    if isinstance(figure, Plot):
        return curves.spoken(figure)
    return planes.spoken(figure) if isinstance(figure, Scatter) else grids.spoken(figure)


def height(figure: Figure) -> int:
    """Return how high a figure is drawn, in pixels."""
    if isinstance(figure, Plot):
        return HEIGHT
    return planes.height(figure) if isinstance(figure, Scatter) else grids.height(figure)


def across(figure: Figure) -> str:
    """Return what the axis to the right is called."""
    return figure.y_label if isinstance(figure, Bars) and grids.lies(figure) else figure.x_label


def behind(figure: Figure) -> Table:
    """Return the numbers behind a figure."""
    if isinstance(figure, Plot):
        return curves.behind(figure)
    return planes.behind(figure) if isinstance(figure, Scatter) else grids.behind(figure)


def embed(figures: Sequence[Figure]) -> tuple[str, list[str]]:
    """Return (script, one placeholder element a figure) for figures that share a page."""
    from bokeh.embed import components

    by_axis = iter(curves.figures([figure for figure in figures if isinstance(figure, Plot)]))
    drawn = [next(by_axis) if isinstance(figure, Plot) else _drawn(figure) for figure in figures]
    script, divs = components(drawn, wrap_script=False)
    return script, list(divs)


def _drawn(figure: Scatter | Bars | Heat) -> Any:
    if isinstance(figure, Scatter):
        return planes.figure(figure)
    return grids.bars(figure) if isinstance(figure, Bars) else grids.heat(figure)
