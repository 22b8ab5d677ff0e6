"""A policy's floats on many groups at once, in the groups' order whatever bins they went through."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..batch.group import Group
from ..batch.logps import Logps
from ..batch.packed import PackedBatch, pack
from ..batch.plan import plan


def whole(forward: Callable[[PackedBatch], Logps], groups: Sequence[Group], *, bin_tokens: int) -> Logps:
    """Return log-probs and extras of all scored tokens, float32 on the CPU, without gradient.

    Args:
        forward: A bin → its floats.
        groups: At least one.
        bin_tokens: Tokens a bin may hold.
    """
    (bins,) = plan([group.tokens for group in groups], world=1, budget=bin_tokens)
    with torch.no_grad():
        parts = [forward(pack([groups[i] for i in members])) for members in bins]
    where = slots(groups, [i for members in bins for i in members])
    return join(parts, lambda values: torch.empty(len(where)).index_copy(0, where, torch.cat(values).float().cpu()))


def slots(groups: Sequence[Group], members: Sequence[int]) -> Tensor:
    """Return where the scored tokens of `members`, in that order, lie among those of all groups."""
    starts = [0]
    for group in groups:
        starts.append(starts[-1] + group.scored)
    parts = [torch.arange(starts[i], starts[i + 1]) for i in members]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64)


def join(parts: Sequence[Logps], place: Callable[[list[Tensor]], Tensor]) -> Logps:
    """Put the floats of bins together, each kind by `place`; what the first bin lacks, all lack."""

    def placed(name: str) -> Tensor | None:
        values = [value for value in (getattr(part, name) for part in parts) if value is not None]
        return place(values) if values else None

    return Logps(
        policy_R=place([part.policy_R for part in parts]),
        entropy_R=placed("entropy_R"),
        square_R=placed("square_R"),
        divergence_R=placed("divergence_R"),
    )
