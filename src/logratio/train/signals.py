"""Ctrl-C, SIGTERM and SIGUSR1 ask for a checkpoint and a clean end; a second Ctrl-C aborts."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

_ASKED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@dataclass
class StopRequest:
    """Set by a signal, read by the loop between steps.

    Attributes:
        name: The signal's name, or "".
    """

    name: str = ""

    def __bool__(self) -> bool:
        return bool(self.name)


class Interrupted(Exception):
    """A stop was asked for where no step is under way, as in the reference pass; what is on disk stays."""


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Listen for signals within the block; outside the main thread nothing changes."""
    asked = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.name = signal.Signals(number).name

    before = {number: signal.signal(number, ask) for number in _ASKED}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
