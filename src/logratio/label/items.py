"""What is to be judged: two responses to a prompt, of samples, rollouts, or preference data of any format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, groupby
from typing import Any

from ..config import DataPart, RowsConfig
from ..data.containers import BadRow, Item
from ..data.problems import RowProblem
from ..data.read import rows
from ..data.schema import Row, content_of
from ..data.source import read_records
from ..errors import DataError
from ..files import content_hash
from ..maths.counter import stream
from ..records import Origin, Pair, Ranked, Text


@dataclass(frozen=True, slots=True)
class Response:
    """A response, and what wrote it ("" unknown)."""

    text: Text
    source: str = ""


@dataclass(frozen=True)
class Task:
    """One pair to judge.

    Attributes:
        prompt: Plain text or chat messages.
        responses: The two, in an order that depends on their content alone, so that it tells nothing.
        tools: Tools that the prompt offers.
        origin: Row of the input.
    """

    prompt: Text
    responses: tuple[Response, Response]
    tools: tuple[Mapping[str, Any], ...] | None
    origin: Origin

    @cached_property
    def key(self) -> str:
        """Return a hash of prompt and responses; the same for the same pair in any file, in either order."""
        return content_hash("task", plain(self.prompt), *(plain(response.text) for response in self.responses))

    def shown(self, annotator: str, seed: int) -> tuple[Response, Response]:
        """Return the two as this person sees them, A then B: a fair coin of (seed, pair, annotator)."""
        first, second = self.responses
        swapped = stream(seed, "label", self.key, annotator).random() < 0.5
        return (second, first) if swapped else (first, second)


def plain(text: Text) -> str | list[dict[str, Any]]:
    """Return text as JSON holds it."""
    return text if isinstance(text, str) else [dict(turn) for turn in text]


def empty(text: Text) -> bool:
    """Return whether a response says nothing, so that no objective could learn from a judgement of it."""
    return isinstance(text, str) and not text.strip()


def read_tasks(parts: Sequence[DataPart], *, per_prompt: int = 1, seed: int = 0) -> list[Task]:
    """Return the pairs of the input in the order of its rows, each once; no pair has equal or empty responses.

    A row with `prompt` and `responses` gives `per_prompt` of its pairs, drawn by (seed, row's content); scores beside
    them are not read. Rows of any other format are read as training reads them, ties included.

    Args:
        parts: Files, folders or hub names.
        per_prompt: Pairs of one row with more than two responses, ≥ 1.
        seed: Of the draw.

    Raises:
        DataError: A row that cannot be read, or no pair at all.
    """
    found: dict[str, Task] = {}
    for part in parts:
        for _, items in groupby(rows(part), key=_file):
            for task in _tasks(list(items), per_prompt, seed):
                found.setdefault(task.key, task)
    if not found:
        names = ", ".join(part.path for part in parts)
        raise DataError(
            f"{names} holds no two different responses to one prompt, which is what a person compares; draw some with: "
            "logratio sample RUN --data prompts.jsonl --k 2 --output samples.jsonl"
        )
    return list(found.values())


def _file(item: Item) -> str:
    return (item.origin if isinstance(item, BadRow) else item[1]).file


def _tasks(items: list[Item], per_prompt: int, seed: int) -> Iterator[Task]:
    """Yield the pairs of one file."""
    sampled = [item for item in items if not isinstance(item, BadRow) and {"prompt", "responses"} <= item[0].keys()]
    if not sampled:
        yield from _judged(items, per_prompt, seed)
        return
    for item in items:
        if isinstance(item, BadRow):
            raise DataError(f"{item.origin}: {item.reason}")
        yield from _sampled(Row(*item), per_prompt, seed)


def _sampled(row: Row, per_prompt: int, seed: int) -> Iterator[Task]:
    """Yield pairs of the responses that were sampled for a prompt."""
    try:
        prompt, tools = row.prompt(), row.tools()
        texts = [content_of(value, f"responses.{index}") for index, value in enumerate(row.items("responses"))]
        sources = [""] * len(texts) if not row.has("models") else [str(name) for name in row.items("models")]
    except RowProblem as problem:
        raise DataError(f"{row.origin}: {problem}") from problem
    if len(sources) != len(texts):
        raise DataError(f"{row.origin}: {len(texts)} `responses` with {len(sources)} `models`, must be equally many")
    yield from _pairs(prompt, list(map(Response, texts, sources)), tools, row.origin, per_prompt, seed)


def _judged(items: list[Item], per_prompt: int, seed: int) -> Iterator[Task]:
    """Yield the pairs of rows that hold a preference already, without it."""
    bad = next((item for item in items if isinstance(item, BadRow)), None)
    if bad is not None:
        raise DataError(f"{bad.origin}: {bad.reason}")
    kept = [item for item in items if not isinstance(item, BadRow)]
    for record in read_records((values for values, _ in kept), RowsConfig(skip_bad_rows=True), ties=True):
        origin = kept[record.origin.row - 1][1]
        if isinstance(record, Pair):
            both = [Response(record.chosen), Response(record.rejected)]
        elif isinstance(record, Ranked):
            both = [Response(text) for text in record.responses]
        else:
            raise DataError(
                f"{origin}: holds fewer than two responses, and a person compares two; draw some with: "
                "logratio sample RUN --data FILE --k 2 --output samples.jsonl"
            )
        yield from _pairs(record.prompt, both, record.tools, origin, per_prompt, seed)


def _pairs(
    prompt: Text,
    responses: Sequence[Response],
    tools: tuple[Mapping[str, Any], ...] | None,
    origin: Origin,
    per_prompt: int,
    seed: int,
) -> Iterator[Task]:
    different = {content_hash(plain(one.text)): one for one in reversed(responses) if not empty(one.text)}
    ordered = [different[name] for name in sorted(different)]
    every = list(combinations(ordered, 2))
    if len(every) > per_prompt:
        drawn = stream(seed, "label pairs", content_hash(plain(prompt), sorted(different))).permutation(len(every))
        every = [every[at] for at in sorted(drawn[:per_prompt])]
    for pair in every:
        yield Task(prompt, pair, tools, origin)
