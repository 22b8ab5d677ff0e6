"""Names of blocks of groups: a hash of their tokens, remembered so that a known data set is not read to be named."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from ..batch.group import Group
from ..errors import LogratioError
from ..files import cache_root, content_hash, read_shard, write_shard

_FORMAT = 1  # counts changes to what a name is a hash of, and to how names are stored
_DIGITS = 32


def block(groups: Sequence[Group], number: int, size: int) -> list[Group]:
    """Return the groups of block `number`, `size` of them or what is left."""
    return [groups[i] for i in range(number * size, min((number + 1) * size, len(groups)))]


def block_name(groups: Sequence[Group]) -> str:
    """Return a hash of the tokens and masks of some groups, 32 hex digits: all that their log-probs depend on."""
    return content_hash(*(part for group in groups for part in (group.prompt, *group.responses, *group.loss)))


def remembered_names(groups: Sequence[Group], size: int) -> list[str] | None:
    """Return the name of every block of `size` groups without reading one, or None where no sound note tells them.

    Groups with an `identity` have a note once they were named. It is found by hashes of content alone, so that it goes
    unused as soon as any of it changes.
    """
    note = _note(groups, size)
    found = None if note is None else read_shard(note)
    if note is None or found is None or found[1] != _about(note, groups, size):
        return None
    digits = found[0].get("names")
    if digits is None or digits.dtype != np.uint8 or digits.shape != (-(-len(groups) // size), _DIGITS // 2):
        return None
    return [row.tobytes().hex() for row in digits]


def made_names(groups: Sequence[Group], size: int) -> list[str]:
    """Return the name of every block of `size` groups, from their tokens; note them if the groups have an identity."""
    names = [block_name(block(groups, number, size)) for number in range(-(-len(groups) // size))]
    note = _note(groups, size)
    if note is not None:
        digits = np.frombuffer(bytes.fromhex("".join(names)), np.uint8).reshape(-1, _DIGITS // 2)
        with suppress(LogratioError, OSError):  # a cache that cannot be written costs time, no run
            write_shard(note, {"names": digits}, _about(note, groups, size))
    return names


def _note(groups: Sequence[Group], size: int) -> Path | None:
    identity = getattr(groups, "identity", None)
    if not isinstance(identity, str):
        return None
    return cache_root() / "names" / f"{content_hash(_FORMAT, size, identity)}.shard"


def _about(note: Path, groups: Sequence[Group], size: int) -> dict[str, object]:
    """Return what a note tells of itself, so that one which came under another's name is not believed."""
    return {"note": note.name, "groups": len(groups), "block": size}
