"""The bootstrap over prompts: how often each prompt is drawn in each replicate, and the interval that follows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...maths.counter import stream
from ...maths.intervals import Measure

Floats = NDArray[np.float64]

REPLICATES = 1000
"""Replicates; the ends of an interval are then known to about 3 % of its width."""

_TAIL = 0.025
_CELLS = 1 << 22  # numbers held at once


def draws(prompts: int, seed: int, replicates: int = REPLICATES) -> Iterator[Floats]:
    """Yield how often each of P prompts is drawn, float64 [B, P], some replicates at a time.

    All figures of an evaluation use the same draws, so that their differences are resampled with them.

    Args:
        prompts: P ≥ 1.
        seed: Of the draws.
        replicates: B over all parts.
    """
    some = max(1, _CELLS // prompts)
    random = stream(seed, "bootstrap over prompts", prompts)
    for start in range(0, replicates, some):
        count = min(some, replicates - start)
        yield random.multinomial(prompts, np.full(prompts, 1 / prompts), size=count).astype(np.float64)


def ends(replicates: ArrayLike) -> tuple[float, float]:
    """Return the 2.5 % and 97.5 % quantiles of a figure's replicates; those that are not finite are left out."""
    values = np.asarray(replicates, np.float64)
    values = values[np.isfinite(values)]
    low, high = np.quantile(values, [_TAIL, 1 - _TAIL])
    return float(low), float(high)


def mean_ends(values: ArrayLike, prompts: ArrayLike, seed: int) -> tuple[float, float] | None:
    """Return the ends of the percentile bootstrap of a mean, prompts drawn whole; None with fewer than two prompts."""
    names, at = np.unique(np.asarray(prompts), return_inverse=True)
    if len(names) < 2:
        return None
    total = np.bincount(at, weights=np.asarray(values, np.float64))
    count = np.bincount(at).astype(np.float64)
    return ends(np.concatenate([(weight @ total) / (weight @ count) for weight in draws(len(names), seed)]))


def measure(mean: float, replicates: ArrayLike, n: int) -> Measure:
    """Return an estimate with the interval and the standard deviation of its replicates."""
    values = np.asarray(replicates, np.float64)
    low, high = ends(values)
    return Measure(mean, low, high, n, float(np.nanstd(values, ddof=1)))
