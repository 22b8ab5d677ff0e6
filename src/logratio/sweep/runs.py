"""The runs of a sweep, one after another in one process: what is finished is passed over, what is not goes on."""

from __future__ import annotations

import gc
import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from ..errors import ConfigError, LogratioError
from ..models.load import known_positions
from ..train import api
from ..train.events import Event, Listener
from .grid import Cell, axes, cells
from .record import Entry, Given, Record, claimed

Status = Literal["finished", "interrupted", "failed"]

Listening = Callable[[Cell, Entry, int, int], AbstractContextManager[Listener]]
"""(run, its entry, its number from 1, their count) → a listener for that run's events, closed after it."""


def _silent(cell: Cell, entry: Entry, number: int, of: int) -> AbstractContextManager[Listener]:
    return nullcontext(lambda event: None)


@dataclass(frozen=True)
class Swept:
    """What a sweep came to.

    Attributes:
        folder: Its directory; each run is a folder in it.
        status: finished, interrupted (it can be resumed), or failed: some run did, and the others are finished.
        runs: Entries of `sweep.json`.
    """

    folder: Path
    status: Status
    runs: list[Entry]


def sweep(given: Given, output: Path, *, listening: Listening = _silent) -> Swept:
    """Run every combination of a grid's values, and leave the comparison in `sweep.json` and `sweep.html`.

    Tokens and reference log-probs are kept on disk by content, so that the first run pays for all. A run that fails
    is recorded with its sentence, and the others still run.

    Args:
        given: Recipe, overrides and grid.
        output: Folder of the sweep, new or of an earlier attempt.
        listening: Who is told of each run that is not finished yet.

    Raises:
        ConfigError: Something in any run's recipe is wrong; no run has started then. Or there are several processes.
        ModelError: A model or reference of some run is missing; no run has started then either.
        RunError: The folder is in use, or holds runs of another recipe.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            f"a sweep runs in one process, and there are {os.environ['WORLD_SIZE']}; start its runs one by one with "
            "`torchrun -m logratio train`, which share what is cached too."
        )
    planned = cells(given.recipe, given.overrides, axes(given.grids), output)
    require_models(planned)
    with claimed(output, given, planned) as record:
        record.save()
        status: Status = "finished"
        for number, (cell, entry) in enumerate(zip(planned, record.entries, strict=True), 1):
            if entry["status"] != "finished" or not left_whole(output / cell.name):
                with listening(cell, entry, number, len(planned)) as listener:
                    run_cell(cell, entry, record.save, listener)
                _forget()
            if entry["status"] == "interrupted":
                status = "interrupted"
                break
            status = "failed" if entry["status"] == "failed" else status
        _compare(record)
        return Swept(output, status, record.entries)


def require_models(planned: Sequence[Cell]) -> None:
    """Look every model up by its config, so that a misspelt one is not met hours later.

    Raises:
        ModelError: One is missing.
    """
    configs = [cell.resolved.config for cell in planned]
    references = [config.reference for config in configs if config.reference not in ("start", "base")]
    for name in dict.fromkeys([*(config.model for config in configs), *references]):
        known_positions(name)


def _forget() -> None:
    """Free one run's model before the next is loaded, whose micro-batches are made to fit what is free."""
    gc.collect()
    torch.cuda.empty_cache()  # does nothing where no GPU was used


def left_whole(directory: Path) -> bool:
    """Whether a run's directory has its model and evaluation, so that nothing is left to do."""
    return (directory / "model").is_dir() and (directory / "evaluation.json").is_file()


def run_cell(cell: Cell, entry: Entry, save: Callable[[], None], listener: Listener) -> None:
    """Start or continue a run, and note in its entry how it ended; `save` is called whenever the entry changed."""
    watch = _Watch(cell, entry, save)
    watch.begin()
    try:
        result = api.run(cell.resolved, resume="auto", listeners=[watch, listener])
    except LogratioError as error:
        entry.update(status="failed", error=str(error))
    except BaseException:
        entry["status"] = "interrupted"
        raise
    else:
        entry.update(status=result.status, step=result.step, error=None)
        needs = cell.resolved.objective.needs(cell.resolved.settings)
        if entry["reference"] is None and result.step:  # it was not read from the cache
            entry["reference"] = "live" if needs.reference or needs.divergence else "none"
        if result.status == "finished":
            measured = json.loads((result.directory / "evaluation.json").read_text(encoding="utf-8"))
            measured.pop("tasks", None)
            entry.update(before=measured.pop("before", {}), evaluation=measured)
    finally:
        watch.note()


@dataclass
class _Watch:
    """Notes in a run's entry what its events tell: seconds, steps, and where its reference came from."""

    cell: Cell
    entry: Entry
    save: Callable[[], None]
    began: float = 0.0
    earlier: float = 0.0
    blocks: tuple[int, int] = (0, 0)
    computed: bool = False

    def begin(self) -> None:
        self.began, self.earlier = time.monotonic(), self.entry["seconds"]
        self.entry.update(status="running", error=None)
        self.save()

    def __call__(self, event: Event) -> None:
        if event.kind == "reference":
            self._reference(event.data["done"], event.data["of"])
        elif event.kind == "checkpoint":
            self.entry["step"] = event.data["step"]
            self.note()

    def note(self) -> None:
        self.entry["seconds"] = round(self.earlier + time.monotonic() - self.began, 3)
        self.save()

    def _reference(self, done: int, of: int) -> None:
        """The first event of a pass tells how many blocks were there, each further one how many are now."""
        known, total = self.blocks
        if of == total and done > known:
            self.computed = True
        self.blocks = (done, of)
        # A run that was killed after its pass finds the blocks cached when it goes on; it computed them all the same.
        if self.entry["reference"] != "computed":
            self.entry["reference"] = "computed" if self.computed else "cached"
        self.note()


def _compare(record: Record) -> None:
    from .page import write_page

    record.save()
    write_page(record.folder, record.document())
