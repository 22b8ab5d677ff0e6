"""Tokens kept by content: the same data, tokenizer and rules are tokenised once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from ..config import DataPart
from ..errors import LogratioError
from ..files import cache_root, content_hash, sha256_file, write_json
from ..records import Record
from .store import Shard, TokenStore, write_rows
from .template import Tokenizer
from .tokenize import Encoder, TokenTally

_FORMAT = 2  # counts changes to what is stored, or to how records become tokens
_SHARD = 4096  # records to a shard


class Records(Protocol):
    """Records that can be read more than once."""

    lines: list[str]

    def __iter__(self) -> Iterator[Record]:
        """Read from the start; `lines` is what there is to say of a pass that reached the end."""


@dataclass
class Cached:
    """Tokenised rows and how they came about.

    Attributes:
        store: The rows.
        tally: What tokenising met.
        source: The reader's lines.
        choices: What was decided by looking at the data, as the template's values.
        notes: Remarks on damaged shards.
    """

    store: TokenStore
    tally: TokenTally
    source: list[str]
    choices: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def tokenizer_key(tokenizer: Tokenizer) -> str:
    """Return a hash of all that decides what a text's tokens are, the chat template included."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    for state in ("padding", "truncation"):  # left behind by the last call, and not used here
        backend.pop(state, None)
    special = [tokenizer.bos_token_id, tokenizer.eos_token_id, sorted(set(tokenizer.all_special_ids))]
    return content_hash(_FORMAT, backend, special, tokenizer.chat_template)


def source_key(data: Any, records: Iterable[Record]) -> str:
    """Return a hash of the data's content: of its files' bytes where all parts lie here, else of its records."""
    if isinstance(data, tuple) and all(isinstance(part, DataPart) for part in data):
        contents = [_content(Path(part.path).expanduser()) for part in data]
        if all(contents):
            return content_hash([part.model_dump(exclude={"path"}) for part in data], contents)
    digest = hashlib.sha256()
    for record in records:
        digest.update(repr(record).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _content(path: Path) -> list[list[str]]:
    """Return suffixes and hash of a file, or name and hash of every file of a folder; empty if there is neither."""
    if path.is_file():
        return [["".join(path.suffixes), sha256_file(path)]]
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else []
    return [[str(each.relative_to(path)), sha256_file(each)] for each in files]


def cached_rows(key: str, records: Records, make: Callable[[], tuple[Encoder, dict[str, Any]]]) -> Cached:
    """Return the rows under `key`, tokenising what is missing or damaged.

    Args:
        key: Hash of everything that the tokens depend on.
        records: Read only where tokens are missing.
        make: Gives the encoder, and the choices that it embodies, to be kept beside the tokens.
    """
    folder = cache_root() / "tokens" / key
    index = _index(folder)
    if index is not None:
        shards = [Shard.open(_path(folder, number)) for number in range(index["shards"])]
        whole = [shard for shard in shards if shard is not None]
        if len(whole) == len(shards):
            return _cached(whole, index, [])
    made, notes, index = _tokenised(folder, records, make)
    return _cached(made, index, notes)


def _tokenised(
    folder: Path, records: Records, make: Callable[[], tuple[Encoder, dict[str, Any]]]
) -> tuple[list[Shard], list[str], dict[str, Any]]:
    """Write the shards that are not there, in data order, then the index; what is there and whole is kept."""
    encoder, choices = make()
    shards: list[Shard] = []
    notes = []
    reading = iter(records)
    while batch := list(islice(reading, _SHARD)):
        path = _path(folder, len(shards))
        shard = Shard.open(path)
        if shard is None:
            if path.exists():
                notes.append(f"cached tokens {path} were damaged; made again")
            shard = _written(path, encoder, batch, base=len(shards) * _SHARD)
        shards.append(shard)
    index = {"shards": len(shards), "source": records.lines, "choices": choices}
    write_json(folder / "index.json", index)
    return shards, notes, index


def _written(path: Path, encoder: Encoder, batch: list[Record], *, base: int) -> Shard:
    tally = TokenTally()
    write_rows(path, encoder.rows(batch, tally), base=base, meta={"tally": tally.plain()})
    shard = Shard.open(path)
    if shard is None:
        raise LogratioError(f"{path} was written and cannot be read back: check the disk, then run again.")
    return shard


def _cached(shards: list[Shard], index: dict[str, Any], notes: list[str]) -> Cached:
    tally = TokenTally()
    for shard in shards:
        tally.add(TokenTally.from_plain(shard.meta["tally"]))
    return Cached(TokenStore(shards), tally, index["source"], index["choices"], notes)


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.shard"


def _index(folder: Path) -> dict[str, Any] | None:
    try:
        index: dict[str, Any] = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return index
