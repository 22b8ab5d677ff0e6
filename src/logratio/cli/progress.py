"""What a person sees of a run: one live line on a terminal, plain lines at most every 30 seconds elsewhere."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Column

from ..report.text import visible
from ..train.events import Event
from . import found

EVERY = 30.0
"""Seconds between plain lines."""

OWN = (
    "accuracy",
    "likelihood_accuracy",
    "per_token_accuracy",
    "margin",
    "logratio_desirable",
    "logratio_undesirable",
    "nll_per_token",
    "reward",
)
"""Metrics worth a place on the line, where the objective has them; each objective has some."""


class ProgressLines:
    """Listens to a run and tells a person about it; a context, so that the live line is put away on the way out."""

    def __init__(
        self, console: Console | None = None, clock: Callable[[], float] = time.monotonic, *, passes: bool = True
    ) -> None:
        """Take where to print, a clock, and whether each check that passes is a line or all of them one.

        Of a run they are one: what matters is what does not pass, and the rows that the first check decodes.
        """
        self._passes = passes
        self._passed = 0
        self._console = console or Console(highlight=False, markup=False, soft_wrap=True)
        self._clock = clock
        self._live: Progress | None = None
        self._task = TaskID(0)
        self._started: tuple[float, int] | None = None
        self._printed = -EVERY

    def __enter__(self) -> ProgressLines:
        if self._console.is_terminal:
            told = TextColumn("{task.fields[told]}", markup=False, table_column=Column(ratio=1, no_wrap=True))
            bar = [BarColumn(10)] if self._console.width >= 100 else []
            columns = (TextColumn("{task.description}"), *bar, MofNCompleteColumn(), told)
            self._live = Progress(*columns, console=self._console, expand=True)
            self._task = self._live.add_task("", total=None, visible=False, told="")
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Tell one event."""
        data = event.data
        if event.kind in ("note", "warning"):
            self._console.print(visible(f"{'warning: ' if event.kind == 'warning' else ''}{data['text']}"))
        elif event.kind == "open":
            self._console.print("\n".join(map(visible, data["lines"])))
            if data["directory"]:
                self._console.print(f"run directory: {found.one_line(str(data['directory']))}\n")
        elif event.kind == "preflight":
            self._preflight(data["finding"], data["verdict"])
        elif event.kind == "reference":
            self._show("reference", data["done"], data["of"], "blocks of log-probs, kept for later runs")
        elif event.kind == "train":
            self._train(data["row"], data["step"], data["steps"])
        elif event.kind == "eval":
            if told := _measured(data["row"]):  # empty where nothing is held out and nothing sampled
                self._console.print(f"step {data['step']}/{data['steps']}, held out: {told}")
        elif event.kind == "done":
            self._done(data)

    def _preflight(self, finding: Mapping[str, Any], verdict: str) -> None:
        self._passed += verdict == "pass" or finding["name"] == "budget"
        if finding["name"] == "budget" and not self._passes:  # the last one before the first step
            self._console.print(f"pass  {self._passed} checks. {found.one_line(finding['says'])}")
        elif self._passes or verdict != "pass" or finding["name"].endswith("tokens_shown"):
            for line in found.lines(finding, verdict):
                self._console.print(line)

    def _train(self, row: Mapping[str, Any], step: int, steps: int) -> None:
        now = self._clock()
        if self._started is None:  # the first step also warms up, so the rate counts from its end
            self._started = now, step
        since, first = self._started
        seen = [f"{name} {_number(row[name])}" for name in ("loss", *OWN, "lr") if row.get(name) is not None]
        pace, left = [f"{row['tokens_per_s']:,.0f} tok/s", _memory()], []
        if step > first:
            rate = (step - first) / max(now - since, 1e-9)
            left = [f"{_duration((steps - step) / rate)} left"]
            pace.insert(0, f"{rate:.1f} steps/s" if rate > 1 else f"{1 / rate:.1f} s/step")
        told = [*left, *seen[:1], *pace, *seen[1:]]  # a narrow terminal cuts the end
        self._show("step", step, steps, " · ".join(told))

    def _show(self, what: str, done: int, of: int, told: str) -> None:
        if self._live is not None:
            self._live.update(self._task, description=what, completed=done, total=of, told=told, visible=done < of)
        elif done == of or self._clock() - self._printed >= EVERY:
            self._printed = self._clock()
            self._console.print(f"{what} {done}/{of}: {told}")

    def _done(self, data: Mapping[str, Any]) -> None:
        where = found.one_line(str(data["directory"]))
        if data["status"] == "interrupted":
            self._console.print(f"\nstopped after step {data['step']}; continue with: logratio train --resume {where}")
            return
        self._console.print(f"\nfinished: {where}/model loads in transformers; {where}/report.html shows the run.")
        sample = "" if data.get("head") == "score" else f"logratio sample {where}; "  # a reward model does not write
        graver = _graver(Path(data["directory"]))
        if graver:
            self._console.print(f"diagnosis: {graver}; logratio diagnose {where} says what to do")
        self._console.print(f"next: {sample}logratio eval {where} --data FILE")


def _graver(run: Path) -> str:
    """Return what the diagnosis of a run says to look at, by level and name; "" for nothing."""
    try:
        findings = json.loads((run / "findings.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    levels = {level: [own["name"] for own in findings if own["level"] == level] for level in ("stop", "look")}
    told = [f"{level}: {', '.join(names)}" for level, names in levels.items() if names]
    past = [(own["name"], own["past"]) for own in findings if own.get("past")]
    if past:
        listed = [f"{name} ({was['level']} at step {was['step']})" for name, was in past]
        told.append(f"earlier: {', '.join(listed)}")
    return "; ".join(told)


def _measured(row: Mapping[str, Any]) -> str:
    """Return the evaluation's main measures with their intervals."""
    told = []
    for name in (*(name for name in row if name.startswith("loss")), *OWN, "kl"):
        value = row.get(name)
        if isinstance(value, Mapping) and value.get("mean") is not None:
            ends = f" [{_number(value['low'])}, {_number(value['high'])}]" if value.get("low") is not None else ""
            told.append(f"{name} {_number(value['mean'])}{ends}")
    return " · ".join(told)


def _number(value: float) -> str:
    """Return a number in at most some six characters."""
    small = abs(value) < 1e-3 and value != 0
    return f"{value:.1e}".replace("e-0", "e-") if small else f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"


def _memory() -> str:
    """Return the largest memory used so far: of the GPU where there is one, else of the process."""
    if torch.cuda.is_initialized():
        return f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB GPU"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"{peak * (1 if sys.platform == 'darwin' else 1024) / 1e9:.1f} GB"


def _duration(seconds: float) -> str:
    """Return seconds as 0:07, 12:30 or 3:04:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
