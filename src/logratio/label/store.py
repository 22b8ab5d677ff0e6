"""Judgements on disk: a preference file that is right at every moment, whoever writes to it and whenever it is killed.

One line a judgement, written and flushed to disk before anybody is told that it counts. Undoing takes the line out
again, by a whole new file under the old name: what stands in the file is what was judged, so that any reader of
preferences understands it.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import DataError, LogratioError
from ..files import atomic_path

NEEDED = {"prompt", "response_a", "response_b", "winner"}
"""Columns by which a line is one of ours; `task` and `annotator` are looked at where they are."""


class Store:
    """The judgements of one file. Several processes and threads may hold it; each call locks it."""

    def __init__(self, path: Path) -> None:
        """Open a file, or begin one; half a line that a kill has left at its end is cut off.

        Raises:
            DataError: It holds something else than judgements.
            LogratioError: It cannot be written.
        """
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._rows: list[dict[str, Any]] = []
        with self._locked():
            self._mend()
            self._read()

    def rows(self) -> list[dict[str, Any]]:
        """Return every judgement, in the order in which they were made."""
        with self._locked():
            self._read()
            return list(self._rows)

    def judged_by(self, annotator: str) -> list[str]:
        """Return the keys of the tasks that a person judged, in order."""
        return [str(row["task"]) for row in self.rows() if row.get("annotator") == annotator and "task" in row]

    def add(self, row: dict[str, Any]) -> bool:
        """Put a judgement on disk; return False, and change nothing, where this person judged the task before.

        Raises:
            LogratioError: It could not be written; then it is not in the file either.
        """
        line = _line(row)
        with self._locked():
            self._mend()
            self._read()
            if any(_same(row, other) for other in self._rows):
                return False
            self._append(line)
            self._rows.append(json.loads(line))
            self._seen = self._state()
        return True

    def take_back(self, task: str, annotator: str) -> bool:
        """Take a person's judgement of a task out of the file; return False where there is none.

        Raises:
            LogratioError: The file could not be written; it is as it was.
        """
        with self._locked():
            self._mend()
            lines = self.path.read_bytes().splitlines(keepends=True)
            kept = [line for line in lines if not line.strip() or not _same(_row(line), _who(task, annotator))]
            if len(kept) == len(lines):
                return False
            with atomic_path(self.path) as temporary:
                temporary.write_bytes(b"".join(kept))
            return True

    def _append(self, line: bytes) -> None:
        size = self.path.stat().st_size
        try:
            with open(self.path, "ab", buffering=0) as file:
                if file.write(line) != len(line):
                    raise OSError("the disk took only a part of it")
                os.fsync(file.fileno())
        except OSError as error:
            os.truncate(self.path, size)
            raise LogratioError(
                f"{self.path} could not take the judgement ({error.strerror or error}); those before it are safe: "
                "free space, then judge it again."
            ) from error

    def _mend(self) -> None:
        """Begin the file where it is absent; end its last line, or cut it off where it is no whole one."""
        try:
            if not self.path.exists():
                with atomic_path(self.path) as temporary:
                    temporary.write_bytes(b"")
                _flush_folder(self.path.parent)
            content = self.path.read_bytes() if _ragged(self.path) else b"\n"
            if not content.endswith(b"\n"):
                begin = content.rfind(b"\n") + 1
                whole = _parsed(content[begin:]) is not None
                with open(self.path, "r+b") as file:
                    file.seek(0, os.SEEK_END)
                    file.write(b"\n") if whole else file.truncate(begin)
                    os.fsync(file.fileno())
        except OSError as error:
            raise LogratioError(
                f"{self.path} cannot be written ({error.strerror or error}); choose another file with --output."
            ) from error

    def _read(self) -> None:
        """Read the file where it is not as it was read last."""
        seen = self._state()
        if seen == self._seen:
            return
        rows = []
        for number, line in enumerate(self.path.read_bytes().splitlines(), 1):
            row = _parsed(line) if line.strip() else {}
            if row is None or (line.strip() and not row.keys() >= NEEDED):
                raise DataError(
                    f"{self.path}, row {number}: is no judgement ({', '.join(sorted(NEEDED))}), and judgements are not "
                    "added to another file; choose another one with --output."
                )
            rows += [row] if row else []
        self._rows, self._seen = rows, seen

    def _state(self) -> tuple[int, int, int]:
        """Return what changes when anybody writes to the file."""
        found = self.path.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the file alone, among threads and processes; the lock lives beside it and goes with the holder."""
        lock = self.path.with_name(f".{self.path.name}.lock")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise LogratioError(
                f"{self.path} cannot be written ({error.strerror or error}); choose another file with --output."
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _ragged(path: Path) -> bool:
    """Return whether a file has content that does not end in a new line."""
    with open(path, "rb") as file:
        if not file.seek(0, os.SEEK_END):
            return False
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"


def _flush_folder(folder: Path) -> None:
    """Put the name of a new file on disk, without which its content would be lost with the power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _line(row: dict[str, Any]) -> bytes:
    """Return a row as a line of JSON in UTF-8; half characters, which UTF-8 has not, are escaped."""
    return f"{json.dumps(row, ensure_ascii=False, allow_nan=False)}\n".encode(errors="backslashreplace")


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _row(line: bytes) -> dict[str, Any]:
    return _parsed(line) or {}


def _who(task: str, annotator: str) -> dict[str, Any]:
    return {"task": task, "annotator": annotator}


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one.get(field) is not None and one.get(field) == other.get(field) for field in ("task", "annotator"))
