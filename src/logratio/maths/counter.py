"""Counter streams: every random number is a function of a key, so no generator state is ever saved or shared."""

from __future__ import annotations

import hashlib
import json

import numpy as np
from numpy.typing import NDArray

Key = int | str
"""One part of a stream's key, such as a seed, a purpose, a step or a row."""


def stream(*key: Key) -> np.random.Generator:
    """Return the generator that belongs to a key, at its beginning.

    Philox 4×64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), keyed by a 128-bit hash. The
    same key gives the same numbers on every machine; keys that differ in any part, its type included, give
    independent ones.

    Args:
        key: As (seed, purpose, step, row); integers and strings.
    """
    return np.random.Generator(_philox(*key))


def permutation(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the order in which an epoch visits n rows: a uniform permutation of 0 … n − 1, int64 [n].

    Rows are sorted by one raw 64-bit draw each, so the order rests on Philox alone and not on a library's shuffling.
    """
    return np.argsort(_philox(seed, "permutation", epoch).random_raw(n), kind="stable")


def _philox(*key: Key) -> np.random.Philox:
    text = json.dumps([part if isinstance(part, str) else int(part) for part in key])
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return np.random.Philox(key=int.from_bytes(digest, "little"))
