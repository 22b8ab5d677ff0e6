"""Several runs drawn over each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

from .kit import Interval, Plot, Series
from .names import ACCURACY, KL, LENGTH, LOSS, MARGIN, NLL, metric
from .read import RunFiles, as_number, interval

TOGETHER = 8
"""Runs drawn over each other in one plot; more are drawn in further plots."""

CURVES = (LOSS, ACCURACY, MARGIN, KL, NLL, LENGTH, "logratio_chosen", "logratio_rejected", "grad_norm")
"""What is drawn by step, of each run that has it."""

T = TypeVar("T")


def parts(things: Sequence[T], most: int) -> list[Sequence[T]]:
    """Return things in parts of about equal size, none of more than `most`."""
    size = math.ceil(len(things) / math.ceil(len(things) / most)) if things else 1
    return [things[at : at + size] for at in range(0, len(things), size)]


def touch(one: Interval, other: Interval) -> bool:
    """Whether two 95 % intervals overlap; where one is not known, nothing is shown to differ."""
    if one.ends is None or other.ends is None:
        return True
    return one.ends[0] <= other.ends[1] and other.ends[0] <= one.ends[1]


def curves(runs: Sequence[tuple[str, RunFiles]]) -> list[Plot]:
    """Return what was logged by step, runs by the names given, over each other."""
    plots = []
    for name in CURVES:
        series = [own for look, (label, run) in enumerate(runs) if (own := curve(label, run, name, look))]
        for part in parts(series, TOGETHER):
            shown = metric(name)
            level = 0.5 if name == ACCURACY else None
            plots.append(Plot(shown.label, shown.unit, part, share=shown.share, level=level))
    return plots


def curve(label: str, run: RunFiles, name: str, look: int) -> Series | None:
    """Return a run's logged steps of a metric, or where it has none its evaluations, as a line."""
    logged = [(row["step"], as_number(row[name])) for row in run.train if name in row]
    if logged:
        ys = [math.nan if y is None else y for _, y in logged]
        return Series(label, [x for x, _ in logged], ys, look=look)
    found = [(row["step"], value.mean) for row in run.evals if (value := interval(row, name)) is not None]
    if not found:
        return None
    return Series(label, [x for x, _ in found], [y for _, y in found], smooth=False, look=look)
