"""Data sets of the `datasets` library: saved folders, and names on the hub."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DataError, nearest
from ..network import hub_answers
from ..records import Origin
from .containers import Item, from_arrow

_NAME = re.compile(
    r"(?P<name>\w[\w.-]*(?:/\w[\w.-]*)?)(?:@(?P<revision>refs/[\w.-]+/[\w.-]+|[\w.-]+))?(?:/(?P<config>[\w.-]+))?"
)


@dataclass(frozen=True, slots=True)
class HubName:
    """A data set on the hub, as `NAME[@revision][/config]`; NAME is `owner/name`, or `name` alone before an `@`."""

    name: str
    revision: str | None
    config: str | None

    @classmethod
    def parse(cls, text: str) -> HubName | None:
        """Return the parts of a hub name, or None if `text` cannot be one."""
        found = _NAME.fullmatch(text)
        return cls(**found.groupdict()) if found else None


def is_saved(folder: Path) -> bool:
    """Return whether `folder` was written by `save_to_disk`."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def saved_rows(folder: Path, split: str | None, name: str) -> Iterator[Item]:
    """Yield the rows of a saved folder, memory-mapped.

    Raises:
        DataError: The folder is damaged, or holds several splits and none is chosen.
    """
    import datasets

    try:
        saved = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{name} is no complete saved data set ({error}); save it again with save_to_disk.") from error
    if isinstance(saved, Mapping):
        saved = saved[chosen_split(list(saved), split, name)]
    elif split is not None:
        raise DataError(f'{name} has no splits, so "{split}" cannot be chosen; leave the split out.')
    yield from _numbered(saved, name)


def hub_rows(hub: HubName, split: str | None, name: str) -> Iterator[Item]:
    """Yield the rows of a hub data set as they arrive.

    Raises:
        DataError: The name, revision, config or split does not exist, or the hub is out of reach.
    """
    import datasets

    try:
        if not datasets.config.HF_HUB_OFFLINE and not hub_answers():
            raise OSError("the hub cannot be reached from here")
        found = datasets.load_dataset(hub.name, hub.config, revision=hub.revision, streaming=True)
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{name} is no file or folder here, and as a hub name it could not be loaded ({reason}); check the path, "
            "or the name and the network, or download the data and give its folder."
        ) from error
    yield from _numbered(found[chosen_split(list(found), split, name)], name)


def chosen_split(splits: list[str], split: str | None, name: str) -> str:
    """Return the split to read: the one asked for, or the only one.

    Raises:
        DataError: It does not exist, or there are several and none is asked for.
    """
    if split is None:
        if len(splits) == 1:
            return splits[0]
        raise DataError(f"{name} has several splits ({', '.join(splits)}); choose one, as {name}:{splits[0]}")
    if split not in splits:
        raise DataError(f'{name} has no split "{split}"; {nearest(split, splits)}')
    return split


def _numbered(rows: Any, name: str) -> Iterator[Item]:
    for number, row in enumerate(rows, 1):
        yield from_arrow(row), Origin(name, number)
