"""Means and shares with 95 % confidence intervals, rows that share a prompt counted as one cluster."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import NonFiniteError

_TAIL = 0.975
_NORMAL = NormalDist().inv_cdf(_TAIL)
_EXACT_UP_TO = 200


@dataclass(frozen=True, slots=True)
class Measure:
    """An estimate with its 95 % interval; None where there is too little data to say.

    Attributes:
        mean: The estimate; None without data.
        low, high: Ends of the interval; None without two independent observations.
        n: Number of values behind it.
        se: Standard error of the mean; None where it is unknown.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int
    se: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values; never NaN."""
        return asdict(self)


NOTHING = Measure(None, None, None, 0)
"""What is known without data."""


def mean_interval(
    values: ArrayLike, weights: ArrayLike | None = None, clusters: Sequence[Any] | NDArray[Any] | None = None
) -> Measure:
    """Return the (weighted) mean with its t-interval.

        m = Σ w_i v_i / Σ w_i,   se² = C/(C−1) · Σ_c (Σ_{i∈c} w_i (v_i − m))² / (Σ w_i)²,   m ± t_{C−1} · se

    Without weights or clusters this is the textbook t-interval. With weights m is a ratio estimate (tokens, say) and
    se its linearisation; with clusters the sandwich estimate, to which a bootstrap over clusters converges (Liang and
    Zeger 1986), without drawing a number.

    Args:
        values: n finite numbers.
        weights: n numbers ≥ 0; None counts each value once. Values of weight 0 are left out.
        clusters: n labels; values with one label (a prompt's hash) are not independent. None: all are.

    Raises:
        NonFiniteError: A value is NaN or infinite.
    """
    value, weight, cluster = _rows(values, weights, clusters)
    n = len(value)
    if n == 0:
        return NOTHING
    mean = float((weight * value).sum() / weight.sum())
    se, count = _standard_error(value, weight, cluster, mean)
    if se is None:
        return Measure(mean, None, None, n)
    half = t_quantile(count - 1) * se
    return Measure(mean, mean - half, mean + half, n, se)


def proportion_interval(successes: float, n: int) -> Measure:
    """Return successes/n with its Wilson interval, which keeps a width where all or none succeed.

        centre = (p + z²/2n) / (1 + z²/n),   half = z/(1 + z²/n) · √(p(1−p)/n + z²/4n²)

    Wilson 1927. A tie counts as half a success.

    Args:
        successes: In [0, n].
        n: Number of independent trials.
    """
    if n == 0:
        return NOTHING
    share = successes / n
    low, high = _wilson(share, n)
    return Measure(share, low, high, n, math.sqrt(share * (1 - share) / n))


def share_interval(values: ArrayLike, clusters: Sequence[Any] | NDArray[Any] | None = None) -> Measure:
    """Return the mean of values in [0, 1] with a Wilson interval that allows for clusters.

    The interval is Wilson's at the effective sample size p(1−p)/se², at most n, where se is that of `mean_interval`;
    where all values agree, at the number of clusters.

    Args:
        values: n numbers in [0, 1]: 1 right, 0 wrong, ½ a tie.
        clusters: n labels; values with one label are not independent.

    Raises:
        NonFiniteError: A value is NaN or infinite.
    """
    value, weight, cluster = _rows(values, None, clusters)
    n = len(value)
    if n == 0:
        return NOTHING
    share = float(value.mean())
    se, count = _standard_error(value, weight, cluster, share)
    low, high = _wilson(share, min(n, share * (1 - share) / se**2) if se else count)
    return Measure(share, low, high, n, se)


@cache
def t_quantile(df: int) -> float:
    """Return the 97.5 % quantile of Student's t with `df` ≥ 1 degrees of freedom, to 1e-6.

    Up to 200 by bisection on the closed form for whole df (Abramowitz and Stegun 26.7.3–4), above by two terms of the
    expansion about the normal quantile (26.7.5).
    """
    if df > _EXACT_UP_TO:
        z = _NORMAL
        return z + (z**3 + z) / (4 * df) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * df**2)
    low, high = _NORMAL, 13.0  # the quantile at df = 1 is 12.706
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _central_mass(middle, df) < 2 * _TAIL - 1 else (low, middle)
    return (low + high) / 2


def _central_mass(t: float, df: int) -> float:
    """Return P(|T| ≤ t) for whole `df`."""
    angle = math.atan(t / math.sqrt(df))
    odd = df % 2
    term, total = (math.cos(angle) if odd else 1.0), 0.0
    for k in range(1 + odd, df, 2):
        total += term
        term *= k / (k + 1) * math.cos(angle) ** 2
    inner = math.sin(angle) * total
    return 2 / math.pi * (angle + inner) if odd else inner


def _wilson(share: float, n: float) -> tuple[float, float]:
    ratio = _NORMAL**2 / n
    centre = (share + ratio / 2) / (1 + ratio)
    half = _NORMAL / (1 + ratio) * math.sqrt(share * (1 - share) / n + ratio / (4 * n))
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def _rows(
    values: ArrayLike, weights: ArrayLike | None, clusters: Sequence[Any] | NDArray[Any] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return values, weights and cluster numbers of the rows with a positive weight."""
    value = np.asarray(values, np.float64).reshape(-1)
    weight = np.ones(len(value)) if weights is None else np.asarray(weights, np.float64).reshape(-1)
    cluster = np.arange(len(value)) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    if not len(value) == len(weight) == len(cluster):
        raise ValueError(f"{len(value)} values, {len(weight)} weights and {len(cluster)} clusters must be equally many")
    kept = weight > 0
    bad = int((~np.isfinite(value[kept])).sum())
    if bad:
        raise NonFiniteError(f"{bad} of {int(kept.sum())} values are NaN or infinite, so their mean says nothing.")
    return value[kept], weight[kept], cluster[kept]


def _standard_error(
    value: NDArray[np.float64], weight: NDArray[np.float64], cluster: NDArray[np.int64], mean: float
) -> tuple[float | None, int]:
    """Return (standard error of the weighted mean, number of clusters); None for fewer than two clusters."""
    names, cluster = np.unique(cluster, return_inverse=True)
    count = len(names)
    if count < 2:
        return None, count
    residual = np.bincount(cluster, weights=weight * (value - mean), minlength=count)
    return math.sqrt(count / (count - 1) * float((residual**2).sum())) / float(weight.sum()), count
