"""How findings are written: numbers as people read them, series as drawings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..findings import Drawing
from .history import Point

Line = Sequence[tuple[int, Point]]


def percent(share: float) -> str:
    """Return a share as 63 %, or 0.4 % where it is small."""
    return f"{100 * share:.1f} %" if 0 < abs(share) < 0.01 else f"{100 * share:.0f} %"


def number(value: float) -> str:
    """Return a number in three digits."""
    return f"{value:.3g}"


def lines(title: str, unit: str, series: Mapping[str, Line], note: str = "") -> Drawing:
    """Return series over steps; where one was not measured at a step of another, it has a gap."""
    steps = sorted({step for line in series.values() for step, _ in line})
    values = {name: {step: point.mean for step, point in line} for name, line in series.items()}
    return Drawing(
        kind="lines",
        title=title,
        x_label="step",
        y_label=unit,
        x=[float(step) for step in steps],
        series={name: [own.get(step) for step in steps] for name, own in values.items() if own},
        note=note,
    )
