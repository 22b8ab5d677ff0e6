"""From what a person names to rows: files, folders, saved data sets, hub names, and mixtures of them."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any

from ..config import DataPart
from ..errors import DataError
from ..records import Origin
from .containers import SUFFIXES, BadRow, Item, file_rows, from_arrow, readable
from .hub import HubName, chosen_split, hub_rows, is_saved, saved_rows
from .problems import kind_of

_SPLITS = ("train", "training", "test", "testing", "valid", "validation", "val", "dev", "eval")


def rows(part: DataPart) -> Iterator[Item]:
    """Return the rows of one part of the data in order, or what is wrong with them; memory does not grow with the file.

    Paths are checked by the call, contents while iterating.

    The part's weight repeats each row: 2 gives it twice in a row. A fraction takes a deterministic share: with weight
    w, row i (counted from 0 over the part) appears ⌊w⌋ times, and once more if hash(i) < w − ⌊w⌋.

    Raises:
        DataError: The path is nothing that can be read, or the split cannot be found.
    """
    return _weighted(_rows(part), part.weight)


def rows_of(data: Iterable[Any], name: str = "data") -> Iterator[Item]:
    """Yield the rows of an iterable of dicts, such as a `datasets.Dataset`.

    Raises:
        DataError: It is a mapping (a set of splits, or of columns) and no list of rows.
    """
    if isinstance(data, Mapping):
        raise DataError(
            f"{name} is a mapping with {', '.join(map(str, data))}, must be an iterable of rows; "
            "choose one split, as data['train']."
        )
    library = sys.modules.get("datasets")
    arrow = library is not None and isinstance(data, (library.Dataset, library.IterableDataset))
    for number, row in enumerate(data, 1):
        origin = Origin(name, number)
        if isinstance(row, Mapping):
            yield (from_arrow(row) if arrow else row), origin
        else:
            yield BadRow(origin, f"holds {kind_of(row)}, must be a mapping with named fields")


def _rows(part: DataPart) -> Iterator[Item]:
    written, split = _located(part)
    path = Path(written).expanduser()
    if path.is_dir():
        return saved_rows(path, split, written) if is_saved(path) else _folder_rows(path, split, written)
    if path.exists():
        return _single_file(path, split, written)
    hub = HubName.parse(written)
    if readable(path) or path.suffix == ".gz" or path.is_absolute() or hub is None:
        raise DataError(f"{written} does not exist{_beside(path)}")
    return hub_rows(hub, split, written)


def _located(part: DataPart) -> tuple[str, str | None]:
    """Return (path or hub name, split): `NAME:split` unless a file is really called that."""
    name, colon, split = part.path.rpartition(":")
    if not colon or not name or not split or "/" in split or Path(part.path).expanduser().exists():
        return part.path, part.split
    if part.split not in (None, split):
        raise DataError(f'data names two splits, "{split}" in its path and "{part.split}"; keep one of them.')
    return name, split


def _single_file(path: Path, split: str | None, name: str) -> Iterator[Item]:
    if not readable(path):
        raise DataError(f'{name} ends in "{path.suffix}"; save it as one of {", ".join(SUFFIXES)} (each also .gz).')
    if split is not None:
        raise DataError(f'{name} is one file, so the split "{split}" cannot be chosen; leave the split out.')
    return file_rows(path, name)


def _folder_rows(folder: Path, split: str | None, name: str) -> Iterator[Item]:
    """Read all data files of a folder and its subfolders by name, or those of one split."""
    files = {
        path.relative_to(folder): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and readable(path)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }
    if not files:
        raise DataError(f"{name} holds no data file; put one of {', '.join(SUFFIXES)} there (each also .gz).")
    splits = sorted({found for relative in files if (found := _split_of(relative))})
    if split is not None or len(splits) > 1:
        wanted = chosen_split(splits, split, name)
        files = {relative: path for relative, path in files.items() if _split_of(relative) == wanted}
    return chain.from_iterable(file_rows(path, f"{name.rstrip('/')}/{relative}") for relative, path in files.items())


def _split_of(relative: Path) -> str | None:
    """Return the split that a file's or folder's name begins with, as `train-00001.parquet` or `test/part.jsonl`."""
    for part in relative.parts:
        word = part.replace("_", "-").replace(".", "-").split("-")[0].lower()
        if word in _SPLITS:
            return word
    return None


def _beside(path: Path) -> str:
    """Return a hint at a file that does exist."""
    if not path.parent.is_dir():
        return f", nor does the folder {path.parent}; check the path."
    close = get_close_matches(path.name, [other.name for other in path.parent.iterdir()], n=1)
    return f'; did you mean "{path.parent / close[0]}"?' if close else "; check the path."


def _weighted(items: Iterator[Item], weight: float) -> Iterator[Item]:
    for index, item in enumerate(items):
        copies = 1 if isinstance(item, BadRow) else _copies(index, weight)
        for _ in range(copies):
            yield item


def _copies(index: int, weight: float) -> int:
    whole = math.floor(weight)
    drawn = int.from_bytes(blake2b(index.to_bytes(8, "little"), digest_size=8).digest(), "little") / 2**64
    return whole + (drawn < weight - whole)
