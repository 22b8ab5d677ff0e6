"""Fewer points, same picture: curves of many logged steps, thinned for a screen."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Curve = tuple[list[float], list[float]]


def min_max(xs: Sequence[float], ys: Sequence[float], buckets: int) -> Curve:
    """Thin a curve to the least and greatest value of each of `buckets` equal intervals of x.

    No peak is lost: every kept point is a logged one, and first and last stay. A NaN marks a gap: where a bucket
    holds a value that is not finite, one NaN stays in it.

    Args:
        xs: N positions, ascending.
        ys: N values.
        buckets: Number of intervals, ≥ 1; curves of at most 2·buckets points return unchanged.

    Returns:
        (xs, ys) in order, not finite values as NaN.
    """
    y = np.asarray(ys, np.float64)
    y = np.where(np.isfinite(y), y, math.nan)
    if len(xs) <= 2 * buckets:
        return list(xs), y.tolist()
    x = np.asarray(xs, np.float64)
    width = (x[-1] - x[0]) / buckets or 1.0
    bucket = np.minimum(((x - x[0]) / width).astype(np.int64), buckets - 1)
    gap = np.flatnonzero(np.isnan(y))
    finite = np.flatnonzero(~np.isnan(y))
    rising = finite[np.lexsort((y[finite], bucket[finite]))]
    _, least = np.unique(bucket[rising], return_index=True)
    greatest = np.append(least[1:], len(rising))[: len(least)] - 1
    _, first_gap = np.unique(bucket[gap], return_index=True)
    kept = np.unique(np.concatenate([[0, len(x) - 1], rising[least], rising[greatest], gap[first_gap]]))
    return [xs[i] for i in kept.tolist()], y[kept].tolist()


def moving_mean(ys: Sequence[float], window: int) -> list[float]:
    """Return the mean of the finite ones among the last `window` values; NaN where they are fewer than half of it."""
    y = np.asarray(ys, np.float64)
    finite = np.isfinite(y)
    total, count = (np.cumsum(part) for part in (np.where(finite, y, 0.0), finite))
    total[window:], count[window:] = total[window:] - total[:-window], count[window:] - count[:-window]
    enough = 2 * count >= window
    means: list[float] = np.where(enough, total / np.maximum(count, 1), math.nan).tolist()
    return means
