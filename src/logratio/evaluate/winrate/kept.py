"""Rows kept in a file as they come about, each under the hash of what it depends on: nothing is made twice."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ...errors import RunError

Row = Mapping[str, Any]


class Kept:
    """The rows of a JSONL file by their field `key`; a context that alone writes to the file.

    A kill loses at most the line that was being written: on opening, what follows the last whole line is cut off.
    """

    def __init__(self, path: Path, option: str = "--output") -> None:
        self._path, self._option = path, option
        self._rows: dict[str, Row] = {}

    def __enter__(self) -> Kept:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self._path, "a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise RunError(
                f"{self._path} is being written by another process; wait for it, or name another place with "
                f"{self._option}."
            ) from None
        self._file.seek(0)
        content = self._file.read()
        whole = content.rfind(b"\n") + 1
        self._file.truncate(whole)
        for line in content[:whole].splitlines():
            self._take(line)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def __getitem__(self, key: str) -> Row:
        return self._rows[key]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def add(self, rows: Iterable[Row]) -> None:
        """Keep rows; they are on disk when this returns.

        Raises:
            RunError: The disk is full, or the file cannot be written.
        """
        new = [row for row in rows if row["key"] not in self._rows]
        text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in new)
        try:
            self._file.write(text.encode("utf-8", "backslashreplace"))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise RunError(
                f"{self._path} could not be written ({error.strerror}); free space or choose another place with "
                f"{self._option}, then run the same command again: what was kept is not made again."
            ) from error
        self._rows |= {row["key"]: row for row in new}

    def _take(self, line: bytes) -> None:
        """Take a line; one that is no row with a key is as if it were absent, and is made again."""
        try:
            row = json.loads(line)
        except ValueError:
            return
        if isinstance(row, dict) and isinstance(row.get("key"), str):
            self._rows[row["key"]] = row
