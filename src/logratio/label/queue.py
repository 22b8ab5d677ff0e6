"""What one person has in front of them: a queue with skip and undo. Pure: nothing is read, written or timed here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Verdict = Literal["a", "b", "tie", "both_bad"]
VERDICTS: tuple[Verdict, ...] = ("a", "b", "tie", "both_bad")


@dataclass(frozen=True)
class Queue:
    """A person's place in the work; every step returns another one.

    Attributes:
        waiting: Keys of tasks to judge, the present one first.
        skipped: Keys of those put aside, in order.
        done: What was done to a task, in order: judged, or skipped and still put aside.
    """

    waiting: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    done: tuple[tuple[Literal["judged", "skipped"], str], ...] = ()

    @staticmethod
    def resumed(tasks: Sequence[str], judged: Iterable[str]) -> Queue:
        """Return the queue of somebody who judged some of the tasks before, in that order."""
        before, known = dict.fromkeys(judged), set(tasks)
        return Queue(
            waiting=tuple(key for key in tasks if key not in before),
            done=tuple(("judged", key) for key in before if key in known),
        )

    @property
    def present(self) -> str | None:
        """The task in front of the person; None where none is waiting."""
        return self.waiting[0] if self.waiting else None

    @property
    def judged(self) -> int:
        """How many tasks have been judged."""
        return sum(what == "judged" for what, _ in self.done)

    def judge(self) -> Queue:
        """Return the queue after the present task was judged."""
        return replace(self, waiting=self.waiting[1:], done=(*self.done, ("judged", self.waiting[0])))

    def skip(self) -> Queue:
        """Return the queue after the present task was put aside."""
        key = self.waiting[0]
        return replace(
            self, waiting=self.waiting[1:], skipped=(*self.skipped, key), done=(*self.done, ("skipped", key))
        )

    def undo(self) -> Queue:
        """Return the queue in which the last task that was judged or skipped is present again; itself without one."""
        if not self.done:
            return self
        key = self.done[-1][1]
        skipped = tuple(other for other in self.skipped if other != key)
        return replace(self, waiting=(key, *self.waiting), skipped=skipped, done=self.done[:-1])

    def again(self) -> Queue:
        """Return the queue in which what was put aside waits again, behind the rest."""
        done = tuple(step for step in self.done if step[0] == "judged")
        return replace(self, waiting=self.waiting + self.skipped, skipped=(), done=done)
