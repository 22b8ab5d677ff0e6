"""Micro-batches are memory, not statistics: divide a step's groups into bins that fit."""

from __future__ import annotations

from collections.abc import Sequence


def plan(lengths: Sequence[int], *, world: int, budget: int) -> list[list[list[int]]]:
    """Divide groups into bins of at most `budget` tokens, equally many for each rank.

    First fit by decreasing length, then the fullest bins dealt to the least loaded rank. Pure: every rank computes the
    same plan. A group longer than the budget has a bin of its own; a rank that is short of bins gets empty ones.

    Args:
        lengths: Packed tokens of each group.
        world: Number of ranks, ≥ 1.
        budget: Tokens a bin may hold, ≥ 1.

    Returns:
        For each rank, its bins; each bin lists group positions in ascending order.
    """
    bins: list[list[int]] = []
    room: list[int] = []
    for item in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        place = next((b for b, free in enumerate(room) if free >= lengths[item]), None)
        if place is None:
            bins.append([])
            room.append(budget)
            place = len(bins) - 1
        bins[place].append(item)
        room[place] -= lengths[item]
    ranks: list[list[list[int]]] = [[] for _ in range(world)]
    load = [0] * world
    for place in sorted(range(len(bins)), key=lambda b: (room[b], b)):
        rank = min(range(world), key=lambda r: (len(ranks[r]), load[r], r))
        ranks[rank].append(sorted(bins[place]))
        load[rank] += budget - room[place]
    most = max(len(own) for own in ranks)
    for own in ranks:
        own.extend([] for _ in range(most - len(own)))
    return ranks
