"""Fewer points, same picture: curves of many logged steps, thinned for a screen."""

from __future__ import annotations

import math
from collections.abc import Sequence

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
    ys = [y if math.isfinite(y) else math.nan for y in ys]
    if len(xs) <= 2 * buckets:
        return list(xs), ys
    width = (xs[-1] - xs[0]) / buckets or 1.0
    members: dict[int, list[int]] = {}
    for i, x in enumerate(xs):
        members.setdefault(min(int((x - xs[0]) / width), buckets - 1), []).append(i)
    kept = {0, len(xs) - 1}
    for inside in members.values():
        finite = [i for i in inside if not math.isnan(ys[i])]
        kept.update([i for i in inside if math.isnan(ys[i])][:1])
        if finite:
            kept.update((min(finite, key=ys.__getitem__), max(finite, key=ys.__getitem__)))
    order = sorted(kept)
    return [xs[i] for i in order], [ys[i] for i in order]


def moving_mean(ys: Sequence[float], window: int) -> list[float]:
    """Return the mean of the finite ones among the last `window` values; NaN where they are fewer than half of it."""
    means, total, count = [], 0.0, 0
    finite = [(y, 1) if math.isfinite(y) else (0.0, 0) for y in ys]
    for i, (value, one) in enumerate(finite):
        total, count = total + value, count + one
        if i >= window:
            total, count = total - finite[i - window][0], count - finite[i - window][1]
        means.append(total / count if 2 * count >= window else math.nan)
    return means
