"""The rows of a run's `metrics.jsonl` → plots."""

from __future__ import annotations

import math

from .kit import Block, Plot, Series
from .names import PANELS, Panel
from .read import RunFiles, as_number, interval


def plots(run: RunFiles) -> list[Block]:
    """Return the plots of a run, those for which anything was logged."""
    return [plot for panel in PANELS if (plot := _plot(panel, run)) is not None]


def _plot(panel: Panel, run: RunFiles) -> Plot | None:
    """Return a panel's plot; None where none of its metrics was logged, or all were 0 and that is no news."""
    series: list[Series] = []
    for look, (name, short) in enumerate(panel.metrics.items()):
        prefix = f"{short}, " if short else ""
        logged = [(row["step"], as_number(row[name])) for row in run.train if name in row]
        if logged:
            ys = [math.nan if y is None else y for _, y in logged]
            series.append(Series(f"{prefix}training", [x for x, _ in logged], ys, smooth=panel.smooth, look=look))
        if points := _eval_series(run, name, f"{prefix}held out", look):
            series.append(points)
    if not series or not (panel.zero or any(y for own in series for y in own.y)):
        return None
    return Plot(panel.title, panel.unit, series, panel.note, share=panel.share, level=panel.level)


def _eval_series(run: RunFiles, name: str, label: str, look: int) -> Series | None:
    found = [(row["step"], value) for row in run.evals if (value := interval(row, name)) is not None]
    if not found:
        return None
    low = [math.nan if value.low is None else value.low for _, value in found]
    high = [math.nan if value.high is None else value.high for _, value in found]
    bars = not all(math.isnan(end) for end in low)
    xs, ys = [x for x, _ in found], [value.mean for _, value in found]
    return Series(label, xs, ys, low if bars else (), high if bars else (), points=True, look=look)


def not_finite(run: RunFiles) -> str:
    """Return a sentence on logged values that are NaN, infinite or null; "" if there are none."""
    steps, names = [], set()
    for row in run.train:
        bad = [
            name
            for name, value in row.items()
            if value is None or (isinstance(value, float) and not math.isfinite(value))
        ]
        if bad:
            steps.append(row["step"])
            names.update(bad)
    if not steps:
        return ""
    listed = ", ".join(sorted(names)[:6])
    return f"Not finite in {len(steps)} logged steps, first in step {steps[0]:,}: {listed}. Curves break there."
