"""The prompts that models answer, each with the other fields of its row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from ...config import DataPart
from ...data.containers import BadRow
from ...data.formats import sniff
from ...data.problems import NoPreference, Unreadable, Unusable
from ...data.read import rows, rows_of
from ...data.schema import PROMPTS, Row
from ...errors import DataError
from ...files import content_hash
from ...records import Origin, Prompt, Text


@dataclass(frozen=True)
class Question:
    """A prompt to be answered.

    Attributes:
        prompt: The prompt, with its tools.
        row: The other fields of its row, which judges and tables read.
    """

    prompt: Prompt
    row: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Hash of what a model sees."""
        return content_hash(as_json(self.prompt.prompt), list(map(dict, self.prompt.tools or ())))


def as_json(prompt: Text) -> str | list[dict[str, Any]]:
    """Return a prompt as JSON holds it."""
    return prompt if isinstance(prompt, str) else [dict(turn) for turn in prompt]


def read_questions(data: str | Path | Iterable[Mapping[str, Any] | str], limit: int | None = None) -> list[Question]:
    """Read prompts from a file, folder or hub name in any format of preference data, or from rows or texts.

    Of equal prompts the first is taken: a model answers them alike.

    Args:
        data: What to read. A row's `prompt` is its prompt; a row without one is read as preference data is.
        limit: Take this many prompts at most, the first ones.

    Raises:
        DataError: There is no prompt, or a row cannot be read.
    """
    if isinstance(data, (str, Path)):
        items = rows(DataPart(path=str(data)))
    else:
        items = rows_of([{"prompt": row} if isinstance(row, str) else row for row in data], "prompts")
    found: dict[str, Question] = {}
    for item in items:
        if isinstance(item, BadRow):
            raise DataError(f"{item.origin} {item.reason}; mend that row or leave it out.")
        question = _question(*item)
        found.setdefault(question.key, question)
        if limit is not None and len(found) == limit:
            break
    if not found:
        raise DataError(f"{data if isinstance(data, (str, Path)) else 'prompts'} holds no prompt; give some rows.")
    return list(islice(found.values(), limit))


def _question(values: Mapping[str, Any], origin: Origin) -> Question:
    row = Row(values, origin)
    try:
        if any(row.has(name) for name in PROMPTS):
            prompt = Prompt(prompt=row.prompt(), tools=row.tools(), origin=origin)
        else:
            record = sniff([row]).build(row)
            prompt = Prompt(prompt=record.prompt, tools=record.tools, origin=origin)
    except (Unreadable, Unusable, NoPreference) as problem:
        raise DataError(f"{origin} holds no prompt: {problem}; mend that row or leave it out.") from None
    return Question(prompt, {name: value for name, value in values.items() if name not in PROMPTS})


def categories(questions: Sequence[Question], name: str | None) -> list[str | None]:
    """Return each prompt's value of a field as text; None where it has none.

    Raises:
        DataError: No prompt has the field.
    """
    if name is None:
        return [None] * len(questions)
    found = [question.row.get(name) for question in questions]
    if all(value is None for value in found):
        raise DataError(f'no prompt has the field "{name}"; name one of: {_fields(questions)}')
    return [None if value is None else str(value) for value in found]


def numbers(questions: Sequence[Question], name: str) -> list[float]:
    """Return each prompt's value of a field as a number.

    Raises:
        DataError: A prompt has none.
    """
    values = []
    for question in questions:
        value = question.row.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
            raise DataError(
                f"{question.prompt.origin}: `{name}` is {value!r}, must be a number to control for it; "
                "give each prompt one, or leave the option out."
            )
        values.append(float(value))
    return values


def _fields(questions: Sequence[Question]) -> str:
    return ", ".join(sorted({name for question in questions for name in question.row})) or "there are none"
