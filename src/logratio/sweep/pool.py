"""Several runs at a time, each in a process of its own with one thread."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import LogratioError
from ..train.events import Event
from ..train.recipe import resolve
from .grid import Cell
from .points import Ruler, measure, sample_reference
from .record import Entry

Told = Callable[[str, dict[str, Any]], None]
"""(name of a run, what is new of it) → nothing: `entry`, its entry; or `step` and `steps`."""

BEAT = 0.5
"""Seconds between looks at what the processes tell."""

_inbox: Any = None


@dataclass
class Pool:
    """Processes that make runs.

    Attributes:
        executor: What they belong to.
        inbox: What they tell.
        waiting: Runs under way or not begun, by future.
    """

    executor: ProcessPoolExecutor
    inbox: Any
    waiting: dict[Future[Any], str] = field(default_factory=dict)

    def train(self, cell: Cell, entry: Entry, ruler: Ruler | None) -> None:
        """Make a run, and measure it where a ruler is given."""
        document = cell.resolved.config.model_dump(mode="json")
        given = (cell.name, dict(cell.values), document, sorted(cell.resolved.explicit), dict(entry), ruler)
        self.waiting[self.executor.submit(_train, *given)] = cell.name

    def sample(self, folder: Path, run: Path, ruler: Ruler) -> None:
        """Sample the reference at the prompts of a run."""
        self.waiting[self.executor.submit(sample_reference, folder, run, ruler)] = ""

    def finished(self, told: Told) -> Iterator[tuple[str, Any]]:
        """Yield (name, result or the exception that ended it) until nothing waits; work may be added meanwhile.

        On Ctrl-C what has not begun is dropped.
        """
        while self.waiting:
            try:
                done, _ = wait(self.waiting, timeout=BEAT, return_when=FIRST_COMPLETED)
            except KeyboardInterrupt:  # those under way were asked to stop too, and are waited for
                self.waiting = {future: name for future, name in self.waiting.items() if not future.cancel()}
                continue
            self._read(told)
            for future in done:
                name = self.waiting.pop(future)
                error = future.exception()
                yield name, future.result() if error is None else error

    def _read(self, told: Told) -> None:
        while True:
            try:
                name, news = self.inbox.get_nowait()
            except queue.Empty:
                return
            told(name, news)


@contextmanager
def pool(jobs: int) -> Iterator[Pool]:
    """Start processes, each with one thread; what is left of their work is dropped at the end."""
    context = multiprocessing.get_context("spawn")
    inbox = context.Queue()
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    executor = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(inbox,))
    try:
        yield Pool(executor, inbox)
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TOKENIZERS_PARALLELISM")


def _begin(inbox: Any) -> None:
    """Set a process up: one thread; a Ctrl-C is for the run under way, which answers it itself, not for a wait.

    Where the study is killed its runs end too, at once: they go on from their checkpoints when it does.
    """
    global _inbox
    import torch

    _inbox = inbox
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(BEAT)
    os._exit(1)


def _train(
    name: str, values: dict[str, str], document: dict[str, Any], explicit: list[str], entry: Entry, ruler: Ruler | None
) -> Entry:
    """Make a run in this process, and return its entry."""
    from .runs import run_cell

    cell = Cell(name, values, replace(resolve(document), explicit=frozenset(explicit)))
    watched = _Steps(name)
    run_cell(cell, entry, lambda: _inbox.put((name, {"entry": dict(entry)})), watched)
    if entry["status"] == "finished" and ruler is not None:
        try:
            measure(Path(document["output"]), ruler)
        except LogratioError as error:
            entry.update(status="failed", error=str(error))
    return entry


@dataclass
class _Steps:
    """Tells how far a run is, at most every second."""

    name: str
    last: float = 0.0

    def __call__(self, event: Event) -> None:
        now = time.monotonic()
        if event.kind == "train" and now - self.last > 1:
            self.last = now
            _inbox.put((self.name, {"step": event.data["step"], "steps": event.data["steps"]}))
