"""From files or any iterable of dicts to records, with an account of the rows that yield none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, groupby
from typing import Any

from ..config import DataPart, RowsConfig
from ..errors import DataError
from ..records import Origin, Pair, Record
from .containers import BadRow, Item
from .formats import FIELDS, sniff
from .formats.base import Format
from .mapping import check_map, mapped
from .problems import BOTH_BAD, TIE, NoPreference, Unreadable, Unusable
from .read import rows, rows_of
from .schema import Row
from .tally import RowReport, Tally, counted

SAMPLE = 64
"""Rows of a file from which its format is found."""

Dropped = Callable[[Origin, str], None]
"""Told of each row that yields no record, and why."""


def read_records(
    data: tuple[DataPart, ...] | Iterable[Mapping[str, Any]],
    config: RowsConfig,
    *,
    ties: bool = False,
    both_bad: bool = False,
    dropped: Dropped | None = None,
) -> RecordStream:
    """Return the records of a recipe's data, or of an iterable of dicts such as a `datasets.Dataset`.

    Args:
        data: What to read.
        config: How rows become records.
        ties: Whether pairs that people called a tie are records too.
        both_bad: Whether pairs of which people called both bad are, whatever `ties` says.
        dropped: Told of each row that yields no record.

    Raises:
        ConfigError: `rows.map` names a field that no format reads.
    """
    check_map(config.map, FIELDS)
    return RecordStream(data, config, ties=ties, both_bad=both_bad, dropped=dropped)


class RecordStream:
    """Records in the order of their rows. Iterating again reads again and starts a new report.

    Ties (unless asked for) and rows without a winner yield no record; they are counted in the report, and so are
    unusable rows.

    Attributes:
        report: What was read so far.
    """

    def __init__(
        self,
        data: tuple[DataPart, ...] | Iterable[Mapping[str, Any]],
        config: RowsConfig,
        *,
        ties: bool = False,
        both_bad: bool = False,
        dropped: Dropped | None = None,
    ) -> None:
        self._data = data
        self._config = config
        self._taken = {None} | ({"tie", "both_bad"} if ties else set()) | ({"both_bad"} if both_bad else set())
        self._dropped = dropped
        self.report = RowReport()

    def __iter__(self) -> Iterator[Record]:
        """Yield records one by one.

        After the first unreadable row nothing more is yielded unless `skip_bad_rows` is set; the rest is read to its
        end, so that the error can list what is wrong.

        Raises:
            DataError: At once: a file that is absent or of an unknown format. At the end: unreadable rows, more
                unusable rows than `max_bad_rows` allows, or no usable row at all.
        """
        self.report = RowReport()
        for _, items in groupby(self._items(), key=_file):
            for record in self._file_records(items):
                if self._config.skip_bad_rows or not self.report.unreadable.count:
                    yield record
        self._judge()

    def _items(self) -> Iterator[Item]:
        if isinstance(self._data, tuple) and all(isinstance(part, DataPart) for part in self._data):
            return chain.from_iterable([rows(part) for part in self._data])  # a list: all paths are checked first
        return rows_of(self._data)

    def _file_records(self, items: Iterator[Item]) -> Iterator[Record]:
        """Yield the records of one file: its first rows decide on the format of all."""
        sample: list[Row] = []
        for item in items:
            self.report.read += 1
            if row := self._row(item):
                sample.append(row)
            if len(sample) == SAMPLE:
                break
        if not sample:
            return
        entry = sniff(sample)
        self.report.formats[sample[0].origin.file] = entry.name
        for row in sample:
            yield from self._records(row, entry)
        for item in items:
            self.report.read += 1
            if row := self._row(item):
                yield from self._records(row, entry)

    def _row(self, item: Item) -> Row | None:
        if isinstance(item, BadRow):
            self._count(self.report.unreadable, item.origin, item.reason)
            return None
        values, origin = item
        return Row(mapped(values, self._config.map), origin)

    def _records(self, row: Row, entry: Format) -> Iterator[Record]:
        """Yield the row's record, or count why there is none."""
        try:
            row.refuse_media()
            record = entry.build(row)
        except Unreadable as problem:
            self._count(self.report.unreadable, row.origin, str(problem))
        except Unusable as problem:
            self._count(_tally(self.report.unusable, str(problem)), row.origin, str(problem))
        except NoPreference as problem:
            self._count(_tally(self.report.without_preference, str(problem)), row.origin, str(problem))
        else:
            if isinstance(record, Pair) and record.tie not in self._taken:
                reason = TIE if record.tie == "tie" else BOTH_BAD
                self._count(_tally(self.report.without_preference, reason), row.origin, reason)
            else:
                self.report.kept += 1
                yield record

    def _count(self, tally: Tally, origin: Origin, reason: str) -> None:
        tally.add(origin, reason)
        if self._dropped:
            self._dropped(origin, reason)

    def _judge(self) -> None:
        """Raise where the rows as a whole cannot be trained on."""
        report, config = self.report, self._config
        if report.unreadable.count and not config.skip_bad_rows:
            raise DataError(_unreadable(report))
        if report.unusable_share > config.max_bad_rows and not config.skip_bad_rows:
            reasons = "; ".join(f"{reason}, {tally}" for reason, tally in report.unusable.items())
            raise DataError(
                f"{counted(report.unusable_count)} ({report.unusable_share:.1%}) cannot be trained on, and "
                f"--max-bad-rows allows {config.max_bad_rows:.1%}: {reasons}; repair them, raise --max-bad-rows, or "
                "leave them out whatever their number with --skip-bad-rows."
            )
        if not report.kept and report.unreadable.count:
            raise DataError(_unreadable(report))
        if not report.kept:
            account = "; ".join(line.strip() for line in report.lines()) if report.read else "there is none at all"
            raise DataError(f"no row can be trained on ({account}); bring data with at least one complete row.")


def _file(item: Item) -> str:
    return (item.origin if isinstance(item, BadRow) else item[1]).file


def _tally(reasons: dict[str, Tally], reason: str) -> Tally:
    return reasons.setdefault(reason, Tally())


def _unreadable(report: RowReport) -> str:
    tally = report.unreadable
    listed = [f"  {origin}: {reason}" for origin, reason in tally.examples]
    rest = tally.count - len(listed)
    listed += [f"  … and {rest:,} more"] if rest else []
    head = (
        f"{tally.count:,} of {report.read:,} rows cannot be read; repair them or leave them out with --skip-bad-rows:"
    )
    return "\n".join([head, *listed])
