"""A run as a notebook shows it: one output that follows the run, with its curves."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..files import read_rows
from ..report import notebook
from ..report.text import number
from .events import Event, Listener

EVERY = 0.5
"""Seconds between two pictures of a run under way."""


def summary(directory: Path, status: str, step: int, evaluation: Mapping[str, Any]) -> str:
    """Return what a run left as HTML: where it lies, its measures, and its curves folded away."""
    metrics = directory / "metrics.jsonl"
    rows = list(read_rows(metrics)) if metrics.is_file() else []
    head = f"<div>{status} after {step:,} steps: <code>{notebook.text(str(directory))}</code></div>"
    drawn = f"<details><summary>curves</summary>{notebook.curves(rows)}</details>"
    return f"{head}{notebook.measures(evaluation)}{drawn}"


def listener() -> Listener | None:
    """Return a listener that draws under the running cell; None where no notebook runs."""
    put = notebook.live()
    return None if put is None else Drawn(put)


class Drawn:
    """Listens to a run and draws it, at most every half second and at all that matters."""

    def __init__(self, put: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        """Take what shows HTML, and a clock."""
        self._put = put
        self._clock = clock
        self._shown = -EVERY
        self._lines: list[str] = []
        self._told: list[str] = []
        self._rows: list[Mapping[str, Any]] = []
        self._bar = ""

    def __call__(self, event: Event) -> None:
        """Take one event in, and draw again where it is time."""
        data = event.data
        if event.kind in ("note", "warning"):
            self._told.append(f"{'<b>warning:</b> ' if event.kind == 'warning' else ''}{notebook.text(data['text'])}")
        elif event.kind == "open":
            self._lines = [notebook.text(line) for line in data["lines"]]
        elif event.kind == "preflight" and data["verdict"] != "pass":
            self._told.append(f"<b>{data['verdict']}:</b> {notebook.text(data['finding']['says'])}")
        elif event.kind == "reference":
            self._bar = notebook.progress("reference: block", data["done"], data["of"])
        elif event.kind in ("train", "eval"):
            self._rows.append(data["row"])
            told = f"· loss {number(data['row']['loss'])}" if event.kind == "train" and "loss" in data["row"] else ""
            self._bar = notebook.progress("step", data["step"], data["steps"], told)
        elif event.kind == "done":
            self._bar = f"<div>{data['status']} after {data['step']:,} steps: <code>{notebook.text(data['directory'])}"
            self._bar += "</code>; report.html there shows the run.</div>"
        if event.kind in ("warning", "eval", "done") or self._clock() - self._shown >= EVERY:
            self._shown = self._clock()
            self._put(self.html())

    def html(self) -> str:
        """Return the run so far."""
        told = "".join(f"<div>{line}</div>" for line in self._told)
        opened = "<br>".join(self._lines)
        about = f"<details><summary>what this run is</summary>{opened}</details>" if self._lines else ""
        return f"{about}{told}{self._bar}<div>{notebook.curves(self._rows)}</div>"
