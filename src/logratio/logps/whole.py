"""A policy's floats on many groups at once, in the groups' order whatever bins they went through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..batch.group import Floats, Group
from ..batch.logps import Logps
from ..batch.packed import PackedBatch, pack
from ..batch.plan import plan

Axis = Literal["R", "S"]
"""Scored tokens or responses."""


def whole(
    forward: Callable[[PackedBatch], Logps],
    groups: Sequence[Group],
    *,
    bin_tokens: int,
    ranks: tuple[int, int] = (0, 1),
    gather: Callable[[Tensor], list[Tensor]] = lambda own: [own],
) -> Logps:
    """Return log-probs and extras of all scored tokens, or scores, float32 on the CPU, without gradient.

    Args:
        forward: A bin → its floats.
        groups: At least one.
        bin_tokens: Tokens a bin may hold.
        ranks: This process and how many there are. They share the bins, which are those of one process alone, so
            that all of them get its numbers.
        gather: Values of this process → those of every one, in their order.
    """
    plans = plan([group.tokens for group in groups], world=ranks[1], budget=bin_tokens)
    with torch.no_grad():
        parts = [forward(pack([groups[i] for i in members])) for members in plans[ranks[0]]]
    order = [i for own in plans for members in own for i in members]

    def place(values: list[Tensor], axis: Axis) -> Tensor:
        where = slots(groups, order, axis)
        return torch.empty(len(where)).index_copy(0, where, torch.cat(gather(torch.cat(values).float())).cpu())

    return join(parts, place)


def slots(groups: Sequence[Group], members: Sequence[int], axis: Axis = "R") -> Tensor:
    """Return where the scored tokens or responses of `members`, in that order, lie among those of all groups."""
    starts = [0]
    for group in groups:
        starts.append(starts[-1] + (group.scored if axis == "R" else len(group.responses)))
    parts = [torch.arange(starts[i], starts[i + 1]) for i in members]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64)


def by_group(groups: Sequence[Group], logps: Logps) -> tuple[list[Floats], str]:
    """Split log-probs of scored tokens, or scores of responses, by group; return them with what they are called."""
    if logps.score_S is None:
        values, sizes, what = logps.policy_R, [group.scored for group in groups], "policy log-prob"
    else:
        values, sizes, what = logps.score_S, [len(group.responses) for group in groups], "score"
    return list(np.split(values.numpy(), np.cumsum(sizes)[:-1])), what


def part(groups: Sequence[Group], logps: Logps, members: Sequence[int]) -> Logps:
    """Return the floats of some of the groups, in the order of `members`."""
    return join([logps], lambda values, axis: values[0].index_select(0, slots(groups, members, axis)))


def join(parts: Sequence[Logps], place: Callable[[list[Tensor], Axis], Tensor]) -> Logps:
    """Put the floats of bins together, each kind by `place`; what the first bin lacks, all lack."""
    score_S = [part.score_S for part in parts if part.score_S is not None]
    if score_S:
        return Logps(parts[0].policy_R, score_S=place(score_S, "S"))

    def placed(name: str) -> Tensor | None:
        values = [value for value in (getattr(part, name) for part in parts) if value is not None]
        return place(values, "R") if values else None

    return Logps(
        policy_R=place([part.policy_R for part in parts], "R"),
        entropy_R=placed("entropy_R"),
        square_R=placed("square_R"),
        divergence_R=placed("divergence_R"),
        value_R=placed("value_R"),
    )
