"""Files that are whole or absent: atomic writes, checksummed shards, and the cache folder."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from .errors import LogratioError

Arrays = Mapping[str, NDArray[Any]]
_ALIGN = 64
_CHUNK = 1 << 22
_RACY = 2_000_000_000  # ns: the coarsest times that file systems keep


def cache_root() -> Path:
    """Return the folder of caches: `$LOGRATIO_CACHE`, else `logratio` in the XDG cache folder."""
    own = os.environ.get("LOGRATIO_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "logratio"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; what is written there appears under `path` whole, or not at all.

    Raises:
        LogratioError: The folder is not writable, or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise _unwritten(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the name `path` once it is complete and on disk, in place of an earlier one.

    A kill leaves the earlier folder, or, in the instant between two renames, both under hidden names.

    Raises:
        LogratioError: The place is not writable, or the disk is full.
    """
    mark = uuid.uuid4().hex[:8]
    new, old = path.with_name(f".{path.name}.{mark}.tmp"), path.with_name(f".{path.name}.{mark}.old")
    try:
        new.mkdir(parents=True)
        yield new
        for part in (*new.rglob("*"), new):
            _flush(part)
        if path.exists():
            os.replace(path, old)
        os.replace(new, path)
        _flush(path.parent)
    except (OSError, SafetensorError) as error:
        raise _unwritten(path, error) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritten(path: Path, error: Exception) -> LogratioError:
    why = getattr(error, "strerror", None) or error
    return LogratioError(
        f"{path} could not be written ({why}); nothing before it is lost: "
        "free space or choose another output folder, then resume."
    )


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN and infinities are refused."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def write_rows(path: Path, rows: Iterable[Any]) -> None:
    """Write `rows` as JSON Lines, atomically; NaN and infinities are refused.

    Half of a surrogate pair, which UTF-8 does not have, is written as JSON's own escape and comes back as it was.
    """
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", errors="backslashreplace") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def read_rows(path: Path) -> list[Any]:
    """Return the rows of a JSONL file. A line ends at a newline alone: a text may hold any other separator as it is.

    Raises:
        OSError: It cannot be read.
        ValueError: A line is no JSON.
    """
    with open(path, encoding="utf-8", newline="\n") as lines:
        return [json.loads(line) for line in lines]


def sha256_file(path: Path) -> str:
    """Return the hex SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def remembered_sha256(path: Path) -> str:
    """Return the hex SHA-256 of a file's content, from memory where the file is as it was when it was last read.

    What is compared is the resolved path, size, and times of modification and of change, to the nanosecond. A file
    modified less than 2 s before it was read is not remembered: another write could leave it with the same times.

    Raises:
        OSError: The file cannot be read.
    """
    path, begun = path.resolve(), time.time_ns()
    state = _state(path)
    note = cache_root() / "hashes" / f"{content_hash(str(path))}.json"
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
        if known["state"] == state:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    digest = sha256_file(path)
    if state["mtime_ns"] < begun - _RACY and _state(path) == state:
        with suppress(LogratioError):  # a cache that cannot be written costs time, no run
            write_json(note, {"path": str(path), "state": state, "sha256": digest})
    return digest


def _state(path: Path) -> dict[str, int]:
    found = path.stat()
    return {"size": found.st_size, "mtime_ns": found.st_mtime_ns, "ctime_ns": found.st_ctime_ns}


def content_hash(*parts: Any) -> str:
    """Return a 32-digit hash of JSON-able parts and arrays, the same on every machine."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            body = f"{part.dtype.str}{part.shape}".encode() + np.ascontiguousarray(part).tobytes()
        else:
            body = json.dumps(part, sort_keys=True, ensure_ascii=True).encode()
        digest.update(len(body).to_bytes(8, "little"))
        digest.update(body)
    return digest.hexdigest()[:32]


def write_shard(path: Path, arrays: Arrays, meta: Mapping[str, Any] | None = None) -> None:
    """Write named arrays behind a JSON header with their checksums, atomically.

    Two writers of one shard may do the work twice; they never corrupt it.
    """
    bodies = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    fields, at = {}, 0
    for name, array in bodies.items():
        fields[name] = {"dtype": array.dtype.str, "shape": list(array.shape), "at": at, "sha256": _sha256(array)}
        at += -(-array.nbytes // _ALIGN) * _ALIGN
    told = json.dumps(dict(meta or {}))
    header = json.dumps({"fields": fields, "meta": told, "sha256": hashlib.sha256(told.encode()).hexdigest()}).encode()
    header += b" " * (-(len(header) + 8) % _ALIGN)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for array in bodies.values():
            file.write(_bytes(array))
            file.write(bytes(-array.nbytes % _ALIGN))


def read_shard(path: Path, *, unchecked: Collection[str] = ()) -> tuple[dict[str, NDArray[Any]], dict[str, Any]] | None:
    """Return (memory-mapped arrays, meta), or None where the shard is absent or a checksum fails.

    The caller says so in a line and makes the shard again.

    Args:
        path: Where `write_shard` wrote it.
        unchecked: Arrays whose content is not read here, because the caller checks what it takes of them.
    """
    try:
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
        if hashlib.sha256(header["meta"].encode()).hexdigest() != header["sha256"]:
            return None
        mapped = np.memmap(path, dtype=np.uint8, mode="r")  # once: every mapping holds a file descriptor
        arrays = {name: _mapped(mapped, 8 + size, field) for name, field in header["fields"].items()}
        whole = all(_sha256(arrays[name]) == header["fields"][name]["sha256"] for name in arrays.keys() - unchecked)
        return (arrays, json.loads(header["meta"])) if whole else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, MemoryError, OverflowError):
        return None


def _sha256(array: NDArray[Any]) -> str:
    return hashlib.sha256(_bytes(array)).hexdigest()


def _bytes(array: NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _mapped(mapped: NDArray[np.uint8], base: int, field: Mapping[str, Any]) -> NDArray[Any]:
    dtype, shape, at = np.dtype(field["dtype"]), tuple(field["shape"]), base + field["at"]
    array: NDArray[Any] = mapped[at : at + dtype.itemsize * math.prod(shape)].view(dtype).reshape(shape)
    return np.asarray(array)
