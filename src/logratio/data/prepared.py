"""Tokenised data ready for a run: groups read lazily, selected and held out by prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ..batch.group import Group
from ..config import TokensConfig
from ..files import content_hash
from ..records import Origin
from .grouping import merge
from .overflow import fit
from .store import TokenStore
from .summary import PrepareReport

Indices = NDArray[np.int64]

_FORMAT = 1  # counts changes to how rows become groups: `merge` and `fit`


@dataclass(frozen=True)
class Members:
    """Which rows belong to each group, as flat arrays, since there may be millions.

    Attributes:
        rows: [M] rows, group by group, ascending within each.
        begin, end: [N] where each group's rows lie in `rows`.
    """

    rows: Indices
    begin: Indices
    end: Indices

    @classmethod
    def of(cls, rows: Indices, keys: NDArray[Any]) -> Members:
        """Group rows by equal keys [M], groups in the order of their first row."""
        _, first, number = np.unique(keys, return_index=True, return_inverse=True)
        place = np.empty_like(first)
        place[np.argsort(first)] = np.arange(len(first))
        sizes = np.bincount(place[number], minlength=len(first))
        ends = np.cumsum(sizes)
        return cls(rows[np.argsort(place[number], kind="stable")], ends - sizes, ends)

    @classmethod
    def single(cls, rows: Indices) -> Members:
        """Make each row a group of its own."""
        places = np.arange(len(rows) + 1)
        return cls(rows, places[:-1], places[1:])

    def __len__(self) -> int:
        return len(self.begin)

    def __getitem__(self, group: int) -> Indices:
        return self.rows[self.begin[group] : self.end[group]]

    @property
    def content(self) -> str:
        """Hash of which rows each group has; the same however the arrays came about."""
        sizes = self.end - self.begin
        first = np.cumsum(sizes) - sizes
        rows = self.rows[np.repeat(self.begin - first, sizes) + np.arange(sizes.sum())]
        return content_hash(rows, sizes)

    def select(self, groups: Sequence[int] | NDArray[Any]) -> Members:
        """Return the members of these groups, in this order."""
        chosen = np.asarray(groups, dtype=np.int64)
        return Members(self.rows, self.begin[chosen], self.end[chosen])


class Groups(Sequence[Group]):
    """Groups over a token store: rows of one prompt merged where asked for, and cut to length as they are read."""

    def __init__(self, store: TokenStore, chosen: Members, rule: TokensConfig, *, bos: bool) -> None:
        """Bind a store's rows to groups.

        Args:
            store: Tokenised rows.
            chosen: The rows that each group merges, known to fit.
            rule: Length rule.
            bos: Whether prompts begin with a BOS, which cutting keeps.
        """
        self._store, self._chosen, self._rule, self._bos = store, chosen, rule, bos

    @cached_property
    def identity(self) -> str:
        """Hash of all that decides what the groups are, found without reading a row: their rows' content, and rules."""
        return content_hash(_FORMAT, self._store.content, self._chosen.content, self._rule.model_dump(), self._bos)

    def __len__(self) -> int:
        return len(self._chosen)

    @overload
    def __getitem__(self, index: int) -> Group: ...
    @overload
    def __getitem__(self, index: slice) -> Groups: ...
    def __getitem__(self, index: int | slice) -> Group | Groups:
        if isinstance(index, slice):
            return self.select(range(*index.indices(len(self))))
        rows = [self._store[int(row)] for row in self._chosen[index]]
        return fit(merge(rows), self._rule, bos=self._bos)

    def __iter__(self) -> Iterator[Group]:
        return (self[index] for index in range(len(self)))

    def sizes(self) -> Indices:
        """Return about how many tokens each group has, [N], without reading one.

        It is the prompt and the longest response of every row that the group merges, each within the length rule.
        """
        rows = np.minimum(self._store.lengths.total, self._rule.max_length)[self._chosen.rows]
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(rows, dtype=np.int64)])
        return np.asarray(before[self._chosen.end] - before[self._chosen.begin])

    def origin(self, index: int) -> Origin:
        """Return file and row of group `index` (of its first row)."""
        return self._store.origin(int(self._chosen[index][0]))

    def select(self, indices: Sequence[int] | NDArray[Any]) -> Groups:
        """Return these groups, in this order."""
        return Groups(self._store, self._chosen.select(indices), self._rule, bos=self._bos)


@dataclass(frozen=True)
class Prepared:
    """Tokenised data of one run.

    Attributes:
        groups: Read lazily from memory-mapped shards; `groups[i].row` is the record's index in the data set.
        prompt_hash: [N] uint64, one per group, of the prompt's token ids before any cut.
        report: What was read, dropped and chosen; its lines are printed when a run opens.
        fingerprint: Hash of the tokens and of the rules applied to them.
    """

    groups: Groups
    prompt_hash: NDArray[np.uint64]
    report: PrepareReport
    fingerprint: str

    def select(self, indices: Sequence[int] | NDArray[Any]) -> Prepared:
        """Return the data of these groups only, in this order."""
        chosen = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            groups=self.groups.select(chosen),
            prompt_hash=self.prompt_hash[chosen],
            fingerprint=content_hash(self.fingerprint, chosen),
        )


def hold_out(prepared: Prepared, *, share: float, most: int, seed: int) -> tuple[Prepared, Prepared]:
    """Divide data by prompt: no prompt is on both sides.

    Prompts are ordered by a hash of (seed, prompt), so that a prompt's place does not depend on the data around it, and
    taken from the front until `share` of them is reached; one whose groups would exceed `most` is passed over.

    Args:
        prepared: Data to divide.
        share: Share of distinct prompts to hold out, in [0, 1); above 0 it is at least one of two or more prompts.
        most: Largest number of held-out groups.
        seed: Which prompts.

    Returns:
        (kept, held out), each in data order.
    """
    out = held_out(prepared.prompt_hash, share=share, most=most, seed=seed)
    return prepared.select(np.flatnonzero(~out)), prepared.select(np.flatnonzero(out))


def held_out(prompt_hash: NDArray[np.uint64], *, share: float, most: int, seed: int) -> NDArray[np.bool_]:
    """Return which groups `hold_out` keeps from training, [N] boolean."""
    prompts, group_prompt, sizes = np.unique(prompt_hash, return_inverse=True, return_counts=True)
    wanted = min(len(prompts) - 1, max(1, round(share * len(prompts)))) if share > 0 and len(prompts) > 1 else 0
    held = np.zeros(len(prompts), dtype=np.bool_)
    taken, smallest = 0, sizes.min(initial=most + 1)
    for prompt in np.argsort(_mixed(prompts, seed), kind="stable") if wanted else ():
        if taken + sizes[prompt] <= most:
            held[prompt] = True
            taken += int(sizes[prompt])
            wanted -= 1
        if not wanted or taken + smallest > most:
            break
    return held[group_prompt]


def _mixed(values: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """Return a hash of each value and the seed: SplitMix64's finaliser (Steele et al. 2014)."""
    state = values + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) % 2**64)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
