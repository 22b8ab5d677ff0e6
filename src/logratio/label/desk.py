"""What the page asks and what it is told: plain data in, plain data out. Threads may ask at the same time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from threading import Lock
from typing import Any, cast

from ..errors import LogratioError
from ..records import Text
from ..report.text import visible
from ..rollout.judge import answer_of
from .items import Response, Task, plain
from .queue import VERDICTS, Queue, Verdict
from .status import status
from .store import Store

LONGEST_NAME = 80
LONGEST_TEXT = 200_000
"""Characters of a text that the page gets; nobody reads more before judging."""


class Refused(LogratioError):
    """A request that cannot be met; the page shows the sentence.

    Attributes:
        status: HTTP status.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Desk:
    """Tasks, the file that takes the judgements, and where each person is.

    Attributes:
        tasks: Key → what is to be judged, in order.
        people: Names that may judge; empty for anybody's.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        store: Store,
        *,
        people: Sequence[str] = (),
        seed: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Lay out the work.

        Args:
            tasks: What is to be judged, in the order in which it is shown.
            store: Where judgements go; what it holds already is not asked again.
            people: Names that may judge; empty for anybody's.
            seed: Of the order of the two responses.
            clock: Seconds since 1970, UTC.

        Raises:
            Refused: A name that nobody may have.
        """
        self.tasks = {task.key: task for task in tasks}
        self.people: tuple[str, ...] = ()
        self.people = tuple(map(self._name, people))
        self._store, self._seed, self._clock = store, seed, clock
        self._queues: dict[str, Queue] = {}
        self._shown: dict[str, tuple[str, float]] = {}
        self._lock = Lock()

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Do what the page asks; return what it shows then.

        `asked` holds `action`, `annotator` and, of a judgement or skip, the key `task` of what the page shows.
        Actions: `show`; `judge` with a `verdict`; `skip`; `undo`; `again`, which takes up what was skipped.

        Raises:
            Refused: It makes no sense, or the page does not show what is present any more.
            LogratioError: The judgement could not be written; it does not count.
        """
        action, annotator = asked.get("action"), self._name(asked.get("annotator"))
        with self._lock:
            queue = self._queues.get(annotator) or self._resumed(annotator)
            if action in ("judge", "skip"):
                if asked.get("task") != queue.present or queue.present is None:
                    raise Refused(409, "This pair is not the present one any more; the page shows the one that is.")
                queue = self._judge(queue, annotator, asked) if action == "judge" else queue.skip()
            elif action == "undo":
                queue = self._undo(queue, annotator)
            elif action == "again":
                queue = queue.again()
            elif action != "show":
                raise Refused(400, "The page asked for something that is not known here; reload it.")
            self._queues[annotator] = queue
            return self._state(queue, annotator)

    def _name(self, value: Any) -> str:
        """Return who asks, or refuse."""
        if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_NAME:
            raise Refused(400, f"A name has 1 to {LONGEST_NAME} characters, since judgements carry it; give another.")
        name = value.strip()
        if visible(name) != name:
            raise Refused(400, "A name has no hidden characters, since two that look alike would be two people.")
        if self.people and name not in self.people:
            raise Refused(403, f"Only {', '.join(map(visible, self.people))} may judge here, as --annotator says.")
        return name

    def _resumed(self, annotator: str) -> Queue:
        return Queue.resumed(list(self.tasks), self._store.judged_by(annotator))

    def _judge(self, queue: Queue, annotator: str, asked: Mapping[str, Any]) -> Queue:
        verdict = asked.get("verdict")
        if verdict not in VERDICTS:
            raise Refused(400, f"A verdict is one of {', '.join(VERDICTS)}.")
        key = str(queue.present)
        self._store.add(self._row(self.tasks[key], annotator, cast(Verdict, verdict)))
        return queue.judge()

    def _undo(self, queue: Queue, annotator: str) -> Queue:
        if queue.done and queue.done[-1][0] == "judged":
            self._store.take_back(queue.done[-1][1], annotator)
        return queue.undo()

    def _row(self, task: Task, annotator: str, verdict: Verdict) -> dict[str, Any]:
        """Return a judgement as a row of preference data: A is what stood first."""
        now = self._clock()
        key, since = self._shown.get(annotator, ("", now))
        first, second = task.shown(annotator, self._seed)
        named = {"model_a": first.source, "model_b": second.source}
        return {
            "prompt": plain(task.prompt),
            "response_a": plain(first.text),
            "response_b": plain(second.text),
            "winner": verdict,
            "annotator": annotator,
            "task": task.key,
            **({name: source for name, source in named.items()} if any(named.values()) else {}),
            **({"tools": [dict(tool) for tool in task.tools]} if task.tools else {}),
            "row": str(task.origin),
            **({"seconds": round(now - since, 1)} if key == task.key else {}),
            "judged": datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
        }

    def _state(self, queue: Queue, annotator: str) -> dict[str, Any]:
        key = queue.present
        told: dict[str, Any] = {
            "annotator": annotator,
            "judged": queue.judged,
            "skipped": len(queue.skipped),
            "total": len(self.tasks),
            "undo": bool(queue.done),
            "task": None,
        }
        if key is None:
            return {**told, "status": status(self._store.rows()).to_json()}
        if self._shown.get(annotator, ("",))[0] != key:
            self._shown[annotator] = (key, self._clock())
        task = self.tasks[key]
        first, second = task.shown(annotator, self._seed)
        return {
            **told,
            "task": key,
            "prompt": turns(task.prompt, "user" if isinstance(task.prompt, tuple) else "prompt"),
            "a": answers(first),
            "b": answers(second),
        }


def answers(response: Response) -> list[dict[str, str]]:
    """Return a response as a person sees it: without its thought."""
    text = response.text
    if isinstance(text, str):
        return turns(answer_of(text), "assistant")
    return turns(tuple({**turn, "content": answer_of(str(turn.get("content") or ""))} for turn in text), "assistant")


def turns(text: Text, role: str) -> list[dict[str, str]]:
    """Return a text as turns of {"role", "text"}, every character visible; plain text is one turn of `role`."""
    if isinstance(text, str):
        return [{"role": role, "text": _cut(text)}]
    return [{"role": visible(str(turn["role"])), "text": _cut(_said(turn))} for turn in text]


def _said(turn: Mapping[str, Any]) -> str:
    """Return what a turn says, and below it the calls and other fields that it holds, thoughts apart."""
    hidden = {"role", "content", "reasoning_content", "thinking"}
    more = {key: value for key, value in turn.items() if key not in hidden and value}
    said = str(turn.get("content") or "")
    return f"{said}\n{json.dumps(more, ensure_ascii=False, indent=2, default=str)}".strip("\n") if more else said


def _cut(text: str) -> str:
    text = visible(text)
    return (
        text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} … [{len(text) - LONGEST_TEXT:,} more characters]"
    )
