"""The runs of a study, two at a time: what is finished is passed over; then the frontier that they are held against."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..files import write_json
from .frontier import FRONTIER, compose
from .points import Ruler, measure, measured, reference_rewards
from .pool import Pool, pool
from .record import Entry, Given, Record, claimed
from .runs import Status, Swept, left_whole, require_models
from .study import Planned
from .table import duration

Say = Callable[[str], None]

OFTEN = 30.0
"""Seconds between lines that tell how far the runs are."""


def run_study(given: Given, planned: Planned, output: Path, *, say: Say = lambda line: None) -> Swept:
    """Make a study's runs, measure each, and write `frontier.json` with its page.

    A run that fails is recorded with its sentence, and the others still run; runs that others build on come first.

    Args:
        given: What was asked for, for the record.
        planned: Its runs.
        output: Folder of the study, new or of an earlier attempt.
        say: Told a line at a time.

    Raises:
        ConfigError: A run that others build on failed.
        ModelError: The starting model is missing.
        RunError: The folder is in use, or holds runs of another recipe.
    """
    everything = [*planned.shared, *planned.cells]
    require_models([cell for cell in everything if not cell.resolved.config.model.startswith(f"{output}/")])
    config = planned.config
    ruler = Ruler(config.judge, planned.model, planned.limit, config.samples)
    with claimed(output, given, everything) as record:
        record.save()
        entries = {entry["name"]: entry for entry in record.entries}
        ready = {name for name, entry in entries.items() if _ready(output / name, entry)}
        clock = _Clock(record, len(everything) - len(ready), config.jobs, say)
        say(f"{len(everything)} runs, {len(ready)} of them finished already; {config.jobs} at a time")
        with pool(config.jobs) as workers:
            for cell in planned.shared:
                if cell.name not in ready:
                    workers.train(cell, entries[cell.name], None)
                    _gather(workers, record, clock, {})
                if entries[cell.name]["status"] != "finished":
                    raise ConfigError(
                        f"the run {cell.name}, on which others build, failed: {entries[cell.name]['error']}"
                    )
            for cell in planned.cells:
                if cell.name not in ready:
                    workers.train(cell, entries[cell.name], ruler)
                elif not measured(output / cell.name, ruler):
                    measure(output / cell.name, ruler)
            done = [cell.name for cell in planned.cells if cell.name in ready]
            _gather(workers, record, clock, {"ruler": ruler, "first": done[:1]})
        runs = [entries[cell.name] for cell in planned.cells]
        document = compose(planned, output, runs, ruler)
        write_json(output / FRONTIER, document)
        from ..report.frontier import write_frontier

        write_frontier(output, document)
        return Swept(output, _status(runs), record.entries)


def _status(runs: Sequence[Entry]) -> Status:
    found = {entry["status"] for entry in runs}
    return "failed" if "failed" in found else "finished" if found == {"finished"} else "interrupted"


def _ready(directory: Path, entry: Entry) -> bool:
    return bool(entry["status"] == "finished" and left_whole(directory))


def _gather(workers: Pool, record: Record, clock: _Clock, more: Mapping[str, Any]) -> None:
    """Note what becomes of the runs under way; the first one that is finished gives the reference its prompts."""
    entries = {entry["name"]: entry for entry in record.entries}

    def told(name: str, news: Mapping[str, Any]) -> None:
        if "entry" in news:
            entries[name].update(news["entry"])
            record.save()
        clock.note(name, news)

    def reference(name: str) -> None:
        if (ruler := more.get("ruler")) is not None and reference_rewards(record.folder, ruler) is None:
            workers.sample(record.folder, record.folder / name, ruler)

    asked = bool(more.get("first"))
    if asked:
        reference(more["first"][0])
    for name, result in workers.finished(told):
        if isinstance(result, BaseException):
            if not name:
                raise result
            entries[name].update(status="failed", error=str(result) or type(result).__name__)
        elif name:
            entries[name].update(result)
            if not asked and result["status"] == "finished":
                asked = True
                reference(name)
        if name:
            record.save()
            clock.ended(entries[name])


@dataclass
class _Clock:
    """Tells how far a study is and how long it will take."""

    record: Record
    left: int
    jobs: int
    say: Say
    began: float = field(default_factory=time.monotonic)
    ended_runs: int = 0
    shares: dict[str, float] = field(default_factory=dict)
    last: float = 0.0

    def note(self, name: str, news: Mapping[str, Any]) -> None:
        if "step" in news:
            self.shares[name] = news["step"] / max(news["steps"], 1)
            if time.monotonic() - self.last > OFTEN:
                self.last = time.monotonic()
                under_way = "; ".join(f"{run} {share:.0%}" for run, share in sorted(self.shares.items()))
                self.say(f"  {under_way}; {self._remaining()}")

    def ended(self, entry: Entry) -> None:
        self.ended_runs += 1
        self.shares.pop(entry["name"], None)
        what = entry["status"] if entry["status"] != "failed" else f"failed: {entry['error']}"
        self.say(f"{entry['name']}: {what} in {duration(entry['seconds'])}; {self._remaining()}")

    def _remaining(self) -> str:
        left = self.left - self.ended_runs
        made = self.ended_runs + sum(self.shares.values())
        if left <= 0 or made <= 0:
            return f"{max(left, 0)} runs left"
        gone = time.monotonic() - self.began
        return f"{left} runs left, about {duration(gone * (self.left - made) / made)}"
