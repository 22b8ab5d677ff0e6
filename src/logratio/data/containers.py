"""One file → its rows, streamed: JSON Lines, JSON, CSV and Parquet, each also gzipped."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..records import Origin
from .jsonscan import LIMIT, Window, elements
from .problems import kind_of

_CHUNK = 1 << 16
_BATCH = 256
_GZIP_ERRORS = (EOFError, zlib.error, gzip.BadGzipFile)


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that could not be read at all.

    Attributes:
        origin: Where it is.
        reason: What is wrong with it.
    """

    origin: Origin
    reason: str


Stream = io.BufferedReader
Item = tuple[Mapping[str, Any], Origin] | BadRow


def readable(path: Path) -> bool:
    """Return whether the file's name ends as one that can be read: one of `SUFFIXES`, or one of them and `.gz`."""
    return _kind(path) in _READERS


def _kind(path: Path) -> str:
    return (path.with_suffix("") if path.suffix == ".gz" else path).suffix


def file_rows(path: Path, name: str) -> Iterator[Item]:
    """Yield the rows of one file in order; memory holds one row (Parquet: one row group) at a time.

    Rows are counted from 1: lines of JSON Lines, elements of a JSON list, rows under a CSV header. A gzip stream that
    breaks off ends in one `BadRow`.

    Args:
        path: A `readable` file; its suffix says what it is.
        name: How messages call it.

    Raises:
        DataError: The file cannot be opened, or is not what its suffix says.
    """
    read = _READERS[_kind(path)]
    last = 0
    with _opened(path, name) as stream:
        try:
            for item in read(stream, name):
                last = (item.origin if isinstance(item, BadRow) else item[1]).row
                yield item
        except _GZIP_ERRORS as error:
            yield BadRow(Origin(name, last + 1), f"the gzip stream is broken or truncated here ({error})")


def _opened(path: Path, name: str) -> Stream:
    try:
        return io.BufferedReader(gzip.open(path, "rb")) if path.suffix == ".gz" else open(path, "rb")
    except OSError as error:
        raise DataError(f"{name} could not be opened ({error.strerror}); check path and permissions.") from error


def _json(stream: Stream, name: str) -> Iterator[Item]:
    """Read a list, an object whose `data` is a list, or one object a line, whichever the content is."""
    window = Window(_decoded(stream))
    opening = window.peek()
    if opening == "[":
        window.until("[")
        yield from _json_list(window, name, after="")
    elif opening == "{" and _enter_data(window):
        yield from _json_list(window, name, after=",}")
    else:
        stream.seek(0)
        yield from _json_lines(stream, name)


def _lines_or_list(stream: Stream, name: str) -> Iterator[Item]:
    """Read one object a line, or the JSON list that some programs write under a name for lines."""
    opening = stream.peek(1).removeprefix(codecs.BOM_UTF8).lstrip()[:1]
    return _json(stream, name) if opening == b"[" else _json_lines(stream, name)


def _enter_data(window: Window) -> bool:
    """Move into the list under the first object's `data`; return whether there is one."""
    window.until("{")
    stop = ","
    while stop == ",":
        key, stop = window.until(":}")
        if stop == ":":
            is_data = key.strip() == '"data"'
            head, stop = window.until("[,}" if is_data else ",}", keep=is_data)
            if stop == "[":
                return not head.strip()
    return False


def _json_list(window: Window, name: str, after: str) -> Iterator[Item]:
    """Read the list that the window has entered; `after` holds the characters that may follow it."""
    number = 0
    for number, text in enumerate(elements(window), 1):
        if text is None:
            yield BadRow(Origin(name, number), "malformed JSON (the list breaks off here)")
            return
        yield _json_row(text.encode("utf-8", "surrogateescape"), Origin(name, number))
    if window.peek() not in after:
        yield BadRow(Origin(name, number + 1), "malformed JSON (more text after the end of the list)")


def _json_lines(stream: Stream, name: str) -> Iterator[Item]:
    for number, line in enumerate(stream, 1):
        body = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        if body.strip():
            yield _json_row(body, Origin(name, number))


def _json_row(body: bytes, origin: Origin) -> Item:
    try:
        value = json.loads(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        return BadRow(origin, _not_utf8(error))
    except json.JSONDecodeError as error:
        return BadRow(origin, f"malformed JSON ({error.msg} at character {error.pos + 1})")
    except (ValueError, RecursionError) as error:
        return BadRow(origin, f"malformed JSON ({error})")
    if not isinstance(value, dict):
        return BadRow(origin, f"holds {kind_of(value)}, must be an object with named fields")
    return value, origin


def _csv(stream: Stream, name: str) -> Iterator[Item]:
    csv.field_size_limit(LIMIT)
    with io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        reader = csv.reader(text, strict=True)
        header = _header(_next_cells(reader), name)
        number = 0
        while (cells := _next_cells(reader)) is not None:
            number += bool(cells)
            if isinstance(cells, str):
                yield BadRow(Origin(name, number), f"malformed CSV ({cells})")
            elif cells:
                yield _csv_row(header, cells, Origin(name, number))


def _header(cells: list[str] | str | None, name: str) -> list[str]:
    if isinstance(cells, str):
        raise DataError(f"{name}: the header is malformed CSV ({cells}); the first line must name the columns.")
    header = cells or []
    if problem := _badly_encoded(header):
        raise DataError(f"{name}: the header is {problem}; save the file in UTF-8.")
    if len(header) == 1 and (mark := next((mark for mark in ";\t|" if mark in header[0]), None)):
        shown = {"\t": "tabs"}.get(mark, f'"{mark}"')
        raise DataError(
            f'{name}: the header "{header[0]}" is one column, because its names are parted by {shown} and not by '
            "commas; save the file with commas."
        )
    if len(set(header)) < len(header):
        raise DataError(f"{name}: two columns of the header share a name ({', '.join(header)}); rename one.")
    return header


def _badly_encoded(cells: list[str]) -> str | None:
    try:
        "".join(cells).encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeDecodeError as error:
        return _not_utf8(error)
    return None


def _next_cells(reader: Iterator[list[str]]) -> list[str] | str | None:
    """Return the next row's cells (none for an empty line), what is wrong with it, or None at the end."""
    try:
        return next(reader, None)
    except csv.Error as error:
        return str(error)


def _csv_row(header: list[str], cells: list[str], origin: Origin) -> Item:
    if len(cells) != len(header):
        return BadRow(origin, f"malformed CSV ({len(cells)} cells under a header of {len(header)})")
    if problem := _badly_encoded(cells):
        return BadRow(origin, problem)
    return {column: _cell(column, cell) for column, cell in zip(header, cells, strict=True)}, origin


_LISTS = {"messages", "conversations", "conversation_a", "conversation_b", "context"}
_LISTS |= {"responses", "scores", "ranks", "tools", "summaries"}


def _cell(column: str, cell: str) -> Any:
    """A CSV cell is text, or JSON where its column always holds a list, or where it holds a list of messages."""
    if not cell.startswith("["):
        return cell
    try:
        value = json.loads(cell)
    except ValueError:
        return cell
    chat = bool(value) and all(isinstance(turn, dict) and ("role" in turn or "from" in turn) for turn in value)
    return value if chat or column in _LISTS else cell


def _parquet(stream: Stream, name: str) -> Iterator[Item]:
    import pyarrow
    import pyarrow.parquet

    with ExitStack() as stack:
        source: Any = stream
        if isinstance(stream.raw, gzip.GzipFile):  # Parquet is read from its end, which gzip cannot seek to
            source = stack.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(stream, source)
        try:
            file = pyarrow.parquet.ParquetFile(source)
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise DataError(f"{name} is no complete Parquet file ({error}); write or download it again.") from error
        number = 0
        for batch in file.iter_batches(batch_size=_BATCH):
            for at in range(batch.num_rows):
                number += 1
                yield _arrow_row(batch.slice(at, 1), Origin(name, number))


def _arrow_row(row: Any, origin: Origin) -> Item:
    try:
        return from_arrow(row.to_pylist()[0]), origin
    except UnicodeDecodeError as error:
        return BadRow(origin, _not_utf8(error))


def from_arrow(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of Arrow's without the nulls that it invents.

    Arrow gives each object of a list every field that any object of the column has; those it lacked are null.
    """
    return {key: _pruned(value) if isinstance(value, list) else value for key, value in row.items()}


def _pruned(value: Any) -> Any:
    if isinstance(value, list):
        return [_pruned(item) for item in value]
    if isinstance(value, dict):
        return {key: _pruned(item) for key, item in value.items() if item is not None}
    return value


def _decoded(stream: Stream) -> Iterator[str]:
    """Yield text in pieces; bytes that are not UTF-8 become lone surrogates, which the row they are in reports."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
    while chunk := stream.read(_CHUNK):
        yield decoder.decode(chunk)
    yield decoder.decode(b"", final=True)


def _not_utf8(error: UnicodeDecodeError) -> str:
    return (
        f"not UTF-8 (byte 0x{error.object[error.start]:02x} at position {error.start + 1}); convert the file to UTF-8"
    )


_READERS: dict[str, Callable[[Stream, str], Iterator[Item]]] = {
    ".jsonl": _lines_or_list,
    ".ndjson": _lines_or_list,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}

SUFFIXES = tuple(_READERS)
