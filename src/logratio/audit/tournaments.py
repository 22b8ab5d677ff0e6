"""The judgements of each prompt as a tournament: who beat whom how often, and which triads go in a circle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .keys import grouped
from .rows import Rows

Ids = NDArray[Any]
Counts = NDArray[np.float64]

LARGEST = 128
"""Responses of a prompt that are looked at: those judged most often."""

_CELLS = 1 << 22  # of a block of tournaments


@dataclass(frozen=True)
class Tournaments:
    """Tournaments of about the same size, side by side.

    Attributes:
        wins_GKK: How often response i beat response j, float64 [G, K, K]; zeros where there are fewer than K.
        text_GK: Text of each response, int64 [G, K]; −1 where there are fewer.
        prompt_G: Text of each prompt, int64 [G].
        criterion_G: What was judged, int64 [G]; −1 unknown.
    """

    wins_GKK: Counts
    text_GK: NDArray[np.int64]
    prompt_G: NDArray[np.int64]
    criterion_G: NDArray[np.int64]


def tournaments(rows: Rows, form_T: Ids) -> Iterator[Tournaments]:
    """Yield the tournaments in which something could go in a circle, blocks of about the same size.

    Those are prompts, judged by one criterion, with at least three responses and three pairs, whose judgements come
    from more than one row: a ranking is an order by construction. Ties count for nobody.
    """
    kept = np.flatnonzero(~rows.tie_E & (form_T[rows.winner_E] != form_T[rows.loser_E]))
    winner, loser = form_T[rows.winner_E[kept]], form_T[rows.loser_E[kept]]
    group = grouped(form_T[rows.prompt_E[kept]], rows.criterion_E[kept])
    count = int(group.max(initial=-1)) + 1
    pair = grouped(group, np.minimum(winner, loser), np.maximum(winner, loser))
    row = grouped(group, rows.at_E[kept])
    node = grouped(np.tile(group, 2), np.concatenate([winner, loser]))
    sizes = [_distinct(np.tile(group, 2) if item is node else group, item, count) for item in (node, pair, row)]
    wanted = (sizes[0] >= 3) & (sizes[1] >= 3) & (sizes[2] >= 2)
    order = np.argsort(group, kind="stable")
    bounds = np.searchsorted(group[order], np.arange(count + 1))
    chosen = np.flatnonzero(wanted)
    chosen = chosen[np.argsort(sizes[0][chosen], kind="stable")]
    while len(chosen):
        largest = _power(int(min(sizes[0][chosen[0]], LARGEST)))
        fitting = int((sizes[0][chosen] <= largest).sum()) if largest < LARGEST else len(chosen)
        part = chosen[: max(1, min(fitting, _CELLS // largest**2))]
        chosen = chosen[len(part) :]
        edges = [order[bounds[at] : bounds[at + 1]] for at in part]
        yield _block(rows, kept, winner, loser, edges, largest)


def _power(size: int) -> int:
    """Return the next size of a block, of 4, 6, 8, 12, 16, 24 and so on."""
    width = 4
    while width < size:
        width = width * 3 // 2 if width & (width - 1) == 0 else width * 4 // 3
    return width


def _distinct(group: Ids, item: Ids, count: int) -> NDArray[np.int64]:
    """Return how many distinct items each group has; an item belongs to one group."""
    first = np.unique(item, return_index=True)[1]
    return np.bincount(group[first], minlength=count)


def _block(rows: Rows, kept: Ids, winner: Ids, loser: Ids, edges: list[NDArray[np.int64]], largest: int) -> Tournaments:
    wins = np.zeros((len(edges), largest, largest))
    text = np.full((len(edges), largest), -1, np.int64)
    for at, own in enumerate(edges):
        names, judged = np.unique(np.concatenate([winner[own], loser[own]]), return_counts=True)
        names = np.sort(names[np.argsort(-judged, kind="stable")[:largest]])
        inside = own[np.isin(winner[own], names) & np.isin(loser[own], names)]
        text[at, : len(names)] = names
        np.add.at(wins[at], (np.searchsorted(names, winner[inside]), np.searchsorted(names, loser[inside])), 1.0)
    firsts = kept[[own[0] for own in edges]]
    return Tournaments(wins, text, rows.prompt_E[firsts].astype(np.int64), rows.criterion_E[firsts].astype(np.int64))


def majority(wins: Counts) -> Counts:
    """Return 1 where i beat j more often than j beat i, else 0, [..., K, K]."""
    ahead: Counts = (wins > wins.swapaxes(-1, -2)).astype(np.float32)
    return ahead


def triads(ahead: Counts) -> tuple[Counts, Counts]:
    """Return (triads that go in a circle, triads of which all three pairs are decided), [...].

    A circle i → j → k → i is counted three times by the trace of the cube, a triangle of pairs six times.
    """
    decided = ahead + ahead.swapaxes(-1, -2)
    return _cube_trace(ahead) / 3, _cube_trace(decided) / 6


def _cube_trace(matrix: Counts) -> Counts:
    trace: Counts = ((matrix @ matrix) * matrix.swapaxes(-1, -2)).sum((-1, -2), dtype=np.float64)
    return trace


def on_cycles(ahead: Counts) -> NDArray[np.bool_]:
    """Return whether each decided pair lies on a directed cycle, bool [..., K, K]: j reaches i where i beat j."""
    reach = ahead > 0
    size = 1
    while size < ahead.shape[-1]:
        step = reach.astype(np.float32)
        reach = reach | (step @ step > 0)
        size *= 2
    found: NDArray[np.bool_] = (ahead > 0) & reach.swapaxes(-1, -2)
    return found
