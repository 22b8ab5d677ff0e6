"""Rows grouped by several columns of whole numbers at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]


def grouped(*columns: Numbers) -> NDArray[np.int64]:
    """Return the group of each row, int64 [n], counted from 0: rows that agree in every column share one.

    Args:
        columns: Whole numbers, [n] each.
    """
    group = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        value = np.unique(column, return_inverse=True)[1]
        both = group * (int(value.max(initial=0)) + 1) + value
        group = np.unique(both, return_inverse=True)[1].astype(np.int64)
    return group


def mixed(values: Numbers) -> NDArray[np.uint64]:
    """Return 64-bit hashes of whole numbers: splitmix64's finaliser (Steele, Lea and Flood 2014)."""
    z = values.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def hashed(*columns: Numbers) -> NDArray[np.uint64]:
    """Return a 64-bit hash of each row of several columns, uint64 [n]; the order of the columns counts."""
    h = np.full(len(columns[0]), len(columns), np.uint64)
    for column in columns:
        h = mixed(h ^ mixed(column.astype(np.int64)))
    return h


def earlier(group: Numbers) -> NDArray[np.int64]:
    """Return for each row the first row of its group, int64 [n]; of a first row itself."""
    _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int64)
