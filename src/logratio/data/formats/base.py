"""What a format is: the columns by which it is known, and how a row of it becomes a record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...records import Record
from ..schema import Row

Sample = Sequence[Row]
"""The first rows of a file."""


@dataclass(frozen=True)
class Format:
    """An entry of the table of formats.

    Attributes:
        name: What is printed.
        columns: Columns it needs, each with its other spellings: a tuple of alternatives.
        build: A row → its record; raises a `RowProblem`.
        fits: Whether values agree, where columns alone do not settle it.
    """

    name: str
    columns: tuple[tuple[str, ...], ...]
    build: Callable[[Row], Record]
    fits: Callable[[Sample], bool] = lambda sample: True

    def matches(self, columns: set[str], sample: Sample) -> bool:
        """Return whether a file with these columns and first rows is of this format."""
        return self.needs(columns) and self.fits(sample)

    def needs(self, columns: set[str]) -> bool:
        """Return whether these columns are all that it needs, or more."""
        return all(columns & set(spellings) for spellings in self.columns)


def first_value(sample: Sample, column: str) -> Any:
    """Return the first value of a column that is not null, or None."""
    return next((row.values[column] for row in sample if row.has(column)), None)
