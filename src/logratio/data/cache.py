"""Tokens kept by content: the same data, tokenizer and rules are tokenised once."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Protocol

from ..config import DataPart
from ..errors import LogratioError
from ..files import cache_root, content_hash, remembered_sha256
from ..records import Record
from .parts import Part, next_part
from .store import Entry, Shard, TokenStore, read_index, write_index, write_rows
from .template import Tokenizer
from .tokenize import Encoder, TokenisedPart
from .tokenrows import TokenTally

_FORMAT = 4  # counts changes to what is stored, or to how records become tokens
_SHARD = 4096  # records to a shard
_INDEX = "rows.index"


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
    backend = tokenizer.backend_tokenizer
    backend.no_padding()  # left behind by the last call, and not used here
    backend.no_truncation()
    special = [tokenizer.bos_token_id, tokenizer.eos_token_id, sorted(set(tokenizer.all_special_ids))]
    return content_hash(_FORMAT, backend.to_str(), special, tokenizer.chat_template)


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
        return [["".join(path.suffixes), remembered_sha256(path)]]
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else []
    return [[str(each.relative_to(path)), remembered_sha256(each)] for each in files]


def cached_rows(key: str, records: Records, make: Callable[[], tuple[Encoder, dict[str, Any]]]) -> Cached:
    """Return the rows under `key`, tokenising what is missing or damaged.

    Whole data sets open in a moment: a shard whose file is as it was when its checksums held is not read. Its tokens
    are checked row by row, when they are.

    Args:
        key: Hash of everything that the tokens depend on.
        records: Read only where tokens are missing.
        make: Gives the encoder, and the choices that it embodies, to be kept beside the tokens.
    """
    folder = cache_root() / "tokens" / key
    known = read_index(folder / _INDEX)
    if known is None:
        return _tokenised(folder, {}, records, make)
    before, told = known
    entries = [entry for entry in (_sound(folder, each.name, each) for each in before) if entry]
    if len(entries) < len(before):
        return _tokenised(folder, {entry.name: entry for entry in entries}, records, make)
    if any(now is not then for now, then in zip(entries, before, strict=True)):  # files that were copied, say
        write_index(folder / _INDEX, entries, told)
    return _cached(folder, entries, told, [])


def _sound(folder: Path, name: str, known: Entry | None) -> Entry | None:
    """Return what is known of a shard, read through unless it is as it was; None if it is absent or damaged."""
    if known is not None and known.holds(folder):
        return known
    shard = Shard.open(folder / name)
    return None if shard is None else Entry.of(shard)


def _tokenised(
    folder: Path,
    known: Mapping[str, Entry],
    records: Records,
    make: Callable[[], tuple[Encoder, dict[str, Any]]],
) -> Cached:
    """Write the shards that are not there, in data order, then the index; what is there and whole is kept."""
    encoder, choices = make()
    entries: dict[int, Entry] = {}
    notes: list[str] = []
    parts = _missing(folder, iter(records), known, entries, notes)
    with _old_objects_left_alone():
        for number, made in groupby(encoder.stream(parts), key=lambda made: made.part.shard):
            entries[number] = _written(folder / _name(number), list(made), base=number * _SHARD)
    told = {"source": records.lines, "choices": choices}
    ordered = [entries[number] for number in sorted(entries)]
    write_index(folder / _INDEX, ordered, told)
    return _cached(folder, ordered, told, notes)


@contextmanager
def _old_objects_left_alone() -> Iterator[None]:
    """Keep the garbage collector from what is there already, unless the program does so itself.

    Making rows makes it walk through all objects now and then: those of torch and transformers take it 0.1 s each time.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _missing(
    folder: Path, reading: Iterator[Record], known: Mapping[str, Entry], kept: dict[int, Entry], notes: list[str]
) -> Iterator[Part]:
    """Yield the records of shards that are not there, some at a time; put the entries of the others into `kept`."""
    number = 0
    while records := next_part(reading, _SHARD):
        name = _name(number)
        entry = _sound(folder, name, known.get(name))
        if entry is not None:
            kept[number] = entry
            for _ in islice(reading, _SHARD - len(records)):
                pass
        else:
            if (folder / name).exists():
                notes.append(f"cached tokens {folder / name} were damaged; made again")
            at = 0
            while records:
                yield Part(records, at, number)
                at += len(records)
                records = next_part(reading, _SHARD - at)
        number += 1


def _written(path: Path, made: list[TokenisedPart], *, base: int) -> Entry:
    tally = TokenTally()
    for each in made:
        tally.add(each.tally)
    write_rows(path, [row for each in made for row in each.rows], base=base, meta={"tally": tally.plain()})
    shard = Shard.open(path, whole=False)
    if shard is None:
        raise LogratioError(f"{path} was written and cannot be read back: check the disk, then run again.")
    return Entry.of(shard)


def _cached(folder: Path, entries: list[Entry], told: dict[str, Any], notes: list[str]) -> Cached:
    tally = TokenTally()
    for entry in entries:
        tally.add(TokenTally.from_plain(entry.meta["tally"]))
    return Cached(TokenStore(folder, entries), tally, told["source"], told["choices"], notes)


def _name(number: int) -> str:
    return f"{number:05d}.shard"
