"""How often a response holds each of the common words: what a classifier reads beside the named cues."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..cues.chars import Characters
from ..cues.words import Words

WORDS = 256
"""Words taken: those whose presence varies most over responses."""

_BATCH = 1 << 20  # characters handled at once


def word_counts(texts: Sequence[str]) -> NDArray[np.float64]:
    """Return how often each text holds each word whose presence varies most, float64 [N, V], V ≤ 256.

    A word stands in a share p of the texts; words are chosen by p(1 − p), without any look at who won.
    """
    every, different = [], []
    for low, high in _batches(texts):
        words = Words(Characters(texts[low:high]))
        every.append((words.owner_W + low, words.hash_W))
        different.append(words.different[1])
    if not every:
        return np.zeros((len(texts), 0))
    names, count = np.unique(np.concatenate(different), return_counts=True)
    share = count / max(1, len(texts))
    chosen = np.sort(np.argsort(-share * (1 - share), kind="stable")[:WORDS])
    owner, own = (np.concatenate(part) for part in zip(*every, strict=True))
    column = np.searchsorted(names[chosen], own)
    held = np.flatnonzero(names[chosen][np.minimum(column, len(chosen) - 1)] == own) if len(chosen) else column
    cell = owner[held] * len(chosen) + column[held]
    return np.bincount(cell, minlength=len(texts) * len(chosen)).reshape(len(texts), len(chosen)).astype(np.float64)


def _batches(texts: Sequence[str]) -> list[tuple[int, int]]:
    if not len(texts):
        return []
    size = np.cumsum([len(text) + 1 for text in texts])
    ends = np.unique(np.append(np.flatnonzero(np.diff(size // _BATCH)) + 1, len(texts))).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))
