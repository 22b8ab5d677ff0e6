"""Tokenised rows on disk: checksummed shards, memory-mapped, read one group at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..batch.group import Columns, Group, Ints
from ..files import content_hash, read_shard, write_shard
from ..records import Origin
from .overflow import Lengths
from .tokenize import TokenRow

Array = NDArray[Any]


def prompt_hash(prompt: Ints) -> int:
    """Return a 64-bit hash of a prompt's token ids, the same on every machine."""
    return int.from_bytes(blake2b(prompt.astype("<i4").tobytes(), digest_size=8).digest(), "little")


def write_rows(path: Path, rows: Sequence[TokenRow], *, base: int, meta: dict[str, Any]) -> None:
    """Write rows as one shard; `base` is the data-set index of the first record of its batch."""
    files = sorted({row.origin.file for row in rows})
    arrays: dict[str, Array] = {
        "tokens": _joined([part for row in rows for part in (row.prompt, *row.responses)], np.int32),
        "loss": _joined([part for row in rows for part in (np.zeros(len(row.prompt), bool), *row.loss)], np.bool_),
        "edges": _joined([row.edges.reshape(-1) for row in rows], np.int32).reshape(-1, 2),
        "row": np.array([base + row.at for row in rows], np.int64),
        "file": np.array([files.index(row.origin.file) for row in rows], np.int32),
        "file_row": np.array([row.origin.row for row in rows], np.int64),
        "prompt_hash": np.array([prompt_hash(row.prompt) for row in rows], np.uint64),
        "prompt_length": np.array([len(row.prompt) for row in rows], np.int64),
        "response_length": np.array([len(ids) for row in rows for ids in row.responses], np.int64),
        "responses": np.array([len(row.responses) for row in rows], np.int64),
        "comparisons": np.array([len(row.edges) for row in rows], np.int64),
        "needed": np.array([_needed(row) for row in rows], np.int64),
    }
    for level in ("response", "edge"):
        for name in getattr(rows[0], level) if rows else ():
            arrays[f"{level}.{name}"] = _joined([getattr(row, level)[name] for row in rows], np.float32)
    write_shard(path, arrays, {**meta, "files": files, "content": content_hash(*arrays.values())})


def _joined(parts: Sequence[Array], dtype: Any) -> Array:
    return np.concatenate(parts).astype(dtype, copy=False) if parts else np.zeros(0, dtype)


def _needed(row: TokenRow) -> int:
    """Return how many leading response tokens truncation must keep: a scored one each, and what tells two apart."""
    unscored = not len(row.prompt)  # then no distribution predicts the first token
    scored = [int(np.argmax(mask[unscored:])) + unscored for mask in row.loss]
    parted = [_first_difference(row.responses[winner], row.responses[loser]) for winner, loser in row.edges]
    return max(scored + parted) + 1


def _first_difference(left: Ints, right: Ints) -> int:
    shorter = min(len(left), len(right))
    differ = left[:shorter] != right[:shorter]
    return int(np.argmax(differ)) if differ.any() else shorter


@dataclass(frozen=True)
class Shard:
    """One shard in use: small arrays in memory, tokens and mask mapped.

    Attributes:
        arrays: As written by `write_rows`.
        meta: Files, content hash, and what the writer added.
        token_at, response_at, edge_at: Where each row's tokens, responses and edges begin, [G].
    """

    arrays: dict[str, Array]
    meta: dict[str, Any]
    token_at: Array
    response_at: Array
    edge_at: Array

    @classmethod
    def open(cls, path: Path) -> Shard | None:
        """Return the shard, or None where it is absent or damaged."""
        found = read_shard(path)
        if found is None:
            return None
        arrays, meta = found
        arrays = {name: array if name in ("tokens", "loss") else np.array(array) for name, array in arrays.items()}
        response_at = _starts(arrays["responses"])
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(arrays["response_length"])])
        tokens = arrays["prompt_length"] + ends[response_at + arrays["responses"]] - ends[response_at]
        return cls(arrays, meta, _starts(tokens), response_at, _starts(arrays["comparisons"]))

    def __len__(self) -> int:
        return len(self.arrays["row"])

    @property
    def longest(self) -> Array:
        """Tokens of each row's longest response, [G]."""
        return np.maximum.reduceat(self.arrays["response_length"], self.response_at) if len(self) else np.zeros(0, int)

    def group(self, at: int) -> Group:
        """Return row `at` as a group whose tokens are views of the mapped file."""
        arrays = self.arrays
        responses = slice(self.response_at[at], self.response_at[at] + arrays["responses"][at])
        edges = slice(self.edge_at[at], self.edge_at[at] + arrays["comparisons"][at])
        lengths = (arrays["prompt_length"][at], *arrays["response_length"][responses])
        cuts = np.cumsum((self.token_at[at], *lengths))
        spans = [slice(begin, end) for begin, end in zip(cuts[:-1], cuts[1:], strict=True)]
        return Group(
            row=int(arrays["row"][at]),
            prompt=np.asarray(arrays["tokens"][spans[0]]),
            responses=tuple(np.asarray(arrays["tokens"][span]) for span in spans[1:]),
            loss=tuple(np.asarray(arrays["loss"][span]) for span in spans[1:]),
            edges=arrays["edges"][edges],
            columns=Columns(response=self._columns("response.", responses), edge=self._columns("edge.", edges)),
        )

    def _columns(self, level: str, part: slice) -> dict[str, Array]:
        return {name[len(level) :]: array[part] for name, array in self.arrays.items() if name.startswith(level)}


def _starts(counts: Array) -> Array:
    return np.cumsum(counts) - counts


class TokenStore:
    """Shards as one sequence of rows, in data order."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        """Index the shards; nothing but lengths and hashes is held in memory."""
        self._shards = [shard for shard in shards if len(shard)]
        self._ends = np.cumsum([len(shard) for shard in self._shards])
        self.prompt_hash: NDArray[np.uint64] = self._column("prompt_hash", np.uint64)
        longest = [shard.longest for shard in self._shards]
        self.lengths = Lengths(
            prompt=self._column("prompt_length", np.int64),
            longest=_joined(longest, np.int64),
            needed=self._column("needed", np.int64),
        )
        self.content = content_hash([shard.meta["content"] for shard in self._shards])

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
        return self._shards[number], index - (int(self._ends[number - 1]) if number else 0)

    def _column(self, name: str, dtype: Any) -> Array:
        return _joined([shard.arrays[name] for shard in self._shards], dtype)
