"""What reading did: how many rows, of which format, kept or not and why."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby

from ..records import Origin

EXAMPLES = 20
_SHOWN = 3
_KEPT = re.compile(r"([\d,]+) of ([\d,]+) rows? kept")


@dataclass
class Tally:
    """Rows that share a fate.

    Attributes:
        count: How many.
        examples: The first 20, each with what is wrong with it.
    """

    count: int = 0
    examples: list[tuple[Origin, str]] = field(default_factory=list)

    def add(self, origin: Origin, reason: str) -> None:
        """Count one more."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append((origin, reason))

    def __str__(self) -> str:
        """Return the count and the first few rows, as `4 rows (a.jsonl, rows 3, 8, 11, …)`."""
        rest = ", …" if self.count > _SHOWN else ""
        return f"{counted(self.count)} ({places(origin for origin, _ in self.examples[:_SHOWN])}{rest})"


@dataclass
class RowReport:
    """Filled while records are read.

    Attributes:
        formats: File → its format, in reading order.
        read: Rows seen; a repeated row of a weighted part counts each time.
        kept: Rows that became records.
        unreadable: Rows that break their format.
        unusable: Reason → rows that are well-formed and cannot be trained on.
        without_preference: Reason → ties, and rows without a winner or label.
    """

    formats: dict[str, str] = field(default_factory=dict)
    read: int = 0
    kept: int = 0
    unreadable: Tally = field(default_factory=Tally)
    unusable: dict[str, Tally] = field(default_factory=dict)
    without_preference: dict[str, Tally] = field(default_factory=dict)

    @property
    def unusable_count(self) -> int:
        """Unusable rows, whatever the reason."""
        return sum(tally.count for tally in self.unusable.values())

    @property
    def unusable_share(self) -> float:
        """Unusable rows among those that have a preference and could be read, in [0, 1]."""
        return self.unusable_count / max(1, self.unusable_count + self.kept)

    def lines(self) -> list[str]:
        """Return what is printed: each file's format, then what was kept, what was not, and why."""
        lines = [f"{file}: {name}" for file, name in self.formats.items()]
        lines.append(f"{self.kept:,} of {counted(self.read)} kept")
        lines += [f"  without a preference: {reason}, {tally}" for reason, tally in self.without_preference.items()]
        lines += [f"  unusable: {reason}, {tally}" for reason, tally in self.unusable.items()]
        if self.unreadable.count:
            lines.append(f"  unreadable: {self.unreadable}")
        return lines


def kept_of(lines: Iterable[str]) -> tuple[int, int] | None:
    """Return rows kept and rows read, as the lines of a `RowReport` say, which is all that a cache keeps of it.

    None where no line says so.
    """
    found = next((match for line in lines if (match := _KEPT.fullmatch(line))), None)
    return None if found is None else (int(found[1].replace(",", "")), int(found[2].replace(",", "")))


def counted(rows: int) -> str:
    """Return `1 row` or `1,204 rows`."""
    return f"{rows:,} row{'' if rows == 1 else 's'}"


def places(origins: Iterable[Origin]) -> str:
    """Return where rows are, each file named once: `a.jsonl, rows 3, 8; b.jsonl, row 1`."""
    parts = []
    for file, group in groupby(origins, key=lambda origin: origin.file):
        numbers = [str(origin.row) for origin in group]
        parts.append(f"{file}, row{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}")
    return "; ".join(parts)
