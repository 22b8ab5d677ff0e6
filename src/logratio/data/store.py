"""Tokenised rows on disk: checksummed shards, memory-mapped, opened when a row of them is read."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..batch.group import Columns, Group, Ints
from ..errors import DataError
from ..files import content_hash, read_shard, write_shard
from ..records import Origin
from .overflow import Lengths
from .tokenrows import TokenRow

Array = NDArray[Any]

_LARGE = frozenset(("tokens", "loss"))  # read row by row, each with its own checksum
_OPEN = 512  # shards mapped at once: each holds a file descriptor, and systems allow 1,024
SUMMARY = {"prompt_hash": np.uint64, "prompt_length": np.int32, "longest": np.int32, "needed": np.int32}
"""Columns that are known of every row before its shard is opened, with their types."""


def prompt_hash(prompt: Ints) -> int:
    """Return a 64-bit hash of a prompt's token ids, the same on every machine."""
    return int.from_bytes(blake2b(prompt.astype("<i4", copy=False).tobytes(), digest_size=8).digest(), "little")


def write_rows(path: Path, rows: Sequence[TokenRow], *, base: int, meta: dict[str, Any]) -> None:
    """Write rows as one shard; `base` is the data-set index of the first record of its batch."""
    files = {file: number for number, file in enumerate(sorted({row.origin.file for row in rows}))}
    arrays: dict[str, Array] = {
        "tokens": _joined([part for row in rows for part in (row.prompt, *row.responses)], np.int32),
        "loss": _joined([part for row in rows for part in (np.zeros(len(row.prompt), bool), *row.loss)], np.bool_),
        "edges": _joined([row.edges.reshape(-1) for row in rows], np.int32).reshape(-1, 2),
        "row": np.array([base + row.at for row in rows], np.int64),
        "file": np.array([files[row.origin.file] for row in rows], np.int32),
        "file_row": np.array([row.origin.row for row in rows], np.int64),
        "prompt_hash": np.array([prompt_hash(row.prompt) for row in rows], np.uint64),
        "prompt_length": np.array([len(row.prompt) for row in rows], np.int32),
        "response_length": np.array([len(ids) for row in rows for ids in row.responses], np.int32),
        "longest": np.array([max(map(len, row.responses)) for row in rows], np.int32),
        "needed": np.array([_needed(row) for row in rows], np.int32),
        "token_at": _starts([len(row.prompt) + sum(map(len, row.responses)) for row in rows]),
        "response_at": _starts([len(row.responses) for row in rows]),
        "edge_at": _starts([len(row.edges) for row in rows]),
    }
    for level in ("response", "edge"):
        for name in getattr(rows[0], level) if rows else ():
            arrays[f"{level}.{name}"] = _joined([getattr(row, level)[name] for row in rows], np.float32)
    cuts = arrays["token_at"]
    arrays["check"] = np.array(
        [_check(arrays, begin, end) for begin, end in zip(cuts[:-1], cuts[1:], strict=True)], np.uint32
    )
    write_shard(path, arrays, {**meta, "files": list(files), "content": content_hash(*arrays.values())})


def _joined(parts: Sequence[Array], dtype: Any) -> Array:
    return np.concatenate(parts).astype(dtype, copy=False) if parts else np.zeros(0, dtype)


def _starts(counts: Sequence[int]) -> Array:
    """Return where each of some runs begins, and where the last one ends: [n + 1] int64."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def _check(arrays: Mapping[str, Array], begin: int, end: int) -> int:
    """Return a checksum of one row's tokens and mask, cheap enough to be compared whenever the row is read."""
    return zlib.crc32(arrays["loss"][begin:end].data, zlib.crc32(arrays["tokens"][begin:end].data))


def _needed(row: TokenRow) -> int:
    """Return how many leading response tokens truncation must keep: a scored one each, and what tells two apart."""
    unscored = not len(row.prompt)  # then no distribution predicts the first token
    scored = [int(mask[unscored:].argmax()) + unscored for mask in row.loss]
    parted = [_first_difference(row.responses[winner], row.responses[loser]) for winner, loser in row.edges.tolist()]
    return max(scored + parted) + 1


def _first_difference(left: Ints, right: Ints) -> int:
    shorter = min(len(left), len(right))
    differ = left[:shorter] != right[:shorter]
    first = int(differ.argmax()) if shorter else 0
    return first if shorter and differ[first] else shorter


@dataclass(frozen=True)
class Shard:
    """One shard in use, memory-mapped.

    Attributes:
        path: Where it lies.
        arrays: As written by `write_rows`.
        meta: Files, content hash, and what the writer added.
    """

    path: Path
    arrays: dict[str, Array]
    meta: dict[str, Any]

    @classmethod
    def open(cls, path: Path, *, whole: bool = True) -> Shard | None:
        """Return the shard, or None where it is absent or damaged.

        Args:
            path: Its file.
            whole: Whether tokens and masks are read through now, rather than each row's when it is asked for.
        """
        found = read_shard(path, unchecked=() if whole else _LARGE)
        return None if found is None or "check" not in found[0] else cls(path, *found)

    def __len__(self) -> int:
        return len(self.arrays["row"])

    def group(self, at: int) -> Group:
        """Return row `at` as a group whose tokens are views of the mapped file.

        Raises:
            DataError: Its tokens are not those that were written.
        """
        arrays = self.arrays
        begin, end = arrays["token_at"][at : at + 2].tolist()
        if _check(arrays, begin, end) != arrays["check"][at]:
            raise damaged(self.path)
        responses = slice(*arrays["response_at"][at : at + 2].tolist())
        edges = slice(*arrays["edge_at"][at : at + 2].tolist())
        cut = begin + int(arrays["prompt_length"][at])
        tokens, loss = arrays["tokens"], arrays["loss"]
        prompt, spans = tokens[begin:cut], []
        for length in arrays["response_length"][responses].tolist():
            spans.append(slice(cut, cut + length))
            cut += length
        return Group(
            row=int(arrays["row"][at]),
            prompt=prompt,
            responses=tuple(tokens[span] for span in spans),
            loss=tuple(loss[span] for span in spans),
            edges=arrays["edges"][edges],
            columns=Columns(response=self._columns("response.", responses), edge=self._columns("edge.", edges)),
        )

    def _columns(self, level: str, part: slice) -> dict[str, Array]:
        return {name[len(level) :]: array[part] for name, array in self.arrays.items() if name.startswith(level)}


def damaged(path: Path) -> DataError:
    """Remove a shard that is not as it was written, so that the next run makes it anew; return what to say."""
    path.unlink(missing_ok=True)
    return DataError(f"cached tokens {path} are damaged or gone: run again, and they are made anew.")


@dataclass(frozen=True)
class Entry:
    """What is known of a shard while it is closed.

    Attributes:
        name: Its file's.
        state: Size and time of modification (ns) of the file when its checksums held.
        meta: As the shard's.
        summary: The columns of `SUMMARY`, [rows] each.
    """

    name: str
    state: tuple[int, int]
    meta: Mapping[str, Any]
    summary: Mapping[str, Array]

    @classmethod
    def of(cls, shard: Shard) -> Entry:
        """Return the entry of an open shard."""
        summary = {name: np.array(shard.arrays[name], dtype) for name, dtype in SUMMARY.items()}
        return cls(shard.path.name, _state(shard.path), shard.meta, summary)

    def __len__(self) -> int:
        return len(self.summary["prompt_hash"])

    def holds(self, folder: Path) -> bool:
        """Return whether the file is still the one whose checksums held."""
        try:
            return _state(folder / self.name) == self.state
        except OSError:
            return False


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def write_index(path: Path, entries: Sequence[Entry], meta: Mapping[str, Any]) -> None:
    """Write what is known of all shards as one file."""
    told = [{"name": each.name, "state": each.state, "meta": each.meta, "rows": len(each)} for each in entries]
    write_shard(path, _summary(entries), {"entries": told, "meta": dict(meta)})


def read_index(path: Path) -> tuple[list[Entry], dict[str, Any]] | None:
    """Return the shards' entries and what was told beside them, or None where the file is absent or damaged."""
    found = read_shard(path)
    if found is None:
        return None
    arrays, told = found
    entries, at = [], 0
    for each in told["entries"]:
        part = slice(at, at + each["rows"])
        summary = {name: array[part] for name, array in arrays.items()}
        entries.append(Entry(each["name"], tuple(each["state"]), each["meta"], summary))
        at = part.stop
    return entries, told["meta"]


def _summary(entries: Iterable[Entry]) -> dict[str, Array]:
    entries = list(entries)
    return {name: _joined([entry.summary[name] for entry in entries], dtype) for name, dtype in SUMMARY.items()}


class TokenStore:
    """Shards as one sequence of rows, in data order.

    Attributes:
        prompt_hash: [N] uint64, of each row's prompt.
        lengths: Of each row.
        content: Hash of all rows.
    """

    def __init__(self, folder: Path, entries: Sequence[Entry]) -> None:
        """Index the shards; none is opened, and lengths and hashes are all that is held in memory."""
        self._folder, self._entries = folder, [entry for entry in entries if len(entry)]
        self._ends = np.cumsum([len(entry) for entry in self._entries])
        self._opened: dict[int, Shard] = {}
        summary = _summary(self._entries)
        self.prompt_hash: NDArray[np.uint64] = summary["prompt_hash"]
        self.lengths = Lengths(summary["prompt_length"], summary["longest"], summary["needed"])
        self.content = content_hash([entry.meta["content"] for entry in self._entries])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> Group:
        shard, at = self._find(index)
        return shard.group(at)

    def origin(self, index: int) -> Origin:
        """Return where row `index` came from."""
        shard, at = self._find(index)
        return Origin(shard.meta["files"][shard.arrays["file"][at]], int(shard.arrays["file_row"][at]))

    def _find(self, index: int) -> tuple[Shard, int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = int(np.searchsorted(self._ends, index, side="right"))
        return self._shard(number), index - (int(self._ends[number - 1]) if number else 0)

    def _shard(self, number: int) -> Shard:
        shard = self._opened.get(number)
        if shard is None:
            path = self._folder / self._entries[number].name
            shard = Shard.open(path, whole=False)
            if shard is None or shard.meta["content"] != self._entries[number].meta["content"]:
                raise damaged(path)
            if len(self._opened) >= _OPEN:
                del self._opened[next(iter(self._opened))]
            self._opened[number] = shard
        return shard
