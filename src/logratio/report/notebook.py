"""What a notebook shows of a run and of an evaluation: HTML without script, brought up to date in place."""

from __future__ import annotations

import base64
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from ..metrics import METRICS
from .decimate import min_max
from .kit import Interval
from .shapes import Dots, Scatter
from .svg import drawing
from .text import number, shown, visible

PLOTTED = ("loss", "accuracy", "margin", "reward", "score_accuracy", "nll_per_token", "kl_data", "kl")
"""Metrics worth a curve, the most telling first."""

CURVES = 3
"""Curves beside each other."""

_BUCKETS = 150  # of a thinned curve, narrower than a pixel each
_CELL = "padding: 2px 14px 2px 0; text-align: "


def live() -> Callable[[str], None] | None:
    """Return a function that puts HTML in place of what it put before, under the running cell; None elsewhere.

    Nothing is imported where no notebook runs.
    """
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if getattr(shell, "kernel", None) is None:  # IPython on a terminal has none
        return None
    from IPython.display import HTML, display

    handles: list[Any] = []

    def put(html: str) -> None:
        if handles:
            handles[0].update(HTML(html))
        else:
            handles.append(display(HTML(html), display_id=True))

    return put


def progress(what: str, done: int, of: int, told: str = "") -> str:
    """Return a bar with its numbers, and what is told beside it."""
    bar = f'<progress value="{done}" max="{max(of, 1)}" style="width: 16em"></progress>'
    return f"<div>{bar} {text(what)} {done:,}/{of:,} {text(told)}</div>"


def text(value: str) -> str:
    """Return text as HTML in which nothing of it acts, every character visible."""
    return escape(visible(value))


def measures(result: Mapping[str, Any]) -> str:
    """Return a table of measures, {mean, low, high, n} each; what was not measured is left out."""
    rows = [
        (name, value) for name, value in result.items() if isinstance(value, Mapping) and value.get("mean") is not None
    ]
    if not rows:
        return "<div>Nothing was measured on held-out data.</div>"
    head = "".join(
        f'<th style="{_CELL}{"left" if title == "measure" else "right"}">{title}</th>'
        for title in ("measure", "mean [95 % interval]", "", "n")
    )
    body = "".join(_measure(name, value) for name, value in rows)
    return f'<table style="border-collapse: collapse"><tr>{head}</tr>{body}</table>'


def curves(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return plots of a run's metric rows by step: training as a line, evaluations as points with intervals."""
    named = [name for name in PLOTTED if any(_value(row, name) is not None for row in rows)]
    return "".join(_curve(name, rows) for name in named[:CURVES])


def _measure(name: str, value: Mapping[str, Any]) -> str:
    label, share = (METRICS[name].label, METRICS[name].share) if name in METRICS else (name, False)
    interval = Interval(value["mean"], value.get("low"), value.get("high"), share=share)
    cells = (
        f'<td style="{_CELL}left" title="{text(name)}">{text(label)}</td>',
        f'<td style="{_CELL}right">{text(shown(interval))}</td>',
        f'<td style="{_CELL}left">{_strip(interval)}</td>',
        f'<td style="{_CELL}right">{value.get("n", 0):,}</td>',
    )
    return f"<tr>{''.join(cells)}</tr>"


def _strip(share: Interval) -> str:
    """Draw where a share's interval lies between 0 and 1, with a mark at one half; nothing for what is no share."""
    if not share.share or share.ends is None:
        return ""
    low, mean, high = (4 + 112 * min(max(end, 0.0), 1.0) for end in (share.ends[0], share.mean, share.ends[1]))
    return (
        '<svg width="120" height="12" role="img" aria-hidden="true" stroke="currentColor">'
        '<path d="M4,6H116M60,2V10" stroke-opacity=".3"/>'
        f'<path d="M{low:.1f},6H{high:.1f}" stroke-width="3" stroke-opacity=".6"/>'
        f'<circle cx="{mean:.1f}" cy="6" r="3" fill="currentColor"/></svg>'
    )


def _curve(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    known = {kind: [row for row in rows if row["kind"] == kind and _value(row, name) is not None] for kind in _KINDS}
    dots = []
    if known["train"]:
        steps, values = min_max(*_points(known["train"], name), _BUCKETS)
        dots.append(Dots("training", steps, values, joined=True, bare=True))
    if known["eval"]:
        steps, values = _points(known["eval"], name)
        low, high = ([_end(row[name], side) for row in known["eval"]] for side in ("low", "high"))
        dots.append(Dots("held out", steps, values, low=low, high=high, joined=True, look=1))
    metric = METRICS.get(name)
    picture = drawing(
        Scatter(metric.label if metric else name, "step", f"{name} ({metric.unit})" if metric else name, dots)
    )
    source = base64.b64encode(picture.encode()).decode()
    last = f"{name} by step; the last value is {number(_value(rows_with(rows, name)[-1], name) or 0.0)}"
    return f'<img width="430" src="data:image/svg+xml;base64,{source}" alt="{text(last)}">'


def rows_with(rows: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    """Return the rows that have a value of a metric."""
    return [row for row in rows if _value(row, name) is not None]


_KINDS = ("train", "eval")


def _points(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[list[float], list[float]]:
    return [float(row["step"]) for row in rows], [_value(row, name) or 0.0 for row in rows]


def _value(row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    mean = value.get("mean") if isinstance(value, Mapping) else value
    return float(mean) if isinstance(mean, (int, float)) and not isinstance(mean, bool) else None


def _end(value: Mapping[str, Any], side: str) -> float:
    end = value.get(side)
    return math.nan if end is None else float(end)
