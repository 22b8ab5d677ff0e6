"""Which judged pairs say something, how they are divided for cross-validation, and shares as text."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..findings import Figure
from ..maths.counter import permutation
from ..maths.intervals import Measure, share_interval
from ..report import text
from .rows import Rows

Indices = NDArray[np.int64]

FEWEST = 50
"""Pairs below which nothing is said of how often something wins: the interval is wider than ± 14 points."""

FOLDS = 5

MEANT = 0.05
"""Share of pairs that must be judged more than once, where judges have no names: fewer are rather copies of rows."""


def decided(rows: Rows) -> Indices:
    """Return the judged pairs of two different responses that have a winner, int64 indices into E."""
    return np.flatnonzero(~rows.tie_E & (rows.winner_E != rows.loser_E))


def folds(clusters: NDArray[Any], seed: int = 0) -> NDArray[np.int64]:
    """Return each row's fold, 0 … 4 at most; rows of one cluster (a prompt) share it.

    Where there are fewer than five clusters there are as many folds as clusters; a single one gives a single fold, from
    which nothing can be predicted without seeing it.
    """
    names, number = np.unique(clusters, return_inverse=True)
    place = np.argsort(permutation(len(names), seed, 0))
    return (place % FOLDS)[number]


def percent(share: float | None) -> str:
    """Return a share as a percentage with one decimal; None as a word."""
    return "unknown" if share is None else text.percent(share)


def several(count: int, noun: str, plural: str = "") -> str:
    """Return `1 pair`, `2 pairs` or, with a plural of its own, `2 pairs have`."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def spread(measure: Measure) -> str:
    """Return a share with its interval as text."""
    if measure.low is None or measure.high is None:
        return percent(measure.mean)
    return f"{percent(measure.mean)} [{percent(measure.low)}, {percent(measure.high)}]"


def figures(name: str, measure: Measure) -> dict[str, Figure]:
    """Return a measure as figures: its mean under `name`, the ends of its interval beside it."""
    return {name: measure.mean, f"{name}_low": measure.low, f"{name}_high": measure.high}


def certain_end(values: NDArray[np.float64], clusters: NDArray[Any], tests: int) -> float:
    """Return how far from ½ a share of wins lies with certainty, after looking at several; 0 where it may be ½.

    The near end of a normal interval at level 1 − 0.05/tests (Bonferroni), its standard error clustered; where all
    values agree, the exact end α^(1/clusters) of a share whose every trial succeeded.

    Args:
        values: 1 won, 0 lost, ½ neither.
        clusters: Labels; values with one label are not independent.
        tests: How many shares are looked at.

    Returns:
        Signed: positive where more than half win for certain.
    """
    measure = share_interval(values, clusters)
    if measure.mean is None or measure.se is None:
        return 0.0
    alpha = 0.05 / tests
    away = measure.mean - 0.5
    if measure.se == 0:
        near = (alpha / 2) ** (1 / len(np.unique(clusters))) - 0.5 if abs(away) == 0.5 else 0.0
    else:
        near = abs(away) - NormalDist().inv_cdf(1 - alpha / 2) * measure.se
    return math.copysign(max(0.0, near), away)
