"""`logratio cache`: what lies in the cache folder, and what of it may go."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Annotated

from cyclopts import Parameter
from cyclopts.types import NonNegativeInt
from rich.console import Console
from rich.table import Table

from ..files import cache_root, read_shard

DAY = 86_400


@dataclass(frozen=True)
class Entry:
    """One thing that is cached: a file or a folder.

    Attributes:
        path: Where it lies.
        kind: Folder of the cache that holds it, as `reference`.
        size: Bytes.
        used: When it was last read or written, in seconds since the epoch; where the file system keeps no time of
            reading, when it was written.
    """

    path: Path
    kind: str
    size: int
    used: float


def run(
    *,
    prune: Annotated[
        bool, Parameter(show_default=False, help="Remove damaged files, left-overs and old entries.")
    ] = False,
    days: Annotated[NonNegativeInt, Parameter(help="With --prune: an entry is old when unused for so many days.")] = 30,
) -> None:
    """Show the size of each kind of cache, or prune it; whatever is removed is made again when needed."""
    root = cache_root()
    console = Console(highlight=False, markup=False)
    if prune:
        console.print(f"{root}: {_prune(root, days)}", soft_wrap=True)
    entries = list(_entries(root))
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for title, side in (("kind", "left"), ("entries", "right"), ("size", "right"), ("last used", "right")):
        table.add_column(title, justify="right" if side == "right" else "left")
    for kind in sorted({entry.kind for entry in entries}):
        own = [entry for entry in entries if entry.kind == kind]
        used = time.strftime("%Y-%m-%d", time.localtime(max(entry.used for entry in own)))
        table.add_row(kind, str(len(own)), _size(sum(entry.size for entry in own)), used)
    console.print(f"{root}: {_size(sum(entry.size for entry in entries))}", soft_wrap=True)
    if entries:
        console.print(table)


def _entries(root: Path) -> Iterator[Entry]:
    for kind in sorted(path for path in root.glob("*") if path.is_dir()):
        for path in sorted(kind.iterdir()):
            states = [file.stat() for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
            used = max((max(state.st_atime, state.st_mtime) for state in states), default=path.stat().st_mtime)
            yield Entry(path, kind.name, sum(state.st_size for state in states), used)


def _prune(root: Path, days: int) -> str:
    """Remove what may go and say how much that was."""
    now = time.time()
    old = [entry for entry in _entries(root) if now - entry.used > days * DAY]
    for entry in old:
        rmtree(entry.path) if entry.path.is_dir() else entry.path.unlink()
    left = [file for file in root.rglob("*.tmp") if now - file.stat().st_mtime > DAY]  # younger: a run may be writing
    damaged = [file for file in root.rglob("*.shard") if not _sound(file)]
    freed = sum(entry.size for entry in old) + sum(file.stat().st_size for file in left + damaged)
    for file in left + damaged:
        file.unlink()
    counts = f"{len(old)} unused for {days} days, {len(damaged)} damaged, {len(left)} left over"
    return f"removed {_size(freed)} ({counts})."


def _sound(shard: Path) -> bool:
    """Return whether a shard's checksum holds; looking does not count as use."""
    state = shard.stat()
    sound = read_shard(shard) is not None
    os.utime(shard, ns=(state.st_atime_ns, state.st_mtime_ns))
    return sound


def _size(count: int) -> str:
    """Return a number of bytes as `512 B`, `1.5 MB`, `12 GB`."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"
