"""What yields the groups of each step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ..batch.group import Floats, Group
from ..errors import DataError
from ..files import content_hash
from ..maths.counter import permutation, stream

_BORROWED = 1  # counts changes to how a response is borrowed


@dataclass(frozen=True)
class Step:
    """The groups of one optimiser step, the same on all ranks.

    Attributes:
        index: Counted from 0 over the whole run.
        groups: At most `batch_size` of them; fewer at the end of an epoch, none where no fresh response was judged.
        measures: What the source knows of them, for the step's row; metrics by name.
        compared: Whether the policy that is trained is still the one that drew the responses, so that its log-probs are
            compared with the sampler's.
        note: What a person should know of it, a sentence; "" if nothing.
    """

    index: int
    groups: Sequence[Group]
    measures: Mapping[str, float] = field(default_factory=dict)
    compared: bool = False
    note: str = ""


class Source(Protocol):
    """What a run learns from, step by step.

    Attributes:
        ahead: Whether a step can be read before the one before it is made.
    """

    ahead: ClassVar[bool]

    @property
    def steps(self) -> int:
        """Steps in the run, ≥ 1."""
        ...

    def step(self, index: int) -> Step:
        """Return step `index`, counted from 0."""
        ...


@dataclass(frozen=True)
class FileSource:
    """Steps from a fixed data set: step s is a slice of permutation(seed, epoch), so any step can be read at once.

    Attributes:
        groups: The data set.
        positions: Which of its groups are trained on.
        batch_size: Groups a step, over all ranks.
        epochs: Passes over the positions; a fraction is allowed.
        seed: Orders the groups within each epoch.
        reference: Reference log-probs by position in `groups`, attached as the token column `reference`.
    """

    groups: Sequence[Group]
    positions: NDArray[np.int64]
    batch_size: int
    epochs: float
    seed: int
    reference: Sequence[Floats] | None = None
    ahead: ClassVar[bool] = True

    @property
    def steps_per_epoch(self) -> int:
        """Steps in a whole pass; the last may be smaller."""
        return math.ceil(len(self.positions) / self.batch_size)

    @property
    def steps(self) -> int:
        """Steps in the run, ≥ 1."""
        return max(1, round(self.steps_per_epoch * self.epochs))

    def step(self, index: int) -> Step:
        """Return step `index`, with reference columns where there are any."""
        epoch, place = divmod(index, self.steps_per_epoch)
        order = _order(len(self.positions), self.seed, epoch)
        chosen = self.positions[order[place * self.batch_size : (place + 1) * self.batch_size]]
        return Step(index, read_groups(self.groups, chosen, self.reference))


@lru_cache(maxsize=2)
def _order(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return `permutation`, kept from step to step: sorting a million rows takes longer than a small model's step."""
    order = permutation(n, seed, epoch)
    order.flags.writeable = False
    return order


def read_groups(groups: Sequence[Group], positions: Any, reference: Sequence[Floats] | None) -> list[Group]:
    """Return the groups at `positions`, each with its reference log-probs where there are any."""
    if reference is None:
        return [groups[int(i)] for i in positions]
    return [groups[int(i)].with_columns(token={"reference": reference[int(i)]}) for i in positions]


@dataclass(frozen=True)
class Mismatched(Sequence[Group]):
    """A data set in which each group carries one more response, borrowed from a group with another prompt.

    The partner is fixed for the data set (not for the run), so its reference log-probs can be cached. Its weight is 0:
    it is scored, and counts in no loss term. What of it goes beyond `most` tokens after the prompt is cut off.
    """

    groups: Sequence[Group]
    partners: NDArray[np.int64]
    most: int

    @cached_property
    def identity(self) -> str | None:
        """Hash of all that decides what the groups are; None where the data set has none."""
        own = getattr(self.groups, "identity", None)
        return None if own is None else content_hash("mismatched", _BORROWED, own, self.partners, self.most)

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: Any) -> Any:
        group, partner = self.groups[index], self.groups[int(self.partners[index])]
        room = self.most - len(group.prompt)
        return Group(
            row=group.row,
            prompt=group.prompt,
            responses=(*group.responses, partner.responses[0][:room]),
            loss=(*group.loss, partner.loss[0][:room]),
            edges=group.edges,
            columns=group.columns,
        ).with_columns(response=_borrowed(group.columns.response, len(group.responses)))


def _borrowed(columns: Any, own: int) -> dict[str, Floats]:
    extended = {name: np.append(values, np.float32(0)) for name, values in columns.items()}
    return {**extended, "mismatched": np.array([0] * own + [1], np.float32)}


def mismatch(groups: Sequence[Group], prompt_hash: NDArray[np.uint64], most: int) -> Mismatched:
    """Pair each group with the next one of another prompt, around one seeded cycle of the data set.

    Args:
        groups: The data set.
        prompt_hash: One integer a group, of its prompt.
        most: Tokens that a prompt and one response may have together.

    Raises:
        DataError: All groups share one prompt, so no mismatched pair exists.
    """
    n = len(groups)
    cycle = stream("mismatched partners", n).permutation(n)
    along = prompt_hash[cycle]
    last = along != np.roll(along, -1)  # of a run of one prompt around the cycle: what follows it has another
    if n and not last.any():
        raise DataError(
            f"all {n} rows share one prompt, and this objective's baseline pairs a prompt with another prompt's "
            "response; add rows with other prompts."
        )
    ends = np.flatnonzero(last)
    following = ends[np.searchsorted(ends, np.arange(n)) % max(1, len(ends))]
    partners = np.empty(n, np.int64)
    partners[cycle] = cycle[(following + 1) % max(1, n)]
    return Mismatched(groups, partners, most)
